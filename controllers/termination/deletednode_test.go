// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestAbsence: a node is gone when none has registered for a minute and its pods are gone, or have no
// more time.
func TestAbsence(t *testing.T) {
	const timeout = 2 * time.Minute
	waiting := func(deadline time.Duration) v1alpha1.HookStatus {
		return v1alpha1.HookStatus{State: v1alpha1.HookWaiting, Deadline: at(deadline)}
	}
	ended := waiting(0)
	ended.State = v1alpha1.HookEnded
	for name, test := range map[string]struct {
		now      time.Duration
		pods     int
		deadline time.Duration // zero: none
		hooks    []v1alpha1.HookStatus
		look     time.Duration // zero: it is gone
		reason   string
	}{
		"one may register":                              {now: 59 * time.Second, look: time.Minute, reason: "no node runs on the instance since 2026-11-22T05:08:00Z: it is gone if none registers until 2026-11-22T05:09:00Z"},
		"for a minute":                                  {now: time.Minute},
		"its pods are waited for":                       {now: time.Minute, pods: 3, look: 90 * time.Second, reason: "3 pods that have to go are still bound to its name: they are waited for until 2026-11-22T05:10:00Z"},
		"but not longer than a drain takes":             {now: timeout, pods: 3},
		"nor than to the next look":                     {now: timeout - time.Second, pods: 3, look: timeout, reason: "3 pods"},
		"nor past the event's deadline":                 {now: 90 * time.Second, pods: 3, deadline: 90 * time.Second},
		"though a deadline that has passed is none":     {now: 59 * time.Second, deadline: -time.Hour, look: time.Minute, reason: "if none registers"},
		"and then counts no pods":                       {now: time.Minute, pods: 3, deadline: -time.Hour},
		"a group waits for them until the first hook's": {now: 30 * time.Minute, pods: 3, hooks: []v1alpha1.HookStatus{waiting(time.Hour), waiting(31 * time.Minute), ended}, look: 30*time.Minute + 30*time.Second, reason: "3 pods"},
		"and not longer":                                {now: 31 * time.Minute, pods: 3, hooks: []v1alpha1.HookStatus{waiting(time.Hour), waiting(31 * time.Minute), ended}},
		"also if that is within the minute":             {now: 20 * time.Second, hooks: []v1alpha1.HookStatus{waiting(20 * time.Second)}},
	} {
		t.Run(name, func(t *testing.T) {
			var deadline time.Time
			if test.deadline != 0 {
				deadline = t0.Add(test.deadline)
			}
			a := absence{since: t0, latest: latestEnd(t0, deadline, test.hooks, timeout), pods: test.pods}
			reason, look := a.waitsFor(t0.Add(test.now))
			var want time.Time
			if test.look != 0 {
				want = t0.Add(test.look)
			}
			if !look.Equal(want) || !strings.Contains(reason, test.reason) || (reason == "") != (test.reason == "") {
				t.Errorf("reason %q, look %s; want %q, %s", reason, look, test.reason, want)
			}
		})
	}
}

// dropPolicy deletes the policy in mid-drain.
func (s *setting) dropPolicy(nt *v1alpha1.NodeTermination) {
	s.t.Helper()
	if err := admin(s.t).Delete(s.t.Context(), s.policy); err != nil {
		s.t.Fatal(err)
	}
	s.until(nt, v1alpha1.StatePolicyGone)
}

// What AWS cancels is reverted, whether or not the policy is still there.
func TestCancellationNeedsNoPolicy(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}, LoadBalancers: v1alpha1.LoadBalancersExclude}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	s.dropPolicy(nt)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Cancelled = ptr.To(true) })
	nt = s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
	if pods := nt.Status.Pods; pods == nil || *pods.Blocked != 0 || *pods.Remaining != 1 {
		t.Errorf("pods %+v, want one that nothing blocks any more", pods)
	}
	if len(s.left(0)) != 1 {
		t.Error("the pod was evicted")
	}
}

// pass lets the time go by until the i-th node's termination is looked at again.
func (s *setting) pass(nt *v1alpha1.NodeTermination, by time.Duration) {
	s.t.Helper()
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if known := nt.Status.Node; known != nil && known.GoneTime == nil {
			return errors.New("the node is not missed yet")
		}
		return nil
	})
	testClock.shift(s.t, by)
	s.nudge(nt)
}

// deleteNode deletes the i-th node.
func (s *setting) deleteNode(i int) {
	s.t.Helper()
	if err := admin(s.t).Delete(s.t.Context(), s.node(i)); err != nil {
		s.t.Fatal(err)
	}
}

// The pods decide how it ended, whether or not the policy is still there.
func TestNodeVanishesAfterItsPolicy(t *testing.T) {
	s := newSetting(t, 2, nil)
	for range 2 { // either of which would complete the hook, so that none does
		other := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "other-"}, Spec: *s.policy.Spec.DeepCopy()}
		other.Spec.NodeSelector.MatchLabels["test"] = "nothing"
		s.create(other)
	}
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	blocked := s.terminate(0, notice("a", 2*time.Minute))
	s.until(blocked, v1alpha1.StateDraining)
	s.volume(1)
	completing := s.terminate(1, s.waits(1, "drain"))
	s.until(completing, v1alpha1.StateCompleting)
	s.dropPolicy(blocked)
	s.until(completing, v1alpha1.StatePolicyGone)
	for i := range s.nodes {
		s.deleteNode(i)
	}
	s.pass(blocked, 3*time.Minute)
	nt := s.until(blocked, v1alpha1.StateFailed)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "2 of its 2 pods") {
		t.Errorf("the message is not true: %s", ready.Message)
	}
	s.nudge(completing)
	nt = s.until(completing, v1alpha1.StateCompleted)
	if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookIgnored {
		t.Errorf("hook %+v, want it left to its own timeout", hook)
	}
	if action := s.action("drain"); action.Result != "" {
		t.Errorf("the hook was completed without a policy: %+v", action)
	}
}

// An instance that goes as the policy expects is no failure.
func TestNodeVanishesThatIsIgnored(t *testing.T) {
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionIgnore}}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateIgnored)
	s.deleteNode(0)
	s.pass(nt, 3*time.Minute)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.CompletionTime == nil {
			return errors.New("it has not ended")
		}
		return nil
	})
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); ready.Reason != v1alpha1.StateIgnored || ready.Status != metav1.ConditionTrue {
		t.Errorf("it ended as %+v, want Ignored", ready)
	}
}

// A node whose name another one has cannot be asked for its pods any more: it is not said that they
// were gone if they were never counted.
func TestReplacedNodeWhosePodsWereNeverCounted(t *testing.T) {
	t.Parallel()
	for state, pods := range map[string]*v1alpha1.PodCounts{
		v1alpha1.StateFailed:    nil,
		v1alpha1.StateCompleted: {Total: ptr.To[int32](3), Evicted: ptr.To[int32](3), Remaining: ptr.To[int32](0)},
	} {
		s := &scope{nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}, successor: &corev1.Node{}, now: t0}
		s.nt.Spec.Events = []v1alpha1.Event{notice("a", 2*time.Minute)}
		s.nt.Status = v1alpha1.NodeTerminationStatus{
			Node:   &v1alpha1.NodeReference{GoneTime: atPtr(-time.Hour)},
			Events: []v1alpha1.EventStatus{{ID: "a", State: v1alpha1.EventActive}}, DrainStartTime: ptr.To(now(0)), Pods: pods,
		}
		s.decision.action = v1alpha1.ActionCordonAndDrain
		if gone, err := (&Reconciler{}).endWithNode(t.Context(), s); gone != ended || err != nil || s.state != state {
			t.Errorf("with pods %+v it ended as %s, %v, want %s", pods, s.state, err, state)
		}
	}
}

func TestNodeVanishes(t *testing.T) {
	s := newSetting(t, 2, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	blocked := s.terminate(0, notice("a", 2*time.Minute))
	s.until(blocked, v1alpha1.StateDraining)
	empty := s.terminate(1, notice("b", 2*time.Minute))
	s.until(empty, v1alpha1.StateCompleted)
	for i := range s.nodes {
		s.deleteNode(i)
	}
	s.pass(blocked, 3*time.Minute)
	nt := s.until(blocked, v1alpha1.StateFailed)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "2 of its 2 pods") {
		t.Errorf("the message is not true: %s", ready.Message)
	}
	s.until(empty, v1alpha1.StateCompleted)
}
