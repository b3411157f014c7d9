// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestIgnoredEventKeepsNoCordon(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionIgnore}}
	})
	ignored := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	planned := v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: ptr.To(now(72 * time.Hour)), Deadline: ptr.To(now(72 * time.Hour)),
	}
	nt := s.terminate(0, ignored, planned)
	s.until(nt, v1alpha1.StateScheduled)
	s.untilNode(0, cordoned)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		for i := range spec.Events {
			if spec.Events[i].ID == "m" {
				spec.Events[i].Cancelled = ptr.To(true)
			}
		}
	})
	s.until(nt, v1alpha1.StateIgnored)
	s.untilNode(0, untouched)
}

func TestSuspensionDoesNotUseUpTheTime(t *testing.T) {
	t.Parallel()
	const timeout = 10 * time.Second
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To(int32(timeout / time.Second))}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.terminate(0, e)
	s.until(nt, v1alpha1.StateDraining)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = ptr.To(true) })
	nt = s.until(nt, v1alpha1.StateSuspended)
	if err := admin(t).DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, patience, func() error {
		if passed := time.Since(nt.Status.DrainStartTime.Time); passed < timeout+time.Second {
			return fmt.Errorf("only %s have passed", passed)
		}
		return nil
	})
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = nil })
	s.until(nt, v1alpha1.StateCompleted)
}

func TestLabelThatComesLaterBringsThePolicy(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.NodeSelector.MatchLabels["late"] = "yes" })
	nt := s.terminate(0, notice("a", time.Minute))
	s.until(nt, v1alpha1.StateNoPolicy)
	testcluster.Eventually(t, patience, func() error {
		node := s.node(0)
		node.Labels["late"] = "yes"
		return admin(t).Update(t.Context(), node)
	})
	s.until(nt, v1alpha1.StateCompleted)
}

func TestPriorityIsOfWhatIsStillToBeDone(t *testing.T) {
	nt := &v1alpha1.NodeTermination{}
	nt.Generation = 2
	nt.Spec.Events = []v1alpha1.Event{spot("over", 0), spot("ahead", time.Hour)}
	if got := nearestDeadline(nt); !got.Equal(t0.Add(2 * time.Minute)) {
		t.Errorf("nothing is known yet: %v, want the nearest of all", got)
	}
	nt.Status.Events = []v1alpha1.EventStatus{{ID: "over", State: v1alpha1.EventResolved}, {ID: "ahead", State: v1alpha1.EventActive}}
	if got := nearestDeadline(nt); !got.Equal(t0.Add(time.Hour + 2*time.Minute)) {
		t.Errorf("one is resolved: %v, want that of the other", got)
	}
	nt.Spec.Events[0] = spot("over", time.Minute)
	nt.Status.Events[0].Time = atPtr(0)
	if got := nearestDeadline(nt); !got.Equal(t0.Add(3 * time.Minute)) {
		t.Errorf("a later statement was received: %v, want its deadline", got)
	}
	nt.Status.CompletionTime, nt.Status.ObservedGeneration = atPtr(time.Hour), 2
	if got := nearestDeadline(nt); !got.IsZero() {
		t.Errorf("it has ended: %v, want none", got)
	}
	nt.Generation = 3
	if got := nearestDeadline(nt); got.IsZero() {
		t.Error("something new was received since it ended: want its deadline")
	}
}
