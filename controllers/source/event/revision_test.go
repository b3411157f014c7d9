// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestSupersedes: the rule that the API server holds as well, see v1alpha1.Event.
func TestSupersedes(t *testing.T) {
	maintenance := said(v1alpha1.ScheduledMaintenance, startingAt(day))
	listed := said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(day))
	with := func(e v1alpha1.Event, change ...func(*v1alpha1.Event)) v1alpha1.Event {
		for _, f := range change {
			f(&e)
		}
		return e
	}
	stopping := said(v1alpha1.InstanceStateChange, state("stopping"))
	for _, test := range []struct {
		name           string
		later, earlier v1alpha1.Event
		want           bool
	}{
		{"the same", maintenance, maintenance, true},
		{"later", with(maintenance, saidAt(time.Second)), maintenance, true},
		{"earlier", maintenance, with(maintenance, saidAt(time.Second)), false},
		{"cancelled", with(maintenance, cancelledEvent), maintenance, true},
		{"taken back", maintenance, with(maintenance, cancelledEvent), false},
		{"planned again later", with(maintenance, saidAt(time.Second)), with(maintenance, cancelledEvent), true},
		{"cancelled by an older statement", with(maintenance, cancelledEvent), with(maintenance, saidAt(time.Second)), false},
		{"in another boot", with(maintenance, inBoot(newBoot)), maintenance, false},
		{"in a boot that was not known", maintenance, with(maintenance, inBoot("")), true},
		{"listed in another boot", with(listed, inBoot(newBoot)), listed, true},
		{"stopped after stopping", with(stopping, state("stopped")), stopping, true},
		{"stopping after stopped", stopping, with(stopping, state("stopped")), false},
		{"terminated after shutting down", with(stopping, state("terminated")), with(stopping, state("shutting-down")), true},
		{"shutting down after terminated", with(stopping, state("shutting-down")), with(stopping, state("terminated")), false},
		{"stopping later", with(stopping, saidAt(time.Second)), with(stopping, state("stopped")), true},
	} {
		if got := Supersedes(test.later, test.earlier); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

func TestKeepUntil(t *testing.T) {
	for name, c := range map[string]struct {
		event v1alpha1.Event
		want  time.Duration
	}{
		"planned":           {said(v1alpha1.ScheduledMaintenance, startingAt(day)), 0},
		"closed":            {said(v1alpha1.ScheduledMaintenance, startingAt(day), cancelledEvent), 15 * day},
		"closed, of an end": {said(v1alpha1.ScheduledMaintenance, startingAt(day), endingAt(2*day), cancelledEvent), 2 * day},
		"in the history":    {said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(day), cancelledEvent), 0},
		"removed":           {said(v1alpha1.Manual, cancelledEvent), 0},
	} {
		if got := KeepUntil(c.event); c.want == 0 && !got.IsZero() || c.want != 0 && !got.Equal(noon.Add(c.want)) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestRestate: what a watcher stores of what it reads.
func TestRestate(t *testing.T) {
	listed := v1alpha1.Event{ID: "a", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceIMDS, NotBefore: moment(3 * day), Deadline: moment(3 * day), BootID: oldBoot}
	moved := listed
	moved.NotBefore, moved.Deadline = moment(4*day), moment(4*day)
	over := listed
	over.Cancelled = new(true)
	at := func(e v1alpha1.Event, since time.Duration, change ...func(*v1alpha1.Event)) v1alpha1.Event {
		e.Time = *moment(since)
		for _, f := range change {
			f(&e)
		}
		return e
	}
	target := v1alpha1.Event{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceIMDS, InstanceAction: "stop", BootID: oldBoot}
	inService := v1alpha1.Event{ID: target.ID, Kind: target.Kind, Source: v1alpha1.SourceIMDS, Cancelled: new(true), BootID: oldBoot}
	spot := said(v1alpha1.SpotInterruption, from(v1alpha1.SourceIMDS), deadlineAt(2*time.Minute))
	notCancelled := func(e *v1alpha1.Event) { e.Cancelled = new(false) }

	for _, test := range []struct {
		name   string
		event  v1alpha1.Event
		stored []v1alpha1.Event
		want   *v1alpha1.Event // nil: nothing
	}{
		{"the first", listed, nil, new(at(listed, time.Hour))},
		{"unchanged", listed, []v1alpha1.Event{at(listed, 0, notCancelled)}, nil},
		{"unchanged after a boot", at(listed, 0, func(e *v1alpha1.Event) { e.BootID, e.Time = newBoot, metav1.Time{} }), []v1alpha1.Event{at(listed, 0)}, new(at(listed, 0, inBoot(newBoot)))},
		{"moved", moved, []v1alpha1.Event{at(listed, 0)}, new(at(moved, time.Hour))},
		{"moved, by the clock of another", moved, []v1alpha1.Event{at(listed, 2*time.Hour)}, new(at(moved, 2*time.Hour+time.Second))},
		{"over", over, []v1alpha1.Event{at(listed, 0)}, new(at(over, time.Hour))},
		{"over, and known to be", over, []v1alpha1.Event{at(over, 0)}, nil},
		{"over, and never planned", over, nil, nil},
		{"over, and planned by a queue", over, []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, startingAt(3*day))}, new(at(over, time.Hour))},
		{"over, and closed by a queue", over, []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, startingAt(3*day), cancelledEvent)}, nil},
		{"over, and another planned by a queue", over, []v1alpha1.Event{said(v1alpha1.ScheduledMaintenance, startingAt(4*day))}, nil},
		{"listed after it was over", listed, []v1alpha1.Event{at(over, 0)}, new(at(listed, time.Hour))},
		{"in service, always", inService, nil, nil},
		{"in service, a termination by a queue alone", inService, []v1alpha1.Event{said(v1alpha1.AutoScalingTermination, atHook("EC2"))}, new(at(inService, time.Hour))},
		{"in service, as the metadata lags behind the queue", inService, []v1alpha1.Event{said(v1alpha1.AutoScalingTermination, atHook("EC2"), saidAt(time.Hour-30*time.Second))}, nil},
		{"in service again", inService, []v1alpha1.Event{at(target, 0)}, new(at(target, time.Hour, cancelledEvent))},
		{"stopped once more", target, []v1alpha1.Event{at(target, 0, cancelledEvent)}, new(at(target, time.Hour))},
		{"a notice", spot, nil, &spot},
		{"a notice, known", spot, []v1alpha1.Event{at(spot, 0, notCancelled)}, nil},
		{"a notice, of a boot before", spot, []v1alpha1.Event{at(spot, 0, inBoot("before"))}, nil},
		{"a later notice", at(spot, time.Minute), []v1alpha1.Event{spot}, new(at(spot, time.Minute))},
		{"an earlier notice", spot, []v1alpha1.Event{at(spot, time.Minute)}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := Restate(test.event, test.stored, noon.Add(time.Hour))
			switch {
			case ok != (test.want != nil):
				t.Errorf("%t, %+v", ok, got)
			case ok:
				if diff := cmp.Diff(*test.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

func TestUnlisted(t *testing.T) {
	listed := said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(day))
	want := listed
	want.Time, want.BootID, want.Cancelled = *moment(time.Hour), newBoot, new(true)
	for _, test := range []struct {
		name   string
		listed []v1alpha1.Event
		stored v1alpha1.Event
		bootID string
		want   []v1alpha1.Event
	}{
		{"in a later boot", nil, listed, newBoot, []v1alpha1.Event{want}},
		{"in the same boot", nil, listed, oldBoot, nil},
		{"still listed", []v1alpha1.Event{listed}, listed, newBoot, nil},
		{"cancelled already", nil, said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(day), cancelledEvent), newBoot, nil},
		{"of a queue", nil, said(v1alpha1.ScheduledMaintenance, startingAt(day)), newBoot, nil},
		{"of an earlier version", nil, said(v1alpha1.ScheduledMaintenance, from(v1alpha1.SourceIMDS), startingAt(day), inBoot("")), newBoot, nil},
		{"another kind", nil, said(v1alpha1.SpotInterruption, from(v1alpha1.SourceIMDS)), newBoot, nil},
	} {
		if diff := cmp.Diff(test.want, Unlisted(test.listed, []v1alpha1.Event{test.stored}, test.bootID, noon.Add(time.Hour))); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
}
