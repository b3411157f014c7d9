// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"slices"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestSuspendStopsAndResumes(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = ptr.To(true) })
	s.until(nt, v1alpha1.StateSuspended)
	// The budget goes: nothing holds the pods now but the suspension.
	if err := admin(t).DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	s.nudge(nt)
	if left := s.left(0); len(left) != 2 {
		t.Errorf("left while suspended: %v, want both", left)
	}
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = nil })
	s.until(nt, v1alpha1.StateCompleted)
}

// nudge changes the NodeTermination's spec in a way that means nothing and waits
// until the reconciler has seen it.
func (s *setting) nudge(nt *v1alpha1.NodeTermination) {
	s.t.Helper()
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Description += "." })
	generation := nt.Generation
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.ObservedGeneration < generation {
			return fmt.Errorf("generation %d observed, want %d", nt.Status.ObservedGeneration, generation)
		}
		return nil
	})
}

// Whoever wrote the object, the instance is what it is about.
func TestWrongPairIsMended(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	victim, _ := ec2node.InstanceID(s.nodes[1])
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: victim}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: victim, NodeName: s.nodes[0].Name, Events: []v1alpha1.Event{notice("a", time.Minute)}}
	s.create(nt)
	if nt = s.until(nt, v1alpha1.StateCompleted); nt.Spec.NodeName != s.nodes[1].Name {
		t.Errorf("it names node %s, want %s", nt.Spec.NodeName, s.nodes[1].Name)
	}
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	s.untilNode(1, cordoned)
	if len(s.left(0)) != 1 {
		t.Error("a pod was evicted")
	}
}

func TestNoPolicyThenOne(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.NodeSelector.MatchLabels["other"] = "yes" })
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateNoPolicy)
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	testcluster.Eventually(t, patience, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(s.policy), s.policy); err != nil {
			return err
		}
		delete(s.policy.Spec.NodeSelector.MatchLabels, "other")
		return admin(t).Update(t.Context(), s.policy)
	})
	s.until(nt, v1alpha1.StateCompleted)
}

func TestDeletedPolicyStopsTheDrain(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	if err := admin(t).Delete(t.Context(), s.policy); err != nil {
		t.Fatal(err)
	}
	nt = s.until(nt, v1alpha1.StatePolicyGone)
	if !meta.IsStatusConditionTrue(nt.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("not Stalled")
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestMaintenanceDrainsBeforeItsTime(t *testing.T) {
	s := newSetting(t, 1, nil)
	pod := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	e := v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: ptr.To(now(72 * time.Hour)), Deadline: ptr.To(now(72 * time.Hour)),
	}
	nt := s.until(s.terminate(0, e), v1alpha1.StateScheduled)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	if !slices.Equal(s.left(0), []string{pod[0].Name}) {
		t.Errorf("left: %v", s.left(0))
	}
	testClock.shift(t, 49*time.Hour)
	s.nudge(nt)
	s.until(nt, v1alpha1.StateCompleted)
}

func TestFinishedTerminationReceivesANewEvent(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2)
	nt := s.terminate(0, notice("a", 2*time.Second))
	s.until(nt, v1alpha1.StateCompleted)

	// The instance was stopped, not terminated, and comes back: another boot.
	testcluster.Eventually(t, patience, func() error {
		if left := time.Until(nt.Spec.Events[0].Deadline.Time); left > -time.Second {
			return fmt.Errorf("the deadline is not a second past, but %s ahead", left)
		}
		node := s.node(0)
		node.Status.NodeInfo.BootID = "second-boot"
		turnReady(node)
		return admin(t).Status().Update(t.Context(), node)
	})
	s.untilNode(0, untouched)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Events[0].State != v1alpha1.EventResolved {
			return fmt.Errorf("event is %s", nt.Status.Events[0].State)
		}
		return nil
	})

	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	first := nt.Status.CompletionTime
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, notice("b", time.Minute)) })
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.CompletionTime == nil || !nt.Status.CompletionTime.After(first.Time) {
			return fmt.Errorf("not ended anew: %+v", nt.Status)
		}
		return nil
	})
	if nt.Status.Pods.Summary != "1/1" || nt.Status.Node.BootID != "second-boot" {
		t.Errorf("second life: %+v, %+v", nt.Status.Pods, nt.Status.Node)
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestSecondEventOfADrainedNodeKeepsTheRecord(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	before := nt.Status
	stopping := v1alpha1.Event{
		ID: "b", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(0)), InstanceAction: "stopping",
	}
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, stopping) })
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Events) != 2 || nt.Status.CompletionTime == nil {
			return fmt.Errorf("the second event was not taken in: %+v", nt.Status)
		}
		return nil
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	if !nt.Status.CompletionTime.Equal(before.CompletionTime) || nt.Status.Pods.Summary != "3/3" || !nt.Status.DrainStartTime.Equal(before.DrainStartTime) {
		t.Errorf("the record changed from %+v to %+v", before, nt.Status)
	}

	// A pod that tolerates the cordon came meanwhile: the next event drains again.
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	stopping.ID = "c"
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, stopping) })
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Pods.Summary != "4/4" || nt.Status.CompletionTime == nil {
			return fmt.Errorf("not drained again: %+v", nt.Status)
		}
		return nil
	})
}

func TestOldEventsArePruned(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	var events []v1alpha1.Event
	for i := range 32 {
		events = append(events, v1alpha1.Event{
			ID: fmt.Sprintf("m%02d", i), Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS,
			Time: now(time.Duration(i) * time.Second), NotBefore: ptr.To(now(72 * time.Hour)), Cancelled: ptr.To(true),
		})
	}
	nt := s.terminate(0, events...)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Spec.Events) != maxEvents {
			return fmt.Errorf("%d events, want %d", len(nt.Spec.Events), maxEvents)
		}
		return nil
	})
	if nt.Spec.Events[0].ID != "m08" {
		t.Errorf("the oldest kept is %s, want m08", nt.Spec.Events[0].ID)
	}
}
