// SPDX-License-Identifier: Apache-2.0

// Package event turns what AWS says about EC2 instances into events of a
// NodeTermination, and decides for how long an event counts. It is pure: no clock, no
// network, no state.
//
// A queue carries three forms of document: EventBridge events, lifecycle
// notifications straight from an Auto Scaling group, and either of them in an
// SNS notification. There is one parser per kind of message, one file each.
//
//	revision.go  which of two statements about one thing stands
//	restate.go   what a watcher stores of what the metadata service lists
//	life.go      which events still count
//	over.go      by what each kind of event is over
//
// A required field that is missing or malformed is an error. An optional one
// that is malformed counts as absent: with two minutes left, a drain is worth
// more than an error.
package event

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxBody is the size of the largest message that SQS takes, in bytes.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const maxBody = 1 << 20

// documents names what a queue may carry, for errors.
const documents = "an EventBridge event, an Auto Scaling lifecycle notification, or an SNS notification of either, " +
	"unchanged: remove the input transformer from the rule's target"

// Fact is what one document says about one instance.
type Fact struct {
	// InstanceID is the EC2 instance, such as i-0abc1234def567890.
	InstanceID string
	// Account is the AWS account of the document. Empty: the document does not say.
	Account string
	// Region is the AWS Region of the instance, such as us-east-1. Empty: not known.
	Region string
	// Event is ready to be stored, but for its source, which the receiver sets.
	Event v1alpha1.Event
}

// Launch is an instance that waits at a launch hook. It is no event in the life of
// a node, so nothing of it is stored: the hook is completed, if a policy adopts it.
type Launch struct {
	// InstanceID is the EC2 instance, such as i-0abc1234def567890.
	InstanceID string
	// Hook is where it waits. Its destination is AutoScalingGroup or WarmPool, or
	// empty where the document does not say.
	Hook v1alpha1.LifecycleHook
}

// WarmPool is the destination of an instance that is stopped or hibernated in a
// warm pool once it is past its launch hook, so that it may never become a node.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pools-eventbridge-events.html
const WarmPool = "WarmPool"

// Document is what a queue message said: facts, a launch, both of an instance that comes from
// a warm pool, or why there is neither.
type Document struct {
	// Facts are what to store: one per instance.
	Facts []Fact
	// Launch is the instance that waits at a launch hook. Nil: the document is about something else.
	Launch *Launch
	// Unread are what is wrong with entities of the document beside those that the facts are about, each an *Error.
	Unread []error
	// Passed says why a recognised document carries nothing to act on. Empty if it does.
	Passed string
}

// Parse reads the body of one queue message. sent is when the message entered
// the queue (the SQS attribute SentTimestamp); it bounds deadlines that are
// counted from the event's own time, and nothing else comes from it. Zero: not known.
//
// The error is an *Error and says what was found and what is expected.
func Parse(body []byte, sent time.Time) (Document, error) {
	if len(body) > maxBody {
		return Document{}, unexpected("the message", fmt.Sprintf("%d bytes long", len(body)), fmt.Sprintf("at most %d, the limit of SQS", maxBody))
	}
	f, err := formOf(body)
	if err != nil {
		return Document{}, err
	}
	if f == notificationForm {
		if body, err = unwrap(body); err != nil {
			return Document{}, err
		}
		if f, err = formOf(body); err != nil {
			return Document{}, err
		}
	}
	switch f {
	case eventBridgeForm:
		return parseEventBridge(body, sent)
	case autoScalingForm:
		return parseAutoScaling(body)
	case notificationForm:
		return Document{}, unexpected("Message", "itself an SNS notification", "the event: subscribe the queue to the first topic, or deliver raw messages")
	}
	return Document{}, unexpected("the message", "of no known form", documents)
}

// accountID is the form of an AWS account's ID.
var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// within sets the account of all facts that have none, if it is one.
func (d Document) within(account string) Document {
	if accountID.MatchString(account) {
		for i := range d.Facts {
			d.Facts[i].Account = cmp.Or(d.Facts[i].Account, account)
		}
	}
	return d
}

// form is one of the three forms of document, or none.
type form int

const (
	unknownForm form = iota
	eventBridgeForm
	autoScalingForm
	notificationForm
)

// formOf recognises the form by fields that only documents of that form have.
func formOf(body []byte) (form, error) {
	var fields struct {
		Source              string `json:"source"`
		DetailType          string `json:"detail-type"`
		Service             string `json:"Service"`
		LifecycleTransition string `json:"LifecycleTransition"`
		Type                string `json:"Type"`
	}
	if err := decode(body, "", &fields); err != nil {
		return unknownForm, err
	}
	switch {
	case fields.Source != "" || fields.DetailType != "":
		return eventBridgeForm, nil
	case fields.Service == autoScalingService || fields.LifecycleTransition != "":
		return autoScalingForm, nil
	case fields.Type != "":
		return notificationForm, nil
	}
	return unknownForm, nil
}
