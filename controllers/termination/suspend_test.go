// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestLeftBehind(t *testing.T) {
	holds := func(kind string) metav1.Condition { return metav1.Condition{Type: kind, Status: metav1.ConditionTrue} }
	hook := v1alpha1.HookStatus{AutoScalingGroupName: "workers", Name: "drain", State: v1alpha1.HookWaiting, Deadline: at(time.Hour)}
	for want, status := range map[string]v1alpha1.NodeTerminationStatus{
		"nothing had been done yet": {},
		"nothing had been done yet, group workers is kept waiting at hook drain until 2026-11-22T06:08:00Z": {LifecycleHooks: []v1alpha1.HookStatus{hook}},
		"the node is cordoned, no pod was evicted": {
			StartTime: atPtr(0), Conditions: []metav1.Condition{holds(v1alpha1.ConditionCordoned)},
		},
		"the node is not cordoned, 3 pods that have to go are still there, group workers is kept waiting at hook drain until 2026-11-22T06:08:00Z": {
			StartTime: atPtr(0), Pods: &v1alpha1.PodCounts{Remaining: ptr.To[int32](3)}, LifecycleHooks: []v1alpha1.HookStatus{hook},
		},
		"the node is cordoned, its pods are gone": {
			StartTime: atPtr(0), Pods: &v1alpha1.PodCounts{Remaining: ptr.To[int32](0)},
			Conditions: []metav1.Condition{holds(v1alpha1.ConditionCordoned), holds(v1alpha1.ConditionDrained)},
		},
	} {
		if got := leftBehind(&status); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// setSuspend suspends the setting's policy, or resumes it.
func (s *setting) setSuspend(suspend bool) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(s.policy), s.policy); err != nil {
			return err
		}
		s.policy.Spec.Suspend = &suspend
		return admin(s.t).Update(s.t.Context(), s.policy)
	})
}

func TestSuspendedPolicyStopsItsDrains(t *testing.T) {
	t.Parallel()
	const nodes = 10
	s := newSetting(t, nodes, nil)
	s.budget()
	terminations := make([]*v1alpha1.NodeTermination, nodes)
	for i := range terminations {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
		e := notice("a", 2*time.Minute)
		if i == 0 {
			e = s.waits(i, "drain", brief)
		}
		terminations[i] = s.terminate(i, e)
	}
	for _, nt := range terminations {
		s.until(nt, v1alpha1.StateDraining)
	}
	s.setSuspend(true)
	for _, nt := range terminations {
		nt = s.until(nt, v1alpha1.StateSuspended)
		message := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady).Message
		if want := "spec.suspend of policy " + s.policy.Name + " is true: nothing more is changed until it is false again; the node is cordoned, 1 pods"; !strings.HasPrefix(message, want) {
			t.Errorf("message %q, want %q", message, want)
		}
	}
	// Nothing holds the pods now but the suspension.
	if err := admin(t).DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	beats := len(s.action("drain").Heartbeats)
	testcluster.Eventually(t, patience, func() error { // which is several looks at each
		if now := len(s.action("drain").Heartbeats); now <= beats {
			return fmt.Errorf("%d heartbeats, and %d before the suspension", now, beats)
		}
		return nil
	})
	for i, nt := range terminations {
		s.nudge(nt)
		if left := s.left(i); len(left) != 1 {
			t.Errorf("left on node %d while suspended: %v, want its pod", i, left)
		}
	}
	s.setSuspend(false)
	for _, nt := range terminations {
		s.until(nt, v1alpha1.StateCompleted)
	}
	if action := s.action("drain"); action.Result != "CONTINUE" {
		t.Errorf("result %q", action.Result)
	}
}

func TestSuspendedPolicyBeginsNothing(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Suspend = ptr.To(true) })
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateSuspended)
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	s.setSuspend(false)
	s.until(nt, v1alpha1.StateCompleted)
}

// An event that is over is no reason to change the node of a policy that is suspended.
func TestSuspendedPolicyRevertsNothing(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.terminate(0, planned())
	s.until(nt, v1alpha1.StateScheduled)
	s.setSuspend(true)
	s.until(nt, v1alpha1.StateSuspended)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Cancelled = ptr.To(true) })
	s.until(nt, v1alpha1.StateSuspended)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	s.setSuspend(false)
	s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
}
