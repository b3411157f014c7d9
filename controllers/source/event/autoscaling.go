// SPDX-License-Identifier: Apache-2.0

package event

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The transitions that a group waits in.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
const (
	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// autoScalingService is the service of messages that a group sends to a queue itself.
const autoScalingService = "AWS Auto Scaling"

// lifecycleAction is an instance that waits at a hook, as EventBridge and the
// group itself both describe it.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html
type lifecycleAction struct {
	Group      string `json:"AutoScalingGroupName"`
	Hook       string `json:"LifecycleHookName"`
	Token      string `json:"LifecycleActionToken"`
	Transition string `json:"LifecycleTransition"`
	InstanceID string `json:"EC2InstanceId"`
	// Origin is the same of where the instance comes from.
	Origin string `json:"Origin"`
	// Destination is EC2, AutoScalingGroup or WarmPool. Older groups do not send it.
	Destination string `json:"Destination"`
	// Account, Event and Time are only in what the group itself sends.
	Account string `json:"AccountId"`
	Event   string `json:"Event"`
	Time    string `json:"Time"`
}

// parseTerminateLifecycleAction reads a termination hook's event from EventBridge.
func parseTerminateLifecycleAction(b eventBridgeEvent) (Document, error) {
	var a lifecycleAction
	if err := decode(b.detail, "detail.", &a); err != nil {
		return Document{}, err
	}
	return a.termination("detail.", b.time)
}

// parseLaunchLifecycleAction reads a launch hook's event from EventBridge.
func parseLaunchLifecycleAction(b eventBridgeEvent) (Document, error) {
	var a lifecycleAction
	if err := decode(b.detail, "detail.", &a); err != nil {
		return Document{}, err
	}
	return a.launch("detail.", b.time)
}

// parseAutoScaling reads what a group sends to its hook's notification target itself.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html
func parseAutoScaling(body []byte) (Document, error) {
	var a lifecycleAction
	if err := decode(body, "", &a); err != nil {
		return Document{}, err
	}
	// A hook's action has no Event: that is a test, or a group's notification of
	// what has already happened.
	if strings.HasPrefix(a.Event, "autoscaling:") {
		return Document{Passed: quote(a.Event) + " is no lifecycle action"}, nil
	}
	if err := required("LifecycleTransition", a.Transition, terminating+" or "+launching); err != nil {
		return Document{}, err
	}
	switch a.Transition {
	case terminating:
		t, err := parseTime("Time", a.Time)
		if err != nil {
			return Document{}, err
		}
		document, err := a.termination("", t)
		return document.within(a.Account), err
	case launching:
		t, _ := parseTime("Time", a.Time) // only an instance from the warm pool needs it
		return a.launch("", t)
	}
	return Document{Passed: "lifecycle transition " + quote(a.Transition) + " is neither a termination nor a launch"}, nil
}

// termination returns the same fact, with the same ID, whichever way the action was
// received. within is the path to the action in the document. There is no deadline: the
// group waits as long as the hook says.
func (a lifecycleAction) termination(within string, t time.Time) (Document, error) {
	hook, err := a.waiting(within)
	if err != nil {
		return Document{}, err
	}
	return Document{Facts: []Fact{{
		InstanceID: a.InstanceID,
		Event: v1alpha1.Event{
			ID:            hashID(a.Group, a.Hook, a.Token),
			Kind:          v1alpha1.AutoScalingTermination,
			Time:          metav1.Time{Time: t},
			LifecycleHook: &hook,
		},
	}}}, nil
}

// launch returns the same whichever way the action was received. An instance that is launched
// from the warm pool is not on its way there any more, which is a fact about its node.
func (a lifecycleAction) launch(within string, t time.Time) (Document, error) {
	hook, err := a.waiting(within)
	if err != nil {
		return Document{}, err
	}
	document := Document{Launch: &Launch{InstanceID: a.InstanceID, Hook: hook}}
	if a.Origin == WarmPool && hook.Destination != WarmPool && !t.IsZero() {
		document.Facts = []Fact{{InstanceID: a.InstanceID, Event: v1alpha1.Event{
			ID:        kindID(v1alpha1.SourceSQS, v1alpha1.AutoScalingTermination),
			Kind:      v1alpha1.AutoScalingTermination,
			Time:      metav1.Time{Time: t},
			Cancelled: new(true),
		}}}
	}
	return document, nil
}

// waiting returns the hook at which the instance waits.
func (a lifecycleAction) waiting(within string) (hook v1alpha1.LifecycleHook, err error) {
	if err := checkInstanceID(within+"EC2InstanceId", a.InstanceID); err != nil {
		return hook, err
	}
	if err := checkName(within+"AutoScalingGroupName", a.Group, "the group's name, of at most 255 characters", maxName); err != nil {
		return hook, err
	}
	if err := checkName(within+"LifecycleHookName", a.Hook, "the hook's name, of at most 255 characters", maxName); err != nil {
		return hook, err
	}
	if !groupNames.MatchString(a.Group) {
		return hook, unexpected(within+"AutoScalingGroupName", quote(a.Group), "a group's name, such as workers")
	}
	if !hookNames.MatchString(a.Hook) {
		return hook, unexpected(within+"LifecycleHookName", quote(a.Hook), "a hook's name, of letters, digits, hyphens, underscores and slashes")
	}
	if err := checkName(within+"LifecycleActionToken", a.Token, "the action's token, a UUID", maxToken); err != nil {
		return hook, err
	}
	return v1alpha1.LifecycleHook{
		AutoScalingGroupName: a.Group,
		Name:                 a.Hook,
		Token:                a.Token,
		Destination:          cut(a.Destination, maxDestination),
	}, nil
}
