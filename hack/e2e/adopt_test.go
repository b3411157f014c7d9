// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// adoptingGroup is the Auto Scaling group whose hook join adoptJoin adopts.
const adoptingGroup = "adopting"

func adoptJoin(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{Adopt: []v1alpha1.AdoptedHook{{AutoScalingGroupName: adoptingGroup, Name: "join"}}}
}

// testLaunchHooks: a launch hook is completed as soon as the node is Ready, by the node and not by
// its message coming back; at once if the instance goes to a warm pool; and another hook never.
func testLaunchHooks(t *testing.T, f *fixture) {
	const joins, warms, other = "i-0e2e0000000000001", "i-0e2e0000000000002", "i-0e2e0000000000003"
	notice := awssim.Notice{Kind: awssim.Lifecycle, Launching: true, Group: adoptingGroup, Hook: "join", InstanceIDs: []string{joins}}
	f.send(notice)
	var hidden awssim.Message
	eventually(t, func() error {
		messages := f.messages()
		if len(messages) != 1 || messages[0].VisibleAt.Before(messages[0].Sent.Add(visible)) {
			return fmt.Errorf("the queue has %+v, want the message of the hook, given back", messages)
		}
		hidden = messages[0]
		return nil
	})
	notice.InstanceIDs, notice.Destination = []string{warms}, "WarmPool"
	f.send(notice)
	f.untilContinued(warms)
	notice.InstanceIDs, notice.Hook = []string{other}, "warm-up"
	f.send(notice)
	eventually(t, func() error {
		if messages := f.messages(); len(messages) != 1 || messages[0].ID != hidden.ID {
			return fmt.Errorf("the queue has %+v, want the message of %s only", messages, joins)
		}
		return nil
	})
	if action := f.action(joins); action.Result != "" {
		t.Errorf("the hook was completed without a node: %+v", action)
	}

	cluster.Get(t).CreateNodes(t, 1, func(node *corev1.Node) {
		node.Spec.ProviderID = "aws:///us-east-1a/" + joins
		maps.Copy(node.Labels, f.label)
	})
	f.untilContinued(joins)
	if action := f.action(joins); !action.Ended.Before(hidden.VisibleAt) {
		t.Errorf("completed at %s, not before its message came back at %s", action.Ended, hidden.VisibleAt)
	}
	f.untilQueueEmpty()
	if action := f.action(other); action.Result != "" {
		t.Errorf("a hook that no policy adopts was completed: %+v", action)
	}
}

// untilContinued waits until the hook at which an instance waits is completed with CONTINUE.
func (f *fixture) untilContinued(instanceID string) {
	f.t.Helper()
	eventually(f.t, func() error {
		if action := f.action(instanceID); action.Result != "CONTINUE" || action.TimedOut {
			return fmt.Errorf("the hook of %s is not completed: %+v", instanceID, action)
		}
		return nil
	})
}
