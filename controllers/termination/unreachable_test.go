// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// A node that does not answer since t0.
func TestUnreachableFrom(t *testing.T) {
	until := func(end time.Duration) drain.Pod { return drain.Pod{DeletionTimestamp: t0.Add(end)} }
	for name, test := range map[string]struct {
		pods []drain.Pod
		want time.Duration // zero: it is waited for
	}{
		"no pod":                             {want: 5 * time.Minute},
		"pods that should have ended":        {pods: []drain.Pod{until(-time.Hour), until(4 * time.Minute)}, want: 5 * time.Minute},
		"a minute after the last should":     {pods: []drain.Pod{until(10 * time.Minute), until(time.Minute)}, want: 11 * time.Minute},
		"one that was not evicted":           {pods: []drain.Pod{until(time.Minute), {}}},
		"one within the minute of the check": {pods: []drain.Pod{until(4*time.Minute + time.Second)}, want: 5*time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			from, ends := unreachableFrom(t0, test.pods)
			if ends != (test.want != 0) || ends && !from.Equal(t0.Add(test.want)) {
				t.Errorf("not waited for: %t, from %s, want %s after %s", ends, from, test.want, t0)
			}
		})
	}
}

// Not in parallel: it moves the clock.
func TestUnreachableNodeHoldsNoHook(t *testing.T) {
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](7200)}
	})
	s.dead(1)
	s.changeNodeStatus(func(node *corev1.Node) { node.Status.Conditions[0].LastTransitionTime = now(-10 * time.Minute) })
	nt := s.terminate(0, s.waits(0, "drain"))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if pods := nt.Status.Pods; pods == nil || *pods.Terminating != 1 {
			return fmt.Errorf("pods %+v, want one that was evicted", pods)
		}
		return nil
	})
	if action := s.action("drain"); action.Result != "" {
		t.Errorf("completed with %s before the pod's time was over", action.Result)
	}
	testClock.shift(t, 95*time.Second) // its grace period, and a minute
	s.nudge(nt)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookContinued || !strings.Contains(hook.Message, "does not answer") {
			return fmt.Errorf("hook %+v, want it continued, and why", hook)
		}
		return nil
	})
	if action := s.action("drain"); action.Result != "CONTINUE" {
		t.Errorf("result %q", action.Result)
	}
}
