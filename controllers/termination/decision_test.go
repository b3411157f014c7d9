// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func policyWith(rules ...v1alpha1.EventRule) *v1alpha1.NodeTerminationPolicy {
	p := &v1alpha1.NodeTerminationPolicy{}
	p.Name, p.UID, p.Generation = "spot", "policy-uid", 1
	p.Spec.Events = rules
	return p
}

func TestDecision(t *testing.T) {
	const day = 24 * time.Hour
	cases := map[string]struct {
		events []v1alpha1.Event
		hooks  []v1alpha1.HookStatus
		policy *v1alpha1.NodeTerminationPolicy
		want   decision
	}{
		"a spot notice drains at once": {
			events: []v1alpha1.Event{spot("a", 0)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.SpotInterruption, deadline: t0.Add(2 * time.Minute)},
		},
		"a rebalance only cordons": {
			events: []v1alpha1.Event{rebalance("r", 0)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordon, cause: v1alpha1.RebalanceRecommendation},
		},
		"the strongest action wins, whatever came first": {
			events: []v1alpha1.Event{rebalance("r", 0), spot("a", time.Minute)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.SpotInterruption, deadline: t0.Add(3 * time.Minute)},
		},
		"the nearest deadline wins": {
			events: []v1alpha1.Event{maintenance("m", day), spot("a", 0)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.SpotInterruption, deadline: t0.Add(2 * time.Minute)},
		},
		"what drains at once does not wait for what drains later": {
			events: []v1alpha1.Event{spot("a", 0), maintenance("m", 3*day)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.SpotInterruption, deadline: t0.Add(2 * time.Minute)},
		},
		"a maintenance drains a day before": {
			events: []v1alpha1.Event{maintenance("m", 3*day)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.ScheduledMaintenance, deadline: t0.Add(3 * day), drainAt: t0.Add(2 * day)},
		},
		"or as the policy says": {
			events: []v1alpha1.Event{maintenance("m", 3*day)},
			policy: policyWith(v1alpha1.EventRule{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordonAndDrain, StartBeforeSeconds: ptr.To[int32](3600)}),
			want:   decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.ScheduledMaintenance, deadline: t0.Add(3 * day), drainAt: t0.Add(3*day - time.Hour)},
		},
		"a maintenance that has begun before the drain has no deadline": {
			events: []v1alpha1.Event{maintenance("m", -time.Minute)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.ScheduledMaintenance, drainAt: t0.Add(-time.Minute - day), late: true},
		},
		"another event's deadline counts all the same": {
			events: []v1alpha1.Event{maintenance("m", -time.Minute), spot("a", 0)}, policy: policyWith(),
			want: decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.SpotInterruption, deadline: t0.Add(2 * time.Minute), late: true},
		},
		"what only cordons has no deadline": {
			events: []v1alpha1.Event{maintenance("m", day), {ID: "x", Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual}},
			policy: policyWith(v1alpha1.EventRule{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordon}),
			want:   decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.Manual},
		},
		"an ignored kind sets neither action nor deadline": {
			events: []v1alpha1.Event{spot("a", 0)},
			policy: policyWith(v1alpha1.EventRule{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionIgnore}),
			want:   decision{action: v1alpha1.ActionIgnore, cause: v1alpha1.SpotInterruption, ignores: "policy spot ignores SpotInterruption"},
		},
		"a cordon that is asked for by a stronger kind is kept by a weaker one": {
			events: []v1alpha1.Event{spot("a", 0), rebalance("r", 0)},
			policy: policyWith(v1alpha1.EventRule{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionIgnore}),
			want:   decision{action: v1alpha1.ActionCordon, cause: v1alpha1.RebalanceRecommendation},
		},
		"a group waits until its hook's deadline": {
			events: []v1alpha1.Event{terminating("h", &v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "drain"})},
			hooks: []v1alpha1.HookStatus{
				{AutoScalingGroupName: "g", Name: "other", State: v1alpha1.HookWaiting, Deadline: metav1.Time{Time: t0.Add(time.Minute)}},
				{AutoScalingGroupName: "g", Name: "drain", State: v1alpha1.HookWaiting, Deadline: metav1.Time{Time: t0.Add(time.Hour)}},
			},
			policy: policyWith(),
			want:   decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.AutoScalingTermination, deadline: t0.Add(time.Hour)},
		},
		"a watcher does not say which hook waits: any does": {
			events: []v1alpha1.Event{terminating("h", nil)},
			hooks: []v1alpha1.HookStatus{
				{AutoScalingGroupName: "g", Name: "b", State: v1alpha1.HookWaiting, Deadline: metav1.Time{Time: t0.Add(time.Minute)}},
				{AutoScalingGroupName: "g", Name: "a", State: v1alpha1.HookIgnored, Deadline: metav1.Time{Time: t0.Add(time.Second)}},
			},
			policy: policyWith(),
			want:   decision{action: v1alpha1.ActionCordonAndDrain, cause: v1alpha1.AutoScalingTermination, deadline: t0.Add(time.Minute)},
		},
		"no event, no action": {policy: policyWith(), want: decision{action: v1alpha1.ActionIgnore}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := decisionFor(tc.events, tc.hooks, tc.policy, t0, t0)
			got.announced = time.Time{} // TestCouldBegin
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(decision{})); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

// Blocked pods are left half of the time that the drain could have had, however late it begins.
func TestCouldBegin(t *testing.T) {
	const day = 24 * time.Hour
	notice, planned := spot("a", time.Minute), maintenance("m", 3*day)
	notice.Time, planned.Time = metav1.Time{Time: t0}, metav1.Time{Time: t0}
	late := planned
	late.Time = metav1.Time{Time: t0.Add(2*day + time.Hour)}
	cases := map[string]struct {
		events []v1alpha1.Event
		began  time.Duration
		want   time.Time
	}{
		"when AWS said so":                      {[]v1alpha1.Event{notice}, 30 * time.Second, t0},
		"not before the policy drains":          {[]v1alpha1.Event{planned}, 2*day + time.Minute, t0.Add(2 * day)},
		"not before AWS said so":                {[]v1alpha1.Event{late}, 2*day + 2*time.Hour, t0.Add(2*day + time.Hour)},
		"not after it did, whatever clocks say": {[]v1alpha1.Event{notice}, -time.Second, t0.Add(-time.Second)},
		"by the event that has the deadline":    {[]v1alpha1.Event{notice, planned}, day, t0},
		"without a deadline nobody asks":        {[]v1alpha1.Event{rebalance("r", 0)}, 0, time.Time{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			began := t0.Add(tc.began)
			s := &scope{nt: &v1alpha1.NodeTermination{}, decision: decisionFor(tc.events, nil, policyWith(), began, began)}
			s.nt.Status.DrainStartTime = &metav1.Time{Time: began}
			if got := s.couldBegin(); !got.Equal(tc.want) {
				t.Errorf("could begin %v, want %v", got, tc.want)
			}
		})
	}
}

// Whatever is not begun goes first, or a crowd under way would keep it from being cordoned.
func TestPriorityIsByMinutesLeft(t *testing.T) {
	order := []time.Time{t0.Add(-time.Hour), t0.Add(70 * time.Second), t0.Add(5 * time.Minute), t0.Add(48 * time.Hour), {}}
	last := 24 // so many are labels of the queue's metrics
	for _, begun := range []bool{false, true} {
		for _, deadline := range order {
			p := priority(deadline, t0, begun)
			if p >= last {
				t.Errorf("priority of %v, begun %t, is %d, not below %d", deadline, begun, p, last)
			}
			last = p
		}
	}
	if last != 0 {
		t.Errorf("without a deadline: %d, want 0", last)
	}
}
