// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// Each step has an event on the Node and the NodeTermination, and each pod that is evicted has one
// event, which says why and by when.
func TestKubernetesEventsOfADrain(t *testing.T) { // not in parallel: while many drain, pods have no events
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.KubernetesEvents = &v1alpha1.KubernetesEvents{Mode: v1alpha1.KubernetesEventsEmit, Annotations: map[string]string{"team": "platform"}}
	})
	node := s.nodes[0].Name
	pods := cluster.Get(t).CreatePods(t, s.ns, node, 3, grace(2))
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	want := map[string]string{} // the notes' beginnings
	for _, about := range []string{"Node/" + node, "NodeTermination/" + nt.Name} {
		want[about+"/Received"] = "SpotInterruption of instance " + nt.Name + " was received, which goes away at " + formatTime(nt.Status.Deadline.Time)
		want[about+"/Draining"], want[about+"/Completed"] = "SpotInterruption: ", "SpotInterruption: "+meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady).Message
	}
	for _, pod := range pods {
		want["Pod/"+pod.Name+"/Evicted"] = "SpotInterruption: its node " + node + " is about to go away, at " + formatTime(nt.Status.Deadline.Time)
	}
	testcluster.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list); err != nil {
			return err
		}
		seen := map[string]int{}
		for i := range list.Items {
			e := &list.Items[i]
			key := e.Regarding.Kind + "/" + e.Regarding.Name + "/" + e.Reason
			note, wanted := want[key]
			if !wanted {
				continue
			}
			seen[key]++
			if e.ReportingController != v1alpha1.FieldManager || e.Annotations["team"] != "platform" || e.Annotations["instance-id"] != nt.Name || !strings.HasPrefix(e.Note, note) || e.Series != nil {
				t.Errorf("%s: %+v, want %q", key, e, note)
			}
		}
		for key := range want {
			if seen[key] != 1 {
				return fmt.Errorf("%d events %s, want one", seen[key], key)
			}
		}
		return nil
	})
}

func TestPoliciesMayDoWithoutKubernetesEvents(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.KubernetesEvents = &v1alpha1.KubernetesEvents{Mode: v1alpha1.KubernetesEventsDisabled}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	if err := admin(t).Delete(t.Context(), s.until(s.terminate(1, recommendation()), v1alpha1.StateCordoned)); err != nil {
		t.Fatal(err)
	}
	s.untilNode(1, untouched)
	// What another policy has emitted since shows that these events would have arrived.
	t.Run("others", func(t *testing.T) { untilOthersEmit(t, s) })
}

func untilOthersEmit(t *testing.T, s *setting) {
	other := newSetting(t, 1, nil)
	nt := other.until(other.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	testcluster.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list); err != nil {
			return err
		}
		arrived := false
		for i := range list.Items {
			e := &list.Items[i]
			if e.ReportingController != v1alpha1.FieldManager {
				continue
			}
			if e.Regarding.Name == s.nodes[0].Name || e.Regarding.Name == s.nodes[1].Name || e.Namespace == s.ns {
				t.Errorf("event %s on %s: %s", e.Reason, e.Regarding.Name, e.Note)
			}
			arrived = arrived || e.Regarding.Name == nt.Name && e.Reason == v1alpha1.StateCompleted
		}
		if !arrived {
			return fmt.Errorf("no event Completed on %s", nt.Name)
		}
		return nil
	})
}

// A drain that is cancelled by deleting its NodeTermination ends on the Node, too.
func TestNodeHasAnEventWhenItsTerminationIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.until(s.terminate(0, notice("a", 10*time.Minute)), v1alpha1.StateDraining)
	if err := admin(t).Delete(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list); err != nil {
			return err
		}
		for i := range list.Items {
			if e := &list.Items[i]; e.Regarding.Kind == "Node" && e.Regarding.Name == s.nodes[0].Name && e.Reason == v1alpha1.StateCancelled {
				return nil
			}
		}
		return fmt.Errorf("no event Cancelled on node %s", s.nodes[0].Name)
	})
}

// A crowd does not flood the API server, and what is wrong always has an event.
func TestEventsAreLimited(t *testing.T) {
	recorder := &countingRecorder{kinds: map[string]int{}}
	a := NewEventRecorder(recorder, nil, &LocalState{}, testClock)
	node := &corev1.ObjectReference{Kind: "Node", Name: "n"}
	for range 500 {
		a.emit(a.states, nil, node, nil, corev1.EventTypeNormal, v1alpha1.StateDraining, "drains")
		a.emit(a.states, nil, node, nil, corev1.EventTypeWarning, v1alpha1.StateFailed, "failed")
	}
	if n := recorder.kinds[corev1.EventTypeNormal]; n < stateEventsBurst || n > stateEventsBurst+10 {
		t.Errorf("%d ordinary events, want about %d", n, stateEventsBurst)
	}
	if n := recorder.kinds[corev1.EventTypeWarning]; n != 500 {
		t.Errorf("%d warnings, want all 500", n)
	}
	before := recorder.kinds[corev1.EventTypeNormal]
	a.emit(a.pods, nil, node, nil, corev1.EventTypeNormal, reasonEvicted, "goes")
	if recorder.kinds[corev1.EventTypeNormal] != before+1 {
		t.Error("events about states take those about pods away")
	}
}

type countingRecorder struct{ kinds map[string]int }

func (c *countingRecorder) Eventf(_, _ runtime.Object, kind, _, _, _ string, _ ...any) {
	c.kinds[kind]++
}

func (c *countingRecorder) AnnotatedEventf(_, _ runtime.Object, _ map[string]string, kind, _, _, _ string, _ ...any) {
	c.kinds[kind]++
}
