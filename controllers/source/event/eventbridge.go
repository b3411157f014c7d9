// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The services whose events can be about an instance.
const (
	sourceEC2         = "aws.ec2"
	sourceAutoScaling = "aws.autoscaling"
	sourceHealth      = "aws.health"
	sourceCloudWatch  = "aws.cloudwatch"
)

// parsers are by source and detail-type. What else these sources send is passed over.
var parsers = map[string]map[string]func(eventBridgeEvent) (Document, error){
	sourceEC2: {
		"EC2 Spot Instance Interruption Warning": parseSpotInterruption,
		"EC2 Instance Rebalance Recommendation":  parseRebalanceRecommendation,
		"EC2 Instance State-change Notification": parseStateChange,
		// The same page of AWS's documentation has had both.
		"EC2 Capacity Reservation Instance Interruption Warning":               parseCapacityReservationInterruption,
		"EC2 Interruptible Capacity Reservation Instance Interruption Warning": parseCapacityReservationInterruption,
	},
	sourceAutoScaling: {
		"EC2 Instance-launch Lifecycle Action":    parseLaunchLifecycleAction,
		"EC2 Instance-terminate Lifecycle Action": parseTerminateLifecycleAction,
	},
	sourceHealth: {
		"AWS Health Event": parseHealth,
	},
	sourceCloudWatch: {
		"CloudWatch Alarm State Change":         parseAlarmState,
		"CloudWatch Alarm Configuration Change": parseAlarmConfiguration,
	},
}

// envelope is what all EventBridge events share.
// https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html
type envelope struct {
	ID         string          `json:"id"`
	Source     string          `json:"source"`
	DetailType string          `json:"detail-type"`
	Time       string          `json:"time"`
	Account    string          `json:"account"`
	Detail     json.RawMessage `json:"detail"`
}

// eventBridgeEvent is an EventBridge event whose envelope is in order.
type eventBridgeEvent struct {
	time, sent time.Time
	detail     json.RawMessage
	// body is the whole event, for what few parsers need of it.
	body []byte
}

func parseEventBridge(body []byte, sent time.Time) (Document, error) {
	var e envelope
	if err := decode(body, "", &e); err != nil {
		return Document{}, err
	}
	const whole = "an event as EventBridge sends it: remove the input transformer from the rule's target"
	if err := required("source", e.Source, whole); err != nil {
		return Document{}, err
	}
	if err := required("detail-type", e.DetailType, whole); err != nil {
		return Document{}, err
	}
	kinds, ok := parsers[e.Source]
	if !ok {
		return Document{}, unexpected("source", quote(e.Source), "aws.ec2, aws.autoscaling, aws.health or aws.cloudwatch: let the EventBridge rule match only those")
	}
	parse, ok := kinds[e.DetailType]
	if !ok {
		return Document{Passed: quote(e.DetailType) + " of " + e.Source + " is nothing to act on"}, nil
	}
	if err := required("id", e.ID, whole); err != nil {
		return Document{}, err
	}
	if err := required("detail", string(e.Detail), whole); err != nil {
		return Document{}, err
	}
	t, err := parseTime("time", e.Time)
	if err != nil {
		return Document{}, err
	}
	document, err := parse(eventBridgeEvent{time: t, sent: sent, detail: e.Detail, body: body})
	return document.within(e.Account), err
}

// event starts an event of the given kind: the only one of its kind from a queue, unless
// it is given another ID.
func (b eventBridgeEvent) event(kind v1alpha1.EventKind) v1alpha1.Event {
	return v1alpha1.Event{ID: kindID(v1alpha1.SourceSQS, kind), Kind: kind, Time: metav1.Time{Time: b.time}}
}
