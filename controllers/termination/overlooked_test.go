// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestLongCordonedBy(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		event  v1alpha1.Event
		change func(*v1alpha1.NodeTermination)
		want   bool
	}{
		"nothing is ahead":                {event: spot("a", -2*day), want: true},
		"a deadline is ahead":             {event: spot("a", 0)},
		"a date is ahead":                 {event: maintenance("m", 7*day)},
		"it is not ahead for us":          {event: maintenance("m", 7*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Events[0].State = v1alpha1.EventCancelled }, want: true},
		"a group is kept waiting":         {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Deadline = atPtr(time.Hour) }},
		"a deadline that is past":         {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Deadline = atPtr(-time.Hour) }, want: true},
		"for less than a day":             {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Conditions[0].LastTransitionTime = at(-day) }},
		"somebody else cordoned it":       {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Conditions[0].Reason = v1alpha1.ReasonCordonedBefore }},
		"the node is gone, or uncordoned": {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Conditions[0].Status = metav1.ConditionFalse }},
		"nothing was done":                {event: spot("a", -2*day), change: func(nt *v1alpha1.NodeTermination) { nt.Status.Conditions = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			nt := &v1alpha1.NodeTermination{}
			nt.Spec.Events, nt.Status.Events = []v1alpha1.Event{test.event}, statesOf(v1alpha1.EventActive, test.event)
			nt.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionCordoned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCordoned, LastTransitionTime: at(-day - time.Second),
			}}
			if test.change != nil {
				test.change(nt)
			}
			if got := longCordonedBy(nt, t0); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

func TestRecentlyDoubted(t *testing.T) {
	for since, want := range map[time.Duration]bool{0: true, -30 * time.Minute: true, -31 * time.Minute: false} {
		status := &v1alpha1.NodeTerminationStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionInstanceStateConfirmed, LastTransitionTime: at(since)}}}
		if got := recentlyDoubted(status, t0); got != want {
			t.Errorf("since %s: %t", since, got)
		}
	}
	if recentlyDoubted(&v1alpha1.NodeTerminationStatus{}, t0) {
		t.Error("it was never doubted")
	}
}

func TestUnhandledSince(t *testing.T) {
	first, renewed := spot("a", -time.Hour), spot("a", -time.Minute)
	handled := []v1alpha1.EventStatus{{ID: "a", State: v1alpha1.EventActive, Time: first.Time.DeepCopy()}}
	for name, test := range map[string]struct {
		events   []v1alpha1.Event
		states   []v1alpha1.EventStatus
		created  time.Duration
		observed int64
		want     time.Duration // zero: none
	}{
		"judged":                          {events: []v1alpha1.Event{first}, states: handled},
		"new":                             {events: []v1alpha1.Event{first}, created: -2 * time.Hour, want: -time.Hour},
		"stored later than it was sent":   {events: []v1alpha1.Event{first}, created: -time.Second, want: -time.Second},
		"a later statement":               {events: []v1alpha1.Event{renewed}, states: handled, created: -2 * time.Hour, want: -time.Minute},
		"the oldest of two":               {events: []v1alpha1.Event{spot("b", -time.Second), first}, created: -2 * time.Hour, want: -time.Hour},
		"refused, which is an answer too": {events: []v1alpha1.Event{first}, observed: 2},
	} {
		t.Run(name, func(t *testing.T) {
			nt := &v1alpha1.NodeTermination{}
			nt.Generation, nt.CreationTimestamp = 2, at(test.created)
			nt.Spec.Events, nt.Status.Events, nt.Status.ObservedGeneration = test.events, test.states, test.observed
			since := unhandledSince(nt)
			if since.IsZero() != (test.want == 0) || !since.IsZero() && !since.Equal(t0.Add(test.want)) {
				t.Errorf("since %s, want %s", since, t0.Add(test.want))
			}
		})
	}
}
