// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The status that said so was lost to a conflict. Auto Scaling, which is not even there, is not called.
func TestHookIsNotCompletedAgain(t *testing.T) {
	for result, test := range map[v1alpha1.HookState]struct {
		node      *corev1.Node // nil: it is gone, and the group goes on
		onTimeout v1alpha1.OnTimeout
	}{
		v1alpha1.HookContinued: {},
		v1alpha1.HookAbandoned: {&corev1.Node{}, v1alpha1.OnTimeoutAbandon},
	} {
		r := &Reconciler{Options: Options{Local: &LocalState{}}}
		s := &scope{now: t0.Add(time.Hour), nt: &v1alpha1.NodeTermination{}, node: test.node, gone: test.node == nil, policy: &v1alpha1.NodeTerminationPolicy{}}
		s.policy.Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{OnTimeout: test.onTimeout}
		s.nt.Name = instance
		s.nt.Spec.Events = []v1alpha1.Event{hook("h")}
		s.nt.Status.Events = []v1alpha1.EventStatus{{ID: "h", State: v1alpha1.EventActive}}
		s.nt.Status.LifecycleHooks = []v1alpha1.HookStatus{{
			AutoScalingGroupName: "workers", Name: "drain", Token: "t", State: v1alpha1.HookWaiting, StartTime: at(0), HeartbeatTimeoutSeconds: ptr.To[int32](300),
		}}
		r.Local.complete(s.nt.Name, hookKey{"workers", "drain", "t"})
		r.callHooks(t.Context(), s)
		if got := s.nt.Status.LifecycleHooks[0].State; got != result {
			t.Errorf("hook is %s, want %s", got, result)
		}
		if r.Local.hasCompleted(s.nt.Name, hookKey{"workers", "drain", "b"}) {
			t.Error("a hook that waits once more counts as completed")
		}
	}
}

// What was cordoned has begun, though its status does not say so yet, until it has ended.
func TestWhatIsCordonedHasBegun(t *testing.T) {
	var local LocalState
	const name = instance
	if local.get(name).begun || !local.begin(name) || local.begin(name) || !local.get(name).begun {
		t.Error("the first cordon is news, and no other")
	}
	local.wrote(name, t0, false)
	if !local.get(name).begun {
		t.Error("forgotten while it drains")
	}
	local.wrote(name, t0, true)
	if local.get(name).begun || !local.begin(name) {
		t.Error("the cordon of a termination that begins once more is news again")
	}
	local.forget(name)
	if local.changed(name, "") || len(local.of) != 0 {
		t.Error("a termination that was deleted is remembered")
	}
}

func TestEveryOptionIsRequired(t *testing.T) {
	_, err := New(Options{Local: &LocalState{}})
	if err == nil || !strings.Contains(err.Error(), "Executor") || strings.Contains(err.Error(), "Local") {
		t.Errorf("%v, want the options that are missing", err)
	}
}
