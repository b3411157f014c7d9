// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

// Group and instance of another account are reached by the policy's role, as soon as it can be assumed.
func TestHooksOfAnotherAccount(t *testing.T) {
	const theirs, role = "210987654321", "arn:aws:iam::210987654321:role/drain"
	put := func(r awssim.Role) {
		t.Helper()
		if err := sim.PutRole(r); err != nil {
			t.Fatal(err)
		}
	}
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{RoleARN: role}
	})
	put(awssim.Role{ARN: role, Refuses: true})
	id, _ := ec2node.InstanceID(s.nodes[0])
	if err := sim.PutInstance(awssim.Instance{ID: id, Account: theirs}); err != nil {
		t.Fatal(err)
	}
	nt := s.terminate(0, s.waits(0, "drain", func(h *awssim.LifecycleHook) { h.Account = theirs }))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
		if condition == nil || condition.Reason != v1alpha1.ReasonHookFailing || !strings.Contains(condition.Message, "cannot assume role "+role) {
			return fmt.Errorf("condition %+v, want that the role cannot be assumed", condition)
		}
		return nil
	})
	put(awssim.Role{ARN: role})
	testClock.shift(t, 30*time.Second) // a call that failed is tried again by then
	s.nudge(nt)
	s.until(nt, v1alpha1.StateCompleted)
	if action := s.action("drain"); action.Result != "CONTINUE" || action.TimedOut {
		t.Errorf("action %+v, want it continued", action)
	}
	for _, call := range sim.Calls("autoscaling", "") {
		if call.Params["AutoScalingGroupName"] == s.ns && call.Role != role {
			t.Errorf("%s was signed by %q", call.Action, call.Role)
		}
	}
}
