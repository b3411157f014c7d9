// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// The status that said so was lost to a conflict. Auto Scaling, which is not even there, is not called.
func TestHookIsNotCompletedAgain(t *testing.T) {
	r := &Reconciler{}
	s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}}
	s.nt.Name = "i-0abc1234def567890"
	for _, test := range []struct {
		result awsapi.Result
		want   v1alpha1.HookState
	}{{awsapi.Continue, v1alpha1.HookContinued}, {awsapi.Abandon, v1alpha1.HookAbandoned}} {
		hook := newHookStatus(v1alpha1.LifecycleHook{AutoScalingGroupName: "workers", Name: "drain", Token: "a"}, t0)
		r.memory.noteCompleted(s.nt.Name, hookKey{hook.AutoScalingGroupName, hook.Name, hook.Token})
		r.completeHook(t.Context(), s, &hook, test.result)
		if hook.State != test.want {
			t.Errorf("hook is %s, want %s", hook.State, test.want)
		}
	}
	if r.memory.hasCompleted(s.nt.Name, hookKey{"workers", "drain", "b"}) {
		t.Error("a hook that waits once more counts as completed")
	}
}

// What was cordoned has begun, though its status does not say so yet, until it has ended.
func TestWhatIsCordonedHasBegun(t *testing.T) {
	var m memory
	const name = "i-0abc1234def567890"
	if m.recall(name).begun || !m.begin(name) || m.begin(name) || !m.recall(name).begun {
		t.Error("the first cordon is news, and no other")
	}
	m.wrote(name, t0, false)
	if !m.recall(name).begun {
		t.Error("forgotten while it drains")
	}
	m.wrote(name, t0, true)
	if m.recall(name).begun || !m.begin(name) {
		t.Error("the cordon of a termination that begins once more is news again")
	}
	m.forget(name)
	if m.complains(name, "") || len(m.of) != 0 {
		t.Error("a termination that was deleted is remembered")
	}
}
