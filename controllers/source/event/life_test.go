// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// noon is when the events of these tests are said; times are given as what passes since.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	oldBoot, newBoot = "old", "new"
	day              = 24 * time.Hour
)

func moment(since time.Duration) *metav1.Time {
	return new(metav1.NewTime(noon.Add(since)))
}

// said returns an event of a kind that a queue announced at noon, in the old boot.
func said(kind v1alpha1.EventKind, change ...func(*v1alpha1.Event)) v1alpha1.Event {
	e := v1alpha1.Event{ID: "SQS-" + string(kind), Kind: kind, Source: v1alpha1.SourceSQS, Time: *moment(0), BootID: oldBoot}
	for _, f := range change {
		f(&e)
	}
	return e
}

func from(source v1alpha1.EventSource) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.ID, e.Source = string(source)+"-"+string(e.Kind), source }
}

func saidAt(since time.Duration) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.Time = *moment(since) }
}

func deadlineAt(since time.Duration) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.Deadline = moment(since) }
}

func startingAt(since time.Duration) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.NotBefore, e.Deadline = moment(since), moment(since) }
}

func endingAt(since time.Duration) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.NotAfter = moment(since) }
}

func doing(action string) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) { e.InstanceAction = action }
}

func atHook(destination string) func(*v1alpha1.Event) {
	return func(e *v1alpha1.Event) {
		e.LifecycleHook = &v1alpha1.LifecycleHook{AutoScalingGroupName: "workers", Name: "drain", Token: "t", Destination: destination}
	}
}

func inBoot(id string) func(*v1alpha1.Event)  { return func(e *v1alpha1.Event) { e.BootID = id } }
func withID(id string) func(*v1alpha1.Event)  { return func(e *v1alpha1.Event) { e.ID = id } }
func cancelledEvent(e *v1alpha1.Event)        { e.Cancelled = new(true) }
func state(name string) func(*v1alpha1.Event) { return doing(name) }

// runs is EC2's running, said at a time.
func runs(since time.Duration) v1alpha1.Event {
	return said(v1alpha1.InstanceStateChange, withID("SQS-InstanceStateChange-running"), state(stateRunning), saidAt(since))
}

// nodes of ten days, whose boot is the old one.
func ready(since time.Duration) *Node {
	return &Node{BootID: oldBoot, Created: noon.Add(-10 * day), Ready: true, ReadySince: noon.Add(since)}
}

func rebooted(since time.Duration) *Node {
	n := ready(since)
	n.BootID = newBoot
	return n
}

var notReady = &Node{BootID: oldBoot, Created: noon.Add(-10 * day)}

// TestOver: what ends an event of each kind, and what does not.
func TestOver(t *testing.T) {
	spot := said(v1alpha1.SpotInterruption, deadlineAt(2*time.Minute))
	reserved := said(v1alpha1.CapacityReservationInterruption, deadlineAt(2*time.Minute))
	stopping := said(v1alpha1.InstanceStateChange, state("stopping"), deadlineAt(2*time.Minute))
	recommended := said(v1alpha1.RebalanceRecommendation)
	reboot := said(v1alpha1.ScheduledMaintenance, startingAt(3*day), endingAt(3*day+2*time.Hour), doing("instance-reboot"))
	endless := said(v1alpha1.ScheduledMaintenance, startingAt(3*day))
	begun := said(v1alpha1.ScheduledMaintenance, startingAt(-5*time.Minute), endingAt(4*time.Hour), doing("instance-retirement"))
	listed := said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(3*day), doing("instance-reboot"))
	relisted := said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(3*day), doing("instance-reboot"), inBoot(newBoot))
	terminating := said(v1alpha1.AutoScalingTermination, atHook("EC2"))
	pooled := said(v1alpha1.AutoScalingTermination, atHook(WarmPool))
	target := said(v1alpha1.AutoScalingTermination, from(v1alpha1.SourceIMDS), doing("terminate"))
	failed := said(v1alpha1.InstanceStatusCheckFailed)
	manual := said(v1alpha1.Manual)
	hour := func(v1alpha1.EventKind) (time.Duration, bool) { return time.Hour, true }

	for _, test := range []struct {
		name   string
		event  v1alpha1.Event
		others []v1alpha1.Event
		node   *Node
		lifts  func(v1alpha1.EventKind) (time.Duration, bool)
		now    time.Duration
		want   v1alpha1.EventState
		next   time.Duration // 0: no look
	}{
		{name: "spot, ahead", event: spot, node: ready(-day), now: time.Minute, want: v1alpha1.EventActive, next: 12 * time.Minute},
		{name: "spot, a flap", event: spot, node: ready(5 * time.Minute), now: 6 * time.Minute, want: v1alpha1.EventActive, next: 12 * time.Minute},
		{name: "spot, still Ready", event: spot, node: ready(-day), now: 12 * time.Minute, want: v1alpha1.EventResolved},
		{name: "spot, Ready again", event: spot, node: ready(15 * time.Minute), now: 15 * time.Minute, want: v1alpha1.EventResolved},
		{name: "spot, not Ready", event: spot, node: notReady, now: time.Hour, want: v1alpha1.EventActive},
		{name: "spot, no node", event: spot, now: time.Hour, want: v1alpha1.EventActive},
		{name: "spot, a boot", event: spot, node: rebooted(4 * time.Minute), now: 4 * time.Minute, want: v1alpha1.EventResolved},
		{name: "spot, the boot before", event: spot, node: rebooted(time.Minute), now: 3 * time.Minute, want: v1alpha1.EventActive, next: 12 * time.Minute},
		{name: "spot, running", event: spot, others: []v1alpha1.Event{runs(3 * time.Minute)}, node: ready(-day), now: 4 * time.Minute, want: v1alpha1.EventResolved},
		{name: "spot, running before", event: spot, others: []v1alpha1.Event{runs(time.Minute)}, node: ready(-day), now: 4 * time.Minute, want: v1alpha1.EventActive, next: 12 * time.Minute},
		{name: "capacity reservation, still Ready", event: reserved, node: ready(-day), now: 12 * time.Minute, want: v1alpha1.EventResolved},

		{name: "stopping", event: stopping, node: ready(-day), now: time.Minute, want: v1alpha1.EventActive, next: 5 * time.Minute},
		{name: "stopping, Ready in the shutdown", event: stopping, node: ready(20 * time.Second), now: time.Minute, want: v1alpha1.EventActive, next: 5 * time.Minute},
		{name: "stopping, Ready again", event: stopping, node: ready(31 * time.Second), now: time.Minute, want: v1alpha1.EventResolved},
		{name: "stopping, still Ready", event: stopping, node: ready(-day), now: 5 * time.Minute, want: v1alpha1.EventResolved},
		{name: "stopping, running", event: stopping, others: []v1alpha1.Event{runs(time.Minute)}, node: notReady, now: 2 * time.Minute, want: v1alpha1.EventResolved},
		{name: "stopping, running overtook it", event: stopping, others: []v1alpha1.Event{runs(-time.Minute)}, node: notReady, now: 2 * time.Minute, want: v1alpha1.EventActive},

		{name: "recommendation, a flap", event: recommended, node: ready(time.Minute), now: time.Hour, want: v1alpha1.EventActive},
		{name: "recommendation, a boot", event: recommended, node: rebooted(time.Minute), now: time.Minute, want: v1alpha1.EventResolved},
		{name: "recommendation, the first boot's running", event: recommended, others: []v1alpha1.Event{runs(10 * time.Second)},
			node: &Node{BootID: oldBoot, Created: noon.Add(time.Minute), Ready: true, ReadySince: noon.Add(time.Minute)}, now: 2 * time.Minute, want: v1alpha1.EventActive},
		{name: "recommendation, its cordon lifted", event: recommended, node: ready(-day), lifts: hour, now: time.Hour, want: v1alpha1.EventResolved},
		{name: "recommendation, its cordon to be lifted", event: recommended, node: ready(-day), lifts: hour, now: time.Minute, want: v1alpha1.EventActive, next: time.Hour},
		{name: "recommendation, its cordon lifted without a node", event: recommended, lifts: hour, now: time.Hour, want: v1alpha1.EventResolved},

		{name: "maintenance, ahead", event: reboot, node: ready(-day), now: day, want: v1alpha1.EventActive, next: 3*day + 2*time.Hour},
		{name: "maintenance, a flap", event: begun, node: ready(time.Minute), now: time.Hour, want: v1alpha1.EventActive, next: 4 * time.Hour},
		{name: "maintenance, its end past", event: reboot, node: ready(-day), now: 3*day + 2*time.Hour, want: v1alpha1.EventResolved},
		{name: "maintenance, its end past and not Ready", event: reboot, node: notReady, now: 4 * day, want: v1alpha1.EventActive},
		{name: "maintenance, stop and start before", event: reboot, others: []v1alpha1.Event{runs(time.Hour)}, node: rebooted(time.Hour), now: 2 * time.Hour, want: v1alpha1.EventResolved},
		{name: "maintenance, running before it was said", event: reboot, others: []v1alpha1.Event{runs(-time.Hour)}, node: ready(-day), now: time.Hour, want: v1alpha1.EventActive, next: 3*day + 2*time.Hour},
		{name: "maintenance, a boot before", event: reboot, node: rebooted(day), now: 2 * day, want: v1alpha1.EventActive, next: 3*day + 2*time.Hour},
		{name: "maintenance, a boot", event: reboot, node: rebooted(3*day + time.Hour), now: 3*day + time.Hour, want: v1alpha1.EventResolved},
		{name: "maintenance, a boot but still listed", event: reboot, others: []v1alpha1.Event{relisted}, node: rebooted(3*day + time.Minute), now: 3*day + time.Hour, want: v1alpha1.EventActive, next: 3*day + 2*time.Hour},
		{name: "maintenance, a boot and nothing received from the watcher yet", event: reboot, others: []v1alpha1.Event{listed}, node: rebooted(3*day + time.Minute), now: 3*day + 2*time.Minute, want: v1alpha1.EventActive, next: 3*day + 6*time.Minute},
		{name: "maintenance, a boot and the watcher silent", event: reboot, others: []v1alpha1.Event{listed}, node: rebooted(3*day + time.Minute), now: 3*day + 6*time.Minute, want: v1alpha1.EventResolved},
		{name: "listed maintenance, a boot but still listed", event: relisted, node: rebooted(3*day + time.Minute), now: 3*day + time.Hour, want: v1alpha1.EventActive, next: 4 * day},
		{name: "listed maintenance, a boot and the watcher silent", event: listed, node: rebooted(3*day + time.Minute), now: 3*day + 6*time.Minute, want: v1alpha1.EventResolved},
		{name: "maintenance without an end", event: endless, node: ready(-day), now: 30 * day, want: v1alpha1.EventActive},
		{name: "maintenance closed", event: said(v1alpha1.ScheduledMaintenance, startingAt(3*day), cancelledEvent), node: ready(-day), want: v1alpha1.EventCancelled},
		{name: "maintenance closed by the metadata", event: reboot, node: ready(-day), want: v1alpha1.EventCancelled,
			others: []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(3*day), doing("instance-reboot"), cancelledEvent)}},
		{name: "maintenance, another one closed", event: reboot, node: ready(-day), want: v1alpha1.EventActive, next: 3*day + 2*time.Hour,
			others: []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(3*day), doing("system-reboot"), cancelledEvent)}},
		{name: "maintenance, another one of the same source closed", event: reboot, node: ready(-day), want: v1alpha1.EventActive, next: 3*day + 2*time.Hour,
			others: []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, withID("other"), startingAt(3*day), doing("instance-reboot"), cancelledEvent)}},
		{name: "maintenance, its cordon lifted after the start", event: endless, node: ready(-day), lifts: hour, now: 2 * day, want: v1alpha1.EventActive, next: 3*day + time.Hour},

		{name: "termination, a boot", event: terminating, node: rebooted(time.Minute), now: 10 * time.Minute, want: v1alpha1.EventActive},
		{name: "termination, running", event: terminating, others: []v1alpha1.Event{runs(time.Minute)}, node: ready(-day), now: time.Hour, want: v1alpha1.EventActive},
		{name: "to the warm pool, running", event: pooled, others: []v1alpha1.Event{runs(time.Hour)}, node: rebooted(time.Hour), now: 2 * time.Hour, want: v1alpha1.EventResolved},
		{name: "to the warm pool, a boot", event: pooled, node: rebooted(time.Hour), now: 2 * time.Hour, want: v1alpha1.EventActive},
		{name: "termination, taken back", event: terminating, node: ready(-day), now: 2 * time.Hour, want: v1alpha1.EventCancelled,
			others: []v1alpha1.Event{said(v1alpha1.AutoScalingTermination, from(v1alpha1.SourceIMDS), cancelledEvent, saidAt(time.Hour))}},
		{name: "termination after one that was taken back", event: terminating, node: ready(-day), now: 2 * time.Hour, want: v1alpha1.EventActive,
			others: []v1alpha1.Event{said(v1alpha1.AutoScalingTermination, from(v1alpha1.SourceIMDS), cancelledEvent, saidAt(-time.Hour))}},
		{name: "target state, a boot", event: target, node: rebooted(time.Minute), now: time.Hour, want: v1alpha1.EventActive},

		{name: "status check, a boot", event: failed, node: rebooted(time.Minute), now: time.Hour, want: v1alpha1.EventActive},
		{name: "status check, its cordon lifted", event: failed, node: ready(-day), lifts: hour, now: time.Hour, want: v1alpha1.EventResolved},
		{name: "status check, another alarm is OK", event: failed, node: ready(-day), now: time.Hour, want: v1alpha1.EventActive,
			others: []v1alpha1.Event{said(v1alpha1.InstanceStatusCheckFailed, withID("other"), cancelledEvent, saidAt(time.Minute))}},
		{name: "manual, anything", event: manual, others: []v1alpha1.Event{runs(time.Hour)}, node: rebooted(time.Hour), lifts: hour, now: 30 * day, want: v1alpha1.EventActive},
		{name: "manual, removed", event: said(v1alpha1.Manual, cancelledEvent), want: v1alpha1.EventCancelled},
		{name: "running", event: runs(0), node: ready(-day), want: v1alpha1.EventResolved},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := LifeInput{
				Events: append([]v1alpha1.Event{test.event}, test.others...), Node: test.node, UncordonAfter: test.lifts, Now: noon.Add(test.now),
				Before: []v1alpha1.EventStatus{{ID: test.event.ID, State: v1alpha1.EventActive, Time: &test.event.Time}},
			}
			for _, other := range test.others { // only the look for the event itself is of interest
				in.Before = append(in.Before, v1alpha1.EventStatus{ID: other.ID, State: v1alpha1.EventCancelled, Time: &other.Time})
			}
			got := NewLife(in)
			if got.States[0].State != test.want {
				t.Errorf("state %s, want %s", got.States[0].State, test.want)
			}
			if test.want == v1alpha1.EventActive && got.NextLook.IsZero() != (test.next == 0) || test.next != 0 && !got.NextLook.Equal(noon.Add(test.next)) {
				t.Errorf("next look at %s, want %s after noon", got.NextLook, test.next)
			}
			in.Before = nil
			fresh := NewLife(in).States[0].State
			if test.want == v1alpha1.EventResolved && !Resolves(test.event) && fresh != v1alpha1.EventStale || test.want == v1alpha1.EventActive && fresh != v1alpha1.EventActive {
				t.Errorf("received only now it is %s", fresh)
			}
			if len(test.others) == 0 && Over(test.event, test.node, test.lifts, in.Now) != (fresh == v1alpha1.EventStale) {
				t.Errorf("Over = %t, its state would be %s", fresh != v1alpha1.EventStale, fresh)
			}
		})
	}
}

// TestRevisions: a state belongs to the statement that has its time.
func TestRevisions(t *testing.T) {
	spot := said(v1alpha1.SpotInterruption, deadlineAt(2*time.Minute), doing("terminate"))
	repeated := said(v1alpha1.RebalanceRecommendation)
	for _, test := range []struct {
		name         string
		before       *v1alpha1.EventStatus // nil: none
		event        v1alpha1.Event
		want         v1alpha1.EventState
		news, stands bool
	}{
		{"the first", nil, spot, v1alpha1.EventActive, true, false},
		{"as before", &v1alpha1.EventStatus{State: v1alpha1.EventActive, Time: moment(0), Plan: "terminate 2026-11-22T12:02:00Z"}, spot, v1alpha1.EventActive, false, true},
		{"of an earlier version", &v1alpha1.EventStatus{State: v1alpha1.EventActive}, spot, v1alpha1.EventActive, false, true},
		{"ended by an earlier version", &v1alpha1.EventStatus{State: v1alpha1.EventResolved}, spot, v1alpha1.EventResolved, false, false},
		{"ended by an earlier version, and said again since", &v1alpha1.EventStatus{State: v1alpha1.EventResolved},
			said(v1alpha1.SpotInterruption, deadlineAt(2*time.Minute), doing("terminate"), func(e *v1alpha1.Event) { e.Cancelled = new(false) }), v1alpha1.EventActive, true, false},
		{"what it came to is final", &v1alpha1.EventStatus{State: v1alpha1.EventResolved, Time: moment(0)}, spot, v1alpha1.EventResolved, false, false},
		{"a later statement counts again", &v1alpha1.EventStatus{State: v1alpha1.EventResolved, Time: moment(-time.Hour)}, spot, v1alpha1.EventActive, true, false},
		{"also after a cancellation", &v1alpha1.EventStatus{State: v1alpha1.EventCancelled, Time: moment(-time.Hour)}, spot, v1alpha1.EventActive, true, false},
		{"another plan", &v1alpha1.EventStatus{State: v1alpha1.EventActive, Time: moment(-time.Hour), Plan: "terminate 2026-11-22T11:02:00Z"}, spot, v1alpha1.EventActive, true, true},
		{"a renewal", &v1alpha1.EventStatus{State: v1alpha1.EventActive, Time: moment(-time.Hour)}, repeated, v1alpha1.EventActive, false, true},
		{"a renewal after the end", &v1alpha1.EventStatus{State: v1alpha1.EventResolved, Time: moment(-time.Hour)}, repeated, v1alpha1.EventActive, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := LifeInput{Events: []v1alpha1.Event{test.event}, Node: ready(-day), Now: noon.Add(time.Minute)}
			if test.before != nil {
				test.before.ID = test.event.ID
				in.Before = []v1alpha1.EventStatus{*test.before}
			}
			got := NewLife(in)
			want := []v1alpha1.EventStatus{{ID: test.event.ID, State: test.want, Time: moment(0), Plan: planOf(test.event)}}
			if diff := cmp.Diff(want, got.States); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.News != test.news || got.Stands != test.stands {
				t.Errorf("news %t, stands %t; want %t, %t", got.News, got.Stands, test.news, test.stands)
			}
		})
	}
}

// TestBootIDOfTheTermination: it stands for that of events that an earlier version stored.
func TestBootIDOfTheTermination(t *testing.T) {
	in := LifeInput{Events: []v1alpha1.Event{said(v1alpha1.RebalanceRecommendation, inBoot(""))}, Node: rebooted(time.Hour), Now: noon.Add(time.Hour)}
	if got := NewLife(in).States[0].State; got != v1alpha1.EventActive {
		t.Errorf("without one it is %s", got)
	}
	in.BootID = oldBoot
	if got := NewLife(in).States[0].State; got != v1alpha1.EventStale {
		t.Errorf("with one it is %s", got)
	}
}

func TestOverdue(t *testing.T) {
	for _, test := range []struct {
		name  string
		event v1alpha1.Event
		now   time.Duration
		want  bool
	}{
		{"not yet", said(v1alpha1.ScheduledMaintenance, startingAt(time.Hour)), day, false},
		{"a day after its start", said(v1alpha1.ScheduledMaintenance, startingAt(time.Hour)), day + time.Hour, true},
		{"its end is known", said(v1alpha1.ScheduledMaintenance, startingAt(time.Hour), endingAt(5*day)), 2 * day, false},
		{"closed", said(v1alpha1.ScheduledMaintenance, startingAt(time.Hour), cancelledEvent), 2 * day, false},
		{"another kind", said(v1alpha1.RebalanceRecommendation), 2 * day, false},
	} {
		life := NewLife(LifeInput{Events: []v1alpha1.Event{test.event}, Node: ready(-day), Now: noon.Add(test.now)})
		if got := len(life.Overdue) == 1; got != test.want {
			t.Errorf("%s: overdue %t", test.name, got)
		}
	}
}

func TestNodeOf(t *testing.T) {
	if NodeOf(nil) != nil {
		t.Error("no node became one")
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *moment(-day)}}
	node.Status.NodeInfo.BootID = oldBoot
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: *moment(0)}}
	if diff := cmp.Diff(&Node{BootID: oldBoot, Created: noon.Add(-day)}, NodeOf(node)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	node.Status.Conditions[0].Status = corev1.ConditionTrue
	if diff := cmp.Diff(&Node{BootID: oldBoot, Created: noon.Add(-day), Ready: true, ReadySince: noon}, NodeOf(node)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
