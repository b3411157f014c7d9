// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kinds of Notice.
const (
	SpotInterruption        = "spot"                 // EventBridge: the spot instance goes in two minutes
	RebalanceRecommendation = "rebalance"            // EventBridge: it is at elevated risk
	StateChange             = "state-change"         // EventBridge: it stops, terminates, runs
	CapacityReservation     = "capacity-reservation" // EventBridge: an interruptible reservation ends
	Health                  = "health"               // EventBridge: AWS Health schedules a change
	Lifecycle               = "lifecycle"            // EventBridge: Auto Scaling waits for a hook
	LifecycleDirect         = "lifecycle-sqs"        // the same from the group straight to SQS
	TestNotification        = "test-notification"    // what Auto Scaling sends once to a hook's new target
	Raw                     = "raw"                  // Body as it is
)

// Kinds returns all kinds of Notice, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(documents)) }

var documents = map[string]func(Notice) any{
	SpotInterruption:        Notice.spotInterruption,
	RebalanceRecommendation: Notice.rebalanceRecommendation,
	StateChange:             Notice.stateChange,
	CapacityReservation:     Notice.capacityReservation,
	Health:                  Notice.health,
	Lifecycle:               Notice.lifecycle,
	LifecycleDirect:         Notice.lifecycleDirect,
	TestNotification:        Notice.testNotification,
	Raw:                     nil,
}

// Notice describes a message that AWS sends about EC2 instances. Only Kind and InstanceIDs are
// needed; fields that a kind does not have are ignored.
type Notice struct {
	Kind string `json:"kind"`
	// InstanceIDs: any number for Health, none for TestNotification and Raw, else one.
	InstanceIDs []string `json:"instanceIDs,omitempty"`
	// ID of the event. Default: a new UUID.
	ID string `json:"id,omitempty"`
	// Time of the event. Default: now.
	Time time.Time `json:"time,omitzero"`
	// Region. Default: that of the server it is sent with, else us-east-1.
	Region string `json:"region,omitempty"`
	// SNS wraps the message as a topic does whose subscription has no raw message delivery.
	SNS bool `json:"sns,omitempty"`
	// Body of a Raw message.
	Body string `json:"body,omitempty"`

	// Action that the instance faces: terminate (default), stop or hibernate. SpotInterruption, CapacityReservation.
	Action string `json:"action,omitempty"`
	// State that the instance entered. Default shutting-down. StateChange.
	State string `json:"state,omitempty"`
	// OtherSpelling uses the second of the two documented detail-types. CapacityReservation.
	OtherSpelling bool `json:"otherSpelling,omitempty"`

	// NotBefore is when it begins: the startTime of Health (default: in two hours), the
	// termination time of CapacityReservation (default: in two minutes).
	NotBefore time.Time `json:"notBefore,omitzero"`
	// EventARN names a Health event across its updates. Default: a new one.
	EventARN string `json:"eventARN,omitempty"`
	// Service of Health. Default EC2.
	Service string `json:"service,omitempty"`
	// Category of Health. Default scheduledChange.
	Category string `json:"category,omitempty"`
	// TypeCode of Health. Default AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED.
	TypeCode string `json:"typeCode,omitempty"`
	// Status of Health: upcoming (default), open or closed.
	Status string `json:"status,omitempty"`
	// EntityARNs lists the instances as ARNs, as some of the documented Health samples do, instead of as IDs.
	EntityARNs bool `json:"entityARNs,omitempty"`

	// Group is the Auto Scaling group. Default workers. Lifecycle, LifecycleDirect, TestNotification.
	Group string `json:"group,omitempty"`
	// Hook is the lifecycle hook. Default drain, or join if Launching. Lifecycle, LifecycleDirect.
	Hook string `json:"hook,omitempty"`
	// Token of the lifecycle action. Default: a new one, see Server.Send. Lifecycle, LifecycleDirect.
	Token string `json:"token,omitempty"`
	// Launching makes it a launch instead of a termination. Lifecycle, LifecycleDirect.
	Launching bool `json:"launching,omitempty"`
	// Origin and Destination: EC2, AutoScalingGroup or WarmPool. Default: between EC2 and
	// AutoScalingGroup, in the direction that Launching says. Lifecycle, LifecycleDirect.
	Origin      string `json:"origin,omitempty"`
	Destination string `json:"destination,omitempty"`
	// Metadata is the hook's notification metadata. Lifecycle, LifecycleDirect.
	Metadata string `json:"metadata,omitempty"`
}

// Send puts the notice's message into the queue and returns the message's ID. For Lifecycle and
// LifecycleDirect without a Token it begins the lifecycle action in the simulated Auto Scaling,
// making the hook with its defaults if there is none.
func (s *Server) Send(queueURL string, n Notice) (messageID string, err error) {
	if n.Time.IsZero() {
		n.Time = s.now()
	}
	n.Region = cmp.Or(n.Region, s.opts.Region)
	n = n.withDefaults()
	if (n.Kind == Lifecycle || n.Kind == LifecycleDirect) && n.Token == "" && len(n.InstanceIDs) == 1 {
		action, err := s.asg.beginFor(n)
		if err != nil {
			return "", err
		}
		n.Token = action.Token
	}
	body, err := n.Message()
	if err != nil {
		return "", err
	}
	return s.SendMessage(queueURL, body)
}

// withDefaults fills in all but Token.
func (n Notice) withDefaults() Notice {
	if n.Time.IsZero() {
		n.Time = time.Now()
	}
	n.Time = n.Time.UTC()
	if n.NotBefore.IsZero() {
		n.NotBefore = n.Time.Add(2 * time.Minute)
		if n.Kind == Health {
			n.NotBefore = n.Time.Add(2 * time.Hour)
		}
	}
	n.NotBefore = n.NotBefore.UTC()
	n.Region = cmp.Or(n.Region, "us-east-1")
	n.ID = cmp.Or(n.ID, newUUID())
	n.Action = cmp.Or(n.Action, "terminate")
	n.State = cmp.Or(n.State, "shutting-down")
	n.Service = cmp.Or(n.Service, "EC2")
	n.Category = cmp.Or(n.Category, "scheduledChange")
	n.TypeCode = cmp.Or(n.TypeCode, "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED")
	n.EventARN = cmp.Or(n.EventARN, "arn:aws:health:"+n.Region+"::event/"+n.TypeCode+"_"+newUUID())
	n.Status = cmp.Or(n.Status, "upcoming")
	n.Group = cmp.Or(n.Group, "workers")
	if n.Launching {
		n.Hook = cmp.Or(n.Hook, "join")
		n.Origin, n.Destination = cmp.Or(n.Origin, "EC2"), cmp.Or(n.Destination, "AutoScalingGroup")
	} else {
		n.Hook = cmp.Or(n.Hook, "drain")
		n.Origin, n.Destination = cmp.Or(n.Origin, "AutoScalingGroup"), cmp.Or(n.Destination, "EC2")
	}
	return n
}

// Message returns the notice as the body of an SQS message.
func (n Notice) Message() (string, error) {
	n = n.withDefaults()
	n.Token = cmp.Or(n.Token, newUUID())
	build, ok := documents[n.Kind]
	if !ok {
		return "", fmt.Errorf("kind %q: use one of %s", n.Kind, strings.Join(Kinds(), ", "))
	}
	if err := n.checkInstances(); err != nil {
		return "", err
	}
	body := n.Body
	if n.Kind != Raw {
		document, err := json.Marshal(build(n))
		if err != nil {
			return "", err
		}
		body = string(document)
	}
	if !n.SNS {
		return body, nil
	}
	wrapped, err := json.Marshal(n.notification(body))
	return string(wrapped), err
}

func (n Notice) checkInstances() error {
	switch n.Kind {
	case TestNotification, Raw, Health:
		return nil
	}
	if len(n.InstanceIDs) != 1 {
		return fmt.Errorf("a %s notice is about one instance, not %d: set one instance ID such as i-1234567890abcdef0", n.Kind, len(n.InstanceIDs))
	}
	return nil
}

func (n Notice) arn(service, resource string) string {
	return "arn:aws:" + service + ":" + n.Region + ":" + Account + ":" + resource
}

func (n Notice) groupARN() string {
	return n.arn("autoscaling", "autoScalingGroup:26e7234b-03a4-47fb-b0a9-2b241662774e:autoScalingGroupName/"+n.Group)
}

// event is what EventBridge puts around every event.
// https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
type event struct {
	Version    string         `json:"version"`
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Account    string         `json:"account"`
	Time       string         `json:"time"`
	Region     string         `json:"region"`
	Resources  any            `json:"resources"`
	Detail     map[string]any `json:"detail"`
}

func (n Notice) event(source, detailType string, resources any, detail map[string]any) event {
	return event{
		Version: "0", ID: n.ID, DetailType: detailType, Source: source, Account: Account,
		Time: n.Time.Format(time.RFC3339), Region: n.Region, Resources: resources, Detail: detail,
	}
}

// instanceEvent returns an event of EC2 about the one instance.
func (n Notice) instanceEvent(detailType string, detail map[string]any) event {
	detail["instance-id"] = n.InstanceIDs[0]
	return n.event("aws.ec2", detailType, []string{n.arn("ec2", "instance/"+n.InstanceIDs[0])}, detail)
}

// spotInterruption returns the interruption warning of a spot instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
func (n Notice) spotInterruption() any {
	return n.instanceEvent("EC2 Spot Instance Interruption Warning", map[string]any{"instance-action": n.Action})
}

// rebalanceRecommendation returns the rebalance recommendation for a spot instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
func (n Notice) rebalanceRecommendation() any {
	return n.instanceEvent("EC2 Instance Rebalance Recommendation", map[string]any{})
}

// stateChange returns the notification of an instance's new state.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
func (n Notice) stateChange() any {
	return n.instanceEvent("EC2 Instance State-change Notification", map[string]any{"state": n.State})
}

// capacityReservation returns an event with its resources as one string, as documented. Its detail-type is spelled
// in two ways, in two versions of the page.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html
func (n Notice) capacityReservation() any {
	detailType := "EC2 Capacity Reservation Instance Interruption Warning"
	if n.OtherSpelling {
		detailType = "EC2 Interruptible Capacity Reservation Instance Interruption Warning"
	}
	e := n.instanceEvent(detailType, map[string]any{
		"instance-action":           n.Action,
		"instance-termination-time": n.NotBefore.Format(time.RFC3339),
		"azId":                      "use1-az1",
	})
	e.Resources = n.arn("ec2", "instance/"+n.InstanceIDs[0])
	return e
}

// health returns the AWS Health event of a scheduled maintenance.
// https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
func (n Notice) health() any {
	updated := n.Time.Format(http.TimeFormat)
	entities := make([]map[string]string, 0, len(n.InstanceIDs))
	resources := make([]string, 0, len(n.InstanceIDs))
	for _, id := range n.InstanceIDs {
		if n.EntityARNs {
			id = n.arn("ec2", "instance/"+id)
		}
		resources = append(resources, id)
		entities = append(entities, map[string]string{"entityValue": id, "lastUpdatedTime": updated, "status": "PENDING"})
	}
	return n.event("aws.health", "AWS Health Event", resources, map[string]any{
		"eventArn":          n.EventARN,
		"service":           n.Service,
		"eventTypeCode":     n.TypeCode,
		"eventTypeCategory": n.Category,
		"eventScopeCode":    "ACCOUNT_SPECIFIC",
		"communicationId":   n.ID + "-1",
		"startTime":         n.NotBefore.Format(http.TimeFormat),
		"lastUpdatedTime":   updated,
		"statusCode":        n.Status,
		"eventRegion":       n.Region,
		"eventDescription":  []map[string]string{{"language": "en_US", "latestDescription": "A description of the event will be provided here"}},
		"affectedEntities":  entities,
		"affectedAccount":   Account,
		"page":              "1",
		"totalPages":        "1",
		"backupEvent":       "false",
		"personas":          []string{"OPERATIONS"},
		"actionability":     "ACTION_REQUIRED",
	})
}

func (n Notice) transition() string {
	if n.Launching {
		return launching
	}
	return terminating
}

// action returns what both deliveries of a lifecycle action have.
func (n Notice) action() map[string]any {
	action := map[string]any{
		"LifecycleActionToken": n.Token,
		"AutoScalingGroupName": n.Group,
		"LifecycleHookName":    n.Hook,
		"EC2InstanceId":        n.InstanceIDs[0],
		"LifecycleTransition":  n.transition(),
		"Origin":               n.Origin,
		"Destination":          n.Destination,
	}
	if n.Metadata != "" {
		action["NotificationMetadata"] = n.Metadata
	}
	return action
}

// lifecycle returns the lifecycle action as EventBridge delivers it.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pools-eventbridge-events.html
func (n Notice) lifecycle() any {
	detailType := "EC2 Instance-terminate Lifecycle Action"
	if n.Launching {
		detailType = "EC2 Instance-launch Lifecycle Action"
	}
	return n.event("aws.autoscaling", detailType, []string{n.groupARN()}, n.action())
}

// direct adds what Auto Scaling's own messages have besides.
func (n Notice) direct(fields map[string]any) any {
	fields["Service"] = "AWS Auto Scaling"
	fields["Time"] = n.Time.Format("2006-01-02T15:04:05.000Z")
	fields["RequestId"] = n.ID
	fields["AccountId"] = Account
	return fields
}

// lifecycleDirect returns the lifecycle action as Auto Scaling sends it itself.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
func (n Notice) lifecycleDirect() any { return n.direct(n.action()) }

// testNotification returns the test that Auto Scaling sends when a hook is created.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
func (n Notice) testNotification() any {
	return n.direct(map[string]any{
		"AutoScalingGroupARN":  n.groupARN(),
		"AutoScalingGroupName": n.Group,
		"Event":                "autoscaling:TEST_NOTIFICATION",
	})
}

// notification returns the body of a message that came through an SNS topic.
// https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html
func (n Notice) notification(message string) any {
	topic := n.arn("sns", "node-termination")
	return map[string]string{
		"Type":             "Notification",
		"MessageId":        newUUID(),
		"TopicArn":         topic,
		"Message":          message,
		"Timestamp":        n.Time.Format("2006-01-02T15:04:05.000Z"),
		"SignatureVersion": "1",
		"Signature":        "EXAMPLE",
		"SigningCertURL":   "https://sns." + n.Region + ".amazonaws.com/SimpleNotificationService-EXAMPLE.pem",
		"UnsubscribeURL":   "https://sns." + n.Region + ".amazonaws.com/?Action=Unsubscribe&SubscriptionArn=" + topic + ":EXAMPLE",
	}
}
