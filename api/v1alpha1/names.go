// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"regexp"
	"strings"
	"unicode"
)

const (
	// KeyPrefix begins every key of ours: of labels, annotations and taints.
	KeyPrefix = "nodetermination.dev/"

	// AnnotationApplied is on every Node that this operator changed. Its value is JSON
	// and says what was applied, so that any replica can undo exactly that.
	AnnotationApplied = "nodetermination.dev/applied"

	// AnnotationDrain on a Node requests its drain; its value is the reason, for
	// people. Removing it cancels the drain. While it is there, a NodeTermination that
	// is deleted is created again. On a Pod its value is skip (the pod stays on the
	// node), last (it is evicted after all others) or wait-for-completion (the drain
	// waits until it has finished).
	AnnotationDrain = "nodetermination.dev/drain"

	// AnnotationHold on a Node or on its NodeTermination holds a drain that can wait; its value
	// says who asks for that and why. See spec.drain.hold.
	AnnotationHold = "nodetermination.dev/hold"

	// TaintKeyWaiting is the key of the taint on a node that waits for its turn: see
	// spec.drain.budget.
	TaintKeyWaiting = KeyPrefix + "waiting"

	// LabelWebhook with the value "true" is on the Secrets and ConfigMaps in the manager's
	// namespace that webhooks, and spec.drain.hold, may use. The manager reads no others.
	LabelWebhook = "nodetermination.dev/webhook"

	// FieldManager owns what the manager applies: statuses and node annotations.
	FieldManager = "node-termination-operator"

	// eventFieldManagerPrefix and the id of an event make the event's field manager.
	eventFieldManagerPrefix = "nto-"
)

// instanceID is the rule for NodeTerminationSpec.InstanceID, once more.
var instanceID = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// IsInstanceID reports whether id has the form of an EC2 instance's ID, such as
// i-0abc1234def567890, which is the name of its NodeTermination.
func IsInstanceID(id string) bool { return instanceID.MatchString(id) }

var region = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// IsRegion reports whether code has the form of an AWS Region's code, such as us-east-1.
func IsRegion(code string) bool { return region.MatchString(code) }

// EventFieldManager returns the field manager that an event is applied with. Each event
// has its own: with one for several, applying one event would remove the others.
func EventFieldManager(eventID string) string {
	return eventFieldManagerPrefix + eventID
}

// TaintKey returns the key of the taint that is set on a node for this kind of event:
// nodetermination.dev/ and the kind in kebab case.
func TaintKey(kind EventKind) string {
	var key strings.Builder
	key.WriteString(KeyPrefix)
	for i, r := range string(kind) {
		if unicode.IsUpper(r) && i > 0 {
			key.WriteByte('-')
		}
		key.WriteRune(unicode.ToLower(r))
	}
	return key.String()
}

// NTHPrefix begins the keys of the labels and taints of the AWS Node Termination Handler.
// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/node/node.go
const NTHPrefix = "aws-node-termination-handler/"

// The labels that the AWS Node Termination Handler sets on a node.
const (
	// LabelNTHAction is cordon or cordon-and-drain.
	LabelNTHAction = NTHPrefix + "action"
	// LabelNTHActionTime is when that was set, in Unix seconds.
	LabelNTHActionTime = NTHPrefix + "action-time"
	// LabelNTHEventID is the id of the event.
	LabelNTHEventID = NTHPrefix + "event-id"
)

// nthTaints are the keys of the taints of the AWS Node Termination Handler, without the prefix, by kind.
var nthTaints = map[EventKind]string{
	SpotInterruption:        "spot-itn",
	InstanceStateChange:     "spot-itn",
	ScheduledMaintenance:    "scheduled-maintenance",
	AutoScalingTermination:  "asg-lifecycle-termination",
	RebalanceRecommendation: "rebalance-recommendation",
}

// NTHTaintKey returns the key of the taint that the AWS Node Termination Handler sets for this kind of event;
// TaintKey for a kind that it does not have.
func NTHTaintKey(kind EventKind) string {
	if name, found := nthTaints[kind]; found {
		return NTHPrefix + name
	}
	return TaintKey(kind)
}
