// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// suspend stops a termination where it is. One that has ended stops too: what it would revert,
// or go on with, is left to the end of the suspension.
func (r *Reconciler) suspend(_ context.Context, s *scope) (verdict, error) {
	if !s.suspended() {
		return proceed, nil
	}
	if s.finished() {
		if s.node != nil {
			if applied, ours := ec2node.AppliedOn(s.node); ours && applied.InstanceID == s.nt.Spec.InstanceID {
				s.lookAgain(s.now.Add(maxPoll)) // a policy wakes only those that have not ended
			}
		}
		return ended, nil
	}
	whose := "spec.suspend"
	if !ptr.Deref(s.nt.Spec.Suspend, false) {
		whose = "spec.suspend of policy " + s.policy.Name
	}
	s.setState(v1alpha1.StateSuspended, fmt.Sprintf("%s is true: nothing more is changed until it is false again; %s", whose, leftBehind(&s.nt.Status)))
	return ended, nil
}

// leftBehind returns what a termination that stops leaves as it is.
func leftBehind(status *v1alpha1.NodeTerminationStatus) string {
	if status.StartTime == nil {
		return "nothing had been done yet" + waitingGroups(status.LifecycleHooks)
	}
	left := "the node is not cordoned"
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionCordoned) {
		left = "the node is cordoned"
	}
	switch {
	case meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionDrained):
		left += ", its pods are gone"
	case status.Pods != nil:
		left += fmt.Sprintf(", %d pods that have to go are still there", *status.Pods.Remaining)
	default:
		left += ", no pod was evicted"
	}
	return left + waitingGroups(status.LifecycleHooks)
}

// waitingGroups returns which groups wait at their hooks, and until when they are kept waiting.
func waitingGroups(hooks []v1alpha1.HookStatus) string {
	var waiting strings.Builder
	for _, hook := range lifecyclehook.Waiting(hooks) {
		fmt.Fprintf(&waiting, ", group %s is kept waiting at hook %s until %s", hook.AutoScalingGroupName, hook.Name, formatTime(hook.Deadline.Time))
	}
	return waiting.String()
}
