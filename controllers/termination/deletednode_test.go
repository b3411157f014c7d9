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

// The pods decide how it ended, whether or not the policy is still there.
func TestNodeVanishesAfterItsPolicy(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
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
		if err := admin(t).Delete(t.Context(), s.node(i)); err != nil {
			t.Fatal(err)
		}
	}
	nt := s.until(blocked, v1alpha1.StateFailed)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "2 of its 2 pods") {
		t.Errorf("the message is not true: %s", ready.Message)
	}
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
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionIgnore}}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateIgnored)
	if err := admin(t).Delete(t.Context(), s.node(0)); err != nil {
		t.Fatal(err)
	}
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
			Node:   &v1alpha1.NodeReference{},
			Events: []v1alpha1.EventStatus{{ID: "a", State: v1alpha1.EventActive}}, DrainStartTime: ptr.To(now(0)), Pods: pods,
		}
		s.decision.action = v1alpha1.ActionCordonAndDrain
		if gone, err := (&Reconciler{}).endWithNode(t.Context(), s); gone != ended || err != nil || s.state != state {
			t.Errorf("with pods %+v it ended as %s, %v, want %s", pods, s.state, err, state)
		}
	}
}

func TestNodeVanishes(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	blocked := s.terminate(0, notice("a", 2*time.Minute))
	s.until(blocked, v1alpha1.StateDraining)
	empty := s.terminate(1, notice("b", 2*time.Minute))
	s.until(empty, v1alpha1.StateCompleted)
	for i := range s.nodes {
		if err := admin(t).Delete(t.Context(), s.node(i)); err != nil {
			t.Fatal(err)
		}
	}
	nt := s.until(blocked, v1alpha1.StateFailed)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "2 of its 2 pods") {
		t.Errorf("the message is not true: %s", ready.Message)
	}
	s.until(empty, v1alpha1.StateCompleted)
}
