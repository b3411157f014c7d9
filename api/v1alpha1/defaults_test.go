// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestActionFor(t *testing.T) {
	for _, kind := range kinds {
		want := v1alpha1.ActionCordonAndDrain
		if kind == v1alpha1.RebalanceRecommendation {
			want = v1alpha1.ActionCordon
		}
		if got := (&v1alpha1.NodeTerminationPolicySpec{}).ActionFor(kind); got != want {
			t.Errorf("by default ActionFor(%s) = %s, want %s", kind, got, want)
		}
		ruled := &v1alpha1.NodeTerminationPolicySpec{Events: []v1alpha1.EventRule{{Kind: kind, Action: v1alpha1.ActionIgnore}}}
		if got := ruled.ActionFor(kind); got != v1alpha1.ActionIgnore {
			t.Errorf("ActionFor(%s) = %s, want what the policy says", kind, got)
		}
	}
	cordons := &v1alpha1.NodeTerminationPolicySpec{
		Action: v1alpha1.ActionCordon, Events: []v1alpha1.EventRule{{Kind: v1alpha1.Manual, Action: v1alpha1.ActionCordonAndDrain}},
	}
	if got := cordons.ActionFor(v1alpha1.SpotInterruption); got != v1alpha1.ActionCordon {
		t.Errorf("ActionFor(SpotInterruption) = %s, want the policy's action", got)
	}
	if got := cordons.ActionFor(v1alpha1.Manual); got != v1alpha1.ActionCordonAndDrain {
		t.Errorf("ActionFor(Manual) = %s, want that of the kind", got)
	}
}

func TestUncordonAfter(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules []v1alpha1.EventRule
		kind  v1alpha1.EventKind
		after time.Duration
		lifts bool
	}{
		{"rebalance", nil, v1alpha1.RebalanceRecommendation, time.Hour, true},
		{"others", nil, v1alpha1.SpotInterruption, 0, false},
		{"a rule without it", []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordon}}, v1alpha1.RebalanceRecommendation, time.Hour, true},
		{"a rule", []v1alpha1.EventRule{{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionCordon, UncordonAfterSeconds: ptr.To[int32](60)}}, v1alpha1.SpotInterruption, time.Minute, true},
		{"a status check", nil, v1alpha1.InstanceStatusCheckFailed, 24 * time.Hour, true},
		{"a drain", []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}, v1alpha1.RebalanceRecommendation, 0, false},
		{"ignored, which is over like the others", []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionIgnore}}, v1alpha1.RebalanceRecommendation, time.Hour, true},
		{"another kind's rule", []v1alpha1.EventRule{{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionCordon, UncordonAfterSeconds: ptr.To[int32](60)}}, v1alpha1.InstanceStateChange, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, lifts := (&v1alpha1.NodeTerminationPolicySpec{Events: test.rules}).UncordonAfter(test.kind)
			if lifts != test.lifts || lifts && after != test.after {
				t.Errorf("UncordonAfter = %s, %t; want %s, %t", after, lifts, test.after, test.lifts)
			}
		})
	}
}

func TestStartBefore(t *testing.T) {
	rule := func(kind v1alpha1.EventKind, seconds *int32, windows ...v1alpha1.Window) v1alpha1.EventRule {
		return v1alpha1.EventRule{Kind: kind, Action: v1alpha1.ActionCordonAndDrain, StartBeforeSeconds: seconds, Windows: windows}
	}
	const maintenance = v1alpha1.ScheduledMaintenance
	half := ptr.To[int32](1800)
	for _, test := range []struct {
		name  string
		rules []v1alpha1.EventRule
		kind  v1alpha1.EventKind
		want  time.Duration
		found bool
	}{
		{"default", nil, maintenance, 24 * time.Hour, true},
		{"a rule without it", []v1alpha1.EventRule{rule(maintenance, nil)}, maintenance, 24 * time.Hour, true},
		{"a rule", []v1alpha1.EventRule{rule(maintenance, half)}, maintenance, 30 * time.Minute, true},
		{"any window will do", []v1alpha1.EventRule{rule(maintenance, nil, v1alpha1.Window{})}, maintenance, 0, false},
		{"windows shortly before", []v1alpha1.EventRule{rule(maintenance, half, v1alpha1.Window{})}, maintenance, 30 * time.Minute, true},
		{"an interruption at once", nil, v1alpha1.SpotInterruption, 0, false},
		{"an interruption later", []v1alpha1.EventRule{rule(v1alpha1.SpotInterruption, half)}, v1alpha1.SpotInterruption, 30 * time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, found := (&v1alpha1.NodeTerminationPolicySpec{Events: test.rules}).StartBefore(test.kind)
			if got != test.want || found != test.found {
				t.Errorf("StartBefore = %s, %t; want %s, %t", got, found, test.want, test.found)
			}
		})
	}
}

// drainDefaults is what a DrainSpec says about everything.
type drainDefaults struct {
	Timeout, BlockedBefore time.Duration
	Grace                  *int32
	Skip                   []v1alpha1.PodRule
	Waves                  []v1alpha1.Wave
	DeletesBlocked         bool
	BlockedBeforeSet       bool
}

func TestDrainSpec(t *testing.T) {
	defaults := func(change ...func(*drainDefaults)) drainDefaults {
		d := drainDefaults{
			Timeout: 2 * time.Minute, DeletesBlocked: true,
			Waves: []v1alpha1.Wave{{PriorityBelow: ptr.To[int32](2_000_000_000)}, {}},
		}
		for _, f := range change {
			f(&d)
		}
		return d
	}
	skip := []v1alpha1.PodRule{{Namespaces: []string{"a"}}}
	waves := []v1alpha1.Wave{{ReserveSeconds: ptr.To[int32](10)}}
	for _, test := range []struct {
		name string
		spec *v1alpha1.DrainSpec
		want drainDefaults
	}{
		{"unset", nil, defaults()},
		{"empty", &v1alpha1.DrainSpec{}, defaults()},
		{"no waves", &v1alpha1.DrainSpec{Waves: []v1alpha1.Wave{}}, defaults()},
		{"blocked pods without a time", &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete}}, defaults()},
		{"blocked pods that wait", &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}},
			defaults(func(d *drainDefaults) { d.DeletesBlocked = false })},
		{
			"everything", &v1alpha1.DrainSpec{
				TimeoutSeconds: ptr.To[int32](60), PodGracePeriodSeconds: ptr.To[int32](5), Waves: waves, Skip: skip,
				BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](20)},
			},
			drainDefaults{Timeout: time.Minute, BlockedBefore: 20 * time.Second, Grace: ptr.To[int32](5), Skip: skip, Waves: waves, DeletesBlocked: true, BlockedBeforeSet: true},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := drainDefaults{
				Timeout: test.spec.Timeout(), Grace: test.spec.GracePeriodSeconds(),
				Skip: test.spec.SkipRules(), Waves: test.spec.WaveList(), DeletesBlocked: test.spec.DeletesBlocked(),
			}
			got.BlockedBefore, got.BlockedBeforeSet = test.spec.BlockedBefore()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWave(t *testing.T) {
	for _, test := range []struct {
		name    string
		wave    v1alpha1.Wave
		takes   []int32
		leaves  []int32
		reserve time.Duration
	}{
		{"the last", v1alpha1.Wave{}, []int32{-2147483648, 0, 2147483647}, nil, 30 * time.Second},
		{"the last with a reserve", v1alpha1.Wave{ReserveSeconds: ptr.To[int32](45)}, []int32{0}, nil, 45 * time.Second},
		{"another", v1alpha1.Wave{PriorityBelow: ptr.To[int32](100)}, []int32{-1, 99}, []int32{100, 2_000_000_000}, 0},
		{"another with a reserve", v1alpha1.Wave{PriorityBelow: ptr.To[int32](0), ReserveSeconds: ptr.To[int32](60)}, []int32{-1}, []int32{0}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, priority := range test.takes {
				if !test.wave.Takes(priority) {
					t.Errorf("does not take priority %d", priority)
				}
			}
			for _, priority := range test.leaves {
				if test.wave.Takes(priority) {
					t.Errorf("takes priority %d", priority)
				}
			}
			if got := test.wave.Reserve(); got != test.reserve {
				t.Errorf("Reserve = %s, want %s", got, test.reserve)
			}
		})
	}
}

func TestUnhealthyLimit(t *testing.T) {
	for name, test := range map[string]struct {
		max   *intstr.IntOrString
		nodes int
		want  int
	}{
		"20 % by default":          {nodes: 100, want: 20},
		"rounded up":               {nodes: 11, want: 3},
		"one at least":             {nodes: 2, want: 1},
		"nodes not counted yet":    {want: 1},
		"a number is as it stands": {max: ptr.To(intstr.FromInt32(7)), nodes: 3, want: 7},
	} {
		spec := v1alpha1.NodeTerminationPolicySpec{MaxUnhealthy: test.max}
		if got := spec.UnhealthyLimit(test.nodes); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestTerminatingLimit(t *testing.T) {
	for name, test := range map[string]struct {
		max   *intstr.IntOrString
		nodes int
		want  int
	}{
		"30 % by default":          {nodes: 100, want: 30},
		"rounded up":               {nodes: 11, want: 4},
		"three at least":           {nodes: 2, want: 3},
		"nodes not counted yet":    {want: 3},
		"a percentage":             {max: ptr.To(intstr.FromString("50%")), nodes: 9, want: 5},
		"a number is as it stands": {max: ptr.To(intstr.FromInt32(1)), nodes: 100, want: 1},
	} {
		spec := v1alpha1.NodeTerminationPolicySpec{MaxTerminating: test.max}
		if got := spec.TerminatingLimit(test.nodes); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
