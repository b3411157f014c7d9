// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// health is a maintenance that AWS Health plans, in a statement of this moment.
func health(notBefore time.Duration) v1alpha1.Event {
	begins := metav1.NewTime(now(notBefore).Truncate(time.Second)) // the API keeps whole seconds
	return v1alpha1.Event{
		ID: "health", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: &begins, Deadline: &begins, InstanceAction: "system-reboot",
	}
}

// state is a state of the instance from EC2, in a message of some time after now.
func state(id, state string, offset time.Duration) v1alpha1.Event {
	e := v1alpha1.Event{ID: id, Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(offset), InstanceAction: state}
	if state != "running" {
		e.Deadline = ptr.To(now(offset + 2*time.Minute))
	}
	return e
}

// restate stores a later statement in the place of the first event.
func (s *setting) restate(nt *v1alpha1.NodeTermination, e v1alpha1.Event) {
	s.t.Helper()
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		e.Time = metav1.NewTime(spec.Events[0].Time.Add(time.Second))
		spec.Events[0] = e
	})
}

// refused checks that the API server refuses an earlier statement in the place of the first event.
func (s *setting) refused(nt *v1alpha1.NodeTermination, e v1alpha1.Event) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		current := &v1alpha1.NodeTermination{}
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(nt), current); err != nil {
			return err
		}
		current.Spec.Events[0] = e
		if err := admin(s.t).Update(s.t.Context(), current); !apierrors.IsInvalid(err) {
			return fmt.Errorf("an earlier statement was not refused: %w", err)
		}
		return nil
	})
}

// untilState waits until the i-th event is in a state.
func (s *setting) untilState(nt *v1alpha1.NodeTermination, i int, state v1alpha1.EventState) *v1alpha1.NodeTermination {
	s.t.Helper()
	return s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Events) <= i || nt.Status.Events[i].State != state || nt.Status.ObservedGeneration != nt.Generation {
			return fmt.Errorf("the events are %+v, want that number %d is %s", nt.Status.Events, i, state)
		}
		return nil
	})
}

// allowEvictions deletes the budget of setting.budget.
func (s *setting) allowEvictions() {
	s.t.Helper()
	if err := admin(s.t).DeleteAllOf(s.t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		s.t.Fatal(err)
	}
}

func TestMaintenanceIsMoved(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordonAndDrain, StartBeforeSeconds: ptr.To[int32](7200)}}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	first := health(72 * time.Hour)
	nt := s.until(s.terminate(0, first), v1alpha1.StateScheduled)

	sooner := health(2*time.Hour + 3*time.Second)
	s.restate(nt, sooner)
	s.refused(nt, first)
	nt = s.until(nt, v1alpha1.StateCompleted)
	if !nt.Status.Deadline.Equal(sooner.NotBefore) || len(s.left(0)) != 0 {
		t.Errorf("drained with deadline %v and pods %v left, want %v and none", nt.Status.Deadline, s.left(0), sooner.NotBefore)
	}

	later := health(96 * time.Hour)
	s.restate(nt, later)
	nt = s.until(nt, v1alpha1.StateScheduled)
	if !nt.Status.Deadline.Equal(later.NotBefore) || nt.Status.CompletionTime != nil {
		t.Errorf("moved to %v, the deadline is %v, the completion %v", later.NotBefore, nt.Status.Deadline, nt.Status.CompletionTime)
	}
	s.untilNode(0, cordoned)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1) // it tolerates the cordon
	s.restate(nt, health(2*time.Hour+3*time.Second))
	nt = s.until(nt, v1alpha1.StateCompleted)
	if nt.Status.Pods.Summary != "2/2" {
		t.Errorf("pods %s, want both drained", nt.Status.Pods.Summary)
	}
}

func TestRenewalIsNoNews(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{in.hook("chat", v1alpha1.StepReceived, v1alpha1.StepDraining, v1alpha1.StepCompleted)}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	e := health(time.Hour)
	nt := untilNotified(s, s.terminate(0, e), "True")
	s.restate(nt, e)
	after := s.untilHolds(nt, func(current *v1alpha1.NodeTermination) error {
		if current.Status.Events[0].Time.Equal(nt.Status.Events[0].Time) {
			return errors.New("the renewal was not looked at yet")
		}
		return nil
	})
	if !after.Status.CompletionTime.Equal(nt.Status.CompletionTime) || !after.Status.DrainStartTime.Equal(nt.Status.DrainStartTime) {
		t.Errorf("the record changed from %+v to %+v", nt.Status, after.Status)
	}
	if got := len(in.received()); got != 3 {
		t.Errorf("%d deliveries, want 3", got)
	}
}

func TestMaintenanceIsCancelledAndPlannedAgain(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	e := health(72 * time.Hour)
	nt := s.until(s.terminate(0, e), v1alpha1.StateScheduled)
	s.restate(nt, cancel(e))
	nt = s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
	s.restate(nt, e)
	s.until(nt, v1alpha1.StateScheduled)
	s.untilNode(0, cordoned)
}

// A cancellation that comes first is kept as long as what it cancels may come.
func TestTombstoneIsKept(t *testing.T) { // not in parallel: it shifts the clock
	in := newInbox(t)
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.TTLSecondsAfterFinished = ptr.To[int32](0)
		spec.Webhooks = []v1alpha1.Webhook{in.hook("chat", v1alpha1.StepReceived, v1alpha1.StepCancelled)}
	})
	const week = 7 * 24 * time.Hour
	planned := health(week)
	closed := cancel(planned)
	closed.Time = now(time.Hour)
	nt := s.until(s.terminate(0, closed), v1alpha1.StateCancelled)
	s.refused(nt, planned)
	listed := planned
	listed.ID, listed.Source = "imds", v1alpha1.SourceIMDS
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, listed) })
	nt = s.untilState(nt, 1, v1alpha1.EventCancelled)
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	testClock.shift(t, week)
	s.nudge(nt)
	s.until(nt, v1alpha1.StateCancelled)

	testClock.shift(t, 3*week+time.Minute) // AWS gives no end: 14 days after its start
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Description = "x" })
	testcluster.Eventually(t, patience, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), &v1alpha1.NodeTermination{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there (%w)", err)
		}
		return nil
	})
	if got := in.received(); len(got) != 0 {
		t.Errorf("webhooks were notified: %v", got)
	}
	var list eventsv1.EventList
	if err := admin(t).List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if e := &list.Items[i]; e.Regarding.Name == nt.Name || e.Regarding.Name == s.nodes[0].Name && e.ReportingController == v1alpha1.FieldManager {
			t.Errorf("event %s on %s: %s", e.Reason, e.Regarding.Name, e.Note)
		}
	}
}

// That a node is Ready again proves nothing while the instance has yet to go.
func TestFlapEndsNothing(t *testing.T) {
	t.Parallel()
	recommended := recommendation()
	retired := health(-5 * time.Minute)
	retired.NotAfter, retired.InstanceAction = ptr.To(now(4*time.Hour)), "instance-retirement"
	for name, test := range map[string]struct {
		event v1alpha1.Event
		state string
	}{
		"a recommendation in mid-drain": {recommended, v1alpha1.StateDraining},
		"a retirement after the drain":  {retired, v1alpha1.StateCompleted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
				spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
			})
			if test.state == v1alpha1.StateDraining {
				s.budget()
			}
			cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
			nt := s.until(s.terminate(0, test.event), test.state)
			s.changeNodeStatus(turnReady)
			s.nudge(nt)
			nt = s.until(nt, test.state)
			if got := nt.Status.Events[0].State; got != v1alpha1.EventActive {
				t.Errorf("the event is %s", got)
			}
			if err := cordoned(s.node(0)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A stop and a start move the instance away from the maintenance, also before it begins.
func TestStopAndStartEndMaintenance(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.until(s.terminate(0, health(2*time.Hour)), v1alpha1.StateCompleted)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, state("InstanceStateChange", "stopped", 0))
	})
	nt = s.untilState(nt, 1, v1alpha1.EventActive)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, state("running", "running", 2*time.Second))
	})
	s.changeNodeStatus(func(node *corev1.Node) {
		node.Status.NodeInfo.BootID = "second-boot"
		turnReady(node)
	})
	s.untilState(nt, 0, v1alpha1.EventResolved)
	s.untilState(nt, 1, v1alpha1.EventResolved)
	s.untilNode(0, untouched)
}

func TestOverdueMaintenanceIsTold(t *testing.T) { // not in parallel: it shifts the clock
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, health(time.Hour)), v1alpha1.StateCompleted)
	testClock.shift(t, 26*time.Hour)
	s.nudge(nt)
	overdue := func(want bool) {
		t.Helper()
		s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
			condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionMaintenanceOverdue)
			if condition == nil || meta.IsStatusConditionTrue(nt.Status.Conditions, condition.Type) != want {
				return fmt.Errorf("the condition is %+v, want %t", condition, want)
			}
			return nil
		})
	}
	overdue(true)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	s.restate(nt, cancel(nt.Spec.Events[0]))
	overdue(false)
	s.untilNode(0, untouched)
}

// Objects of the version before have no times in their status, and other ids.
func TestDrainOfTheVersionBeforeGoesOn(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	event := notice("0123456789abcdef", 10*time.Minute)
	nt := s.until(s.terminate(0, event), v1alpha1.StateDraining)
	testcluster.Eventually(t, patience, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), nt); err != nil {
			return err
		}
		nt.Status.Events[0].Time, nt.Status.Events[0].Plan = nil, ""
		return admin(t).Status().Update(t.Context(), nt)
	})
	event.ID = "SpotInterruption"
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, event) })
	after := s.untilState(nt, 1, v1alpha1.EventActive)
	if after.Status.Events[0].Time == nil || after.Status.Events[0].State != v1alpha1.EventActive || !after.Status.DrainStartTime.Equal(nt.Status.DrainStartTime) {
		t.Errorf("the drain did not go on: %+v", after.Status)
	}
	s.allowEvictions()
	s.until(nt, v1alpha1.StateCompleted)
}
