// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestOutcomeFor(t *testing.T) {
	booted := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	node := func(ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"pool": "a"}},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(booted)},
			}},
		}
	}
	selects := func(values ...string) *v1alpha1.NodeTerminationPolicy {
		p := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		if len(values) > 0 {
			p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{
				{Key: "pool", Operator: metav1.LabelSelectorOpIn, Values: values},
			}}
		}
		return p
	}
	unusable := selects("a")
	unusable.Spec.NodeSelector.MatchExpressions[0].Operator = "Near"
	now := booted.Add(time.Hour)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	event := func(d time.Duration) v1alpha1.Event {
		return v1alpha1.Event{Kind: v1alpha1.SpotInterruption, Time: *at(d), Deadline: at(d + 2*time.Minute)}
	}
	of := func(kind v1alpha1.EventKind, d time.Duration) v1alpha1.Event {
		return v1alpha1.Event{Kind: kind, Time: *at(d)}
	}
	old := event(-12 * time.Minute)
	young := func(age time.Duration) *corev1.Node {
		n := node("False")
		n.CreationTimestamp = *at(-age)
		return n
	}
	draining := selects("a")
	draining.Spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}

	for _, test := range []struct {
		name     string
		policies []*v1alpha1.NodeTerminationPolicy
		unknown  v1alpha1.UnknownInstances
		event    v1alpha1.Event
		node     *corev1.Node
		age      time.Duration
		adopted  bool
		want     outcome
		err      string
	}{
		{name: "unknown, retained", unknown: v1alpha1.UnknownRetain, want: retained},
		{name: "unknown, retained for almost 15 min", unknown: v1alpha1.UnknownRetain, age: 15*time.Minute - 1, want: retained},
		{name: "unknown, 15 min old", unknown: v1alpha1.UnknownRetain, age: 15 * time.Minute, want: discarded},
		{name: "unknown, sent in the future", unknown: v1alpha1.UnknownRetain, age: -time.Hour, want: retained},
		{name: "unknown, discarded", unknown: v1alpha1.UnknownDiscard, want: discarded},

		{name: "unknown, its hook is adopted", unknown: v1alpha1.UnknownRetain, adopted: true, want: waiting},
		{name: "unknown, its hook is adopted, whatever becomes of others", unknown: v1alpha1.UnknownDiscard, adopted: true, age: 48*time.Hour - 1, want: waiting},
		{name: "unknown, no group waits any more", unknown: v1alpha1.UnknownRetain, adopted: true, age: 48 * time.Hour, want: discarded},
		{name: "known, its hook is adopted", policies: []*v1alpha1.NodeTerminationPolicy{selects("b")}, adopted: true, node: node("True"), event: event(0), want: notGoverned},

		{name: "selected", policies: []*v1alpha1.NodeTerminationPolicy{selects("a")}, node: node("True"), event: event(0), want: stored},
		{name: "selected by the empty selector", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: event(0), want: stored},
		{name: "selected by the second", policies: []*v1alpha1.NodeTerminationPolicy{selects("b"), selects("a")}, node: node("True"), event: event(0), want: stored},
		{name: "however old the message", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: event(0), age: time.Hour, want: stored},
		{name: "selected by none", policies: []*v1alpha1.NodeTerminationPolicy{selects("b"), selects("c")}, node: node("True"), event: event(0), want: notGoverned},
		{name: "unusable selector", policies: []*v1alpha1.NodeTerminationPolicy{selects("b"), unusable}, node: node("True"), event: event(0), want: failed, err: "policy p: spec.nodeSelector"},
		{name: "unusable selector, but another selects", policies: []*v1alpha1.NodeTerminationPolicy{unusable, selects("a")}, node: node("True"), event: event(0), want: stored},

		{name: "selected by none yet", policies: []*v1alpha1.NodeTerminationPolicy{selects("b")}, node: young(5*time.Minute - 1), event: event(0), want: notGovernedYet},
		{name: "selected by none in time", policies: []*v1alpha1.NodeTerminationPolicy{selects("b")}, node: young(5 * time.Minute), event: event(0), want: notGoverned},
		{name: "selected at once", policies: []*v1alpha1.NodeTerminationPolicy{selects("a")}, node: young(0), event: event(0), want: stored},
		{name: "not known to be selected yet", policies: []*v1alpha1.NodeTerminationPolicy{unusable}, node: young(0), event: event(0), want: failed, err: "policy p: spec.nodeSelector"},

		{name: "over", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: old, want: stale},
		{name: "over, but not ready", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("False"), event: old, want: stored},
		{name: "over, ready unknown", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: &corev1.Node{}, event: old, want: stored},
		{name: "not over yet", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: event(-12*time.Minute + 1), want: stored},
		{name: "stopping before the boot", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: of(v1alpha1.InstanceStateChange, -61*time.Minute), want: stale},
		{name: "stopping just now", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: of(v1alpha1.InstanceStateChange, -time.Minute), want: stored},
		{name: "its cordon would be lifted", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: of(v1alpha1.RebalanceRecommendation, -time.Hour), want: stale},
		{name: "its cordon would not be lifted after a drain", policies: []*v1alpha1.NodeTerminationPolicy{draining}, node: node("True"), event: of(v1alpha1.RebalanceRecommendation, -time.Hour), want: stored},
		{name: "a group waits", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"), event: of(v1alpha1.AutoScalingTermination, -48*time.Hour), want: stored},
		{
			name: "cancelled", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"),
			event: v1alpha1.Event{Kind: v1alpha1.ScheduledMaintenance, Time: old.Time, Cancelled: new(true)}, want: stored,
		},
		{
			name: "running", policies: []*v1alpha1.NodeTerminationPolicy{selects()}, node: node("True"),
			event: v1alpha1.Event{Kind: v1alpha1.InstanceStateChange, InstanceAction: "running", Time: *at(-48 * time.Hour)}, want: stored,
		},
		{name: "selected by none and over", policies: []*v1alpha1.NodeTerminationPolicy{selects("b")}, node: node("True"), event: old, want: notGoverned},
	} {
		subs := subscribers{policies: test.policies, unknown: test.unknown}
		for _, policy := range test.policies {
			subs.all = append(subs.all, *policy)
		}
		got, err := subs.outcomeFor(test.event, test.adopted, test.node, test.age, now)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %s, %v; want %s, %q", test.name, got, err, test.want, test.err)
		}
	}
}
