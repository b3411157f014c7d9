// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func preferring(asks Preferences) func(*Pod) { return func(pod *Pod) { pod.Preferences = asks } }

func TestNewPreferences(t *testing.T) {
	const drain = "nodetermination.dev/drain"
	for name, test := range map[string]struct {
		annotations map[string]string
		want        Preferences
	}{
		"none":                   {nil, 0},
		"others":                 {map[string]string{"example.com/drain": "skip"}, 0},
		"skip":                   {map[string]string{drain: "skip"}, PreferSkip},
		"last":                   {map[string]string{drain: "last"}, PreferLast},
		"wait-for-completion":    {map[string]string{drain: "wait-for-completion"}, PreferCompletion},
		"misspelt":               {map[string]string{drain: "Skip"}, PreferUnknown},
		"empty":                  {map[string]string{drain: ""}, PreferUnknown},
		"do-not-disrupt":         {map[string]string{"karpenter.sh/do-not-disrupt": "true"}, PreferNoDisruption},
		"may be disrupted":       {map[string]string{"karpenter.sh/do-not-disrupt": "false"}, 0},
		"not safe to evict":      {map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}, PreferNoEviction},
		"safe to evict":          {map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}, 0},
		"last, and as of others": {map[string]string{drain: "last", "karpenter.sh/do-not-disrupt": "true"}, PreferLast | PreferNoDisruption},
	} {
		if got := newPreferences(test.annotations); got != test.want {
			t.Errorf("%s: got %b, want %b", name, got, test.want)
		}
	}
}

func TestNewPlanAnnotations(t *testing.T) {
	wait := &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}
	early := &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](90)}}
	ignore := &v1alpha1.DrainSpec{PodAnnotations: v1alpha1.PodAnnotationsIgnore}
	job, keep, safe := newPod("job", preferring(PreferCompletion)), newPod("keep", preferring(PreferNoDisruption)), newPod("safe", preferring(PreferNoEviction))
	system := newPod("sys", priority(2_000_000_000))

	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"skip":                             {Input{Pods: []Pod{newPod("a", preferring(PreferSkip)), newPod("b")}}, "Evict b, look at 120"},
		"skip past a deadline":             {Input{Pods: []Pod{newPod("a", preferring(PreferSkip))}, Deadline: after(-9)}, "done"},
		"skip beats the others":            {Input{Pods: []Pod{newPod("a", preferring(PreferSkip|PreferNoDisruption))}}, "done"},
		"a misspelt annotation is ignored": {Input{Pods: []Pod{newPod("a", preferring(PreferUnknown))}}, "Evict a, look at 120"},

		"kept, soft":                    {Input{Pods: []Pod{newPod("a"), job, keep, safe}}, "Evict a, look at 120"},
		"kept, soft, timed out":         {Input{Pods: []Pod{job}, Started: after(-120)}, "timed out"},
		"kept, hard, there is time":     {Input{Pods: []Pod{job, keep, safe}, Deadline: after(120)}, "look at 90"},
		"kept, hard, its time is over":  {Input{Pods: []Pod{job, keep, safe}, Earliest: after(-60), Deadline: after(30)}, "Evict job 28s, Evict keep 28s, Evict safe 28s, look at 150"},
		"kept, hard, half of the time":  {Input{Pods: []Pod{job, keep, safe}, Deadline: after(30)}, "look at 15"},
		"kept, hard, ends earlier":      {Input{Pods: []Pod{keep}, Drain: early, Deadline: after(90)}, "Evict keep, look at 210"},
		"kept, hard, deadline past":     {Input{Pods: []Pod{keep}, Deadline: after(-1)}, "Evict keep, look at 120"},
		"kept, a maintenance has begun": {Input{Pods: []Pod{job, system}, BudgetsUntil: after(120)}, "look at 120"},
		"kept, it lasts":                {Input{Pods: []Pod{job, system}, BudgetsUntil: after(0)}, "Evict job, Evict sys, look at 120"},
		"kept, hard, wait":              {Input{Pods: []Pod{job, keep, safe}, Drain: wait, Deadline: after(-1)}, "look at 120"},
		"kept, then blocked by a budget too": {Input{Pods: []Pod{keep}, Earliest: after(-60), Deadline: after(30), Blockers: blockedBy(BlockedByBudget, "keep")},
			"Delete keep 28s, look at 150"},
		"kept, evicted by others": {Input{Pods: []Pod{newPod("a", preferring(PreferNoDisruption), terminating(start, 300))}, Deadline: after(60)},
			"Delete a 58s, look at 180"},
		"kept, holds up the next wave": {Input{Pods: []Pod{keep, system}}, "look at 120"},
		"kept, holds up the next wave until its reserve": {Input{Pods: []Pod{keep, system}, Drain: wait, Deadline: after(30)},
			"Evict sys 28s, look at 150"},
		"kept in the next wave": {Input{Pods: []Pod{newPod("a"), newPod("sys", priority(2_000_000_000), preferring(PreferNoEviction))}, Deadline: after(120)},
			"Evict a, look at 90"},

		"ignored": {Input{Pods: []Pod{newPod("a", preferring(PreferSkip)), newPod("b", preferring(PreferLast)), job, keep, safe}, Drain: ignore},
			"Evict a, Evict b, Evict job, Evict keep, Evict safe, look at 120"},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now = start
			plan := NewPlan(test.in)
			if got := describe(plan, start); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNewPlanReportsAnnotations(t *testing.T) {
	const ignored = "; its annotation nodetermination.dev/drain is ignored: it has to be skip, last or wait-for-completion"
	in := Input{Now: start, Deadline: after(120), Blockers: blockedBy(BlockedByBudget, "misspelt"), Pods: []Pod{
		newPod("job", preferring(PreferCompletion)), newPod("both", preferring(PreferNoDisruption|PreferNoEviction)), newPod("misspelt", preferring(PreferUnknown)),
		newPod("later", priority(2_000_000_000), preferring(PreferNoDisruption)),
	}}
	blocked := func() map[string]string {
		t.Helper()
		plan := NewPlan(in)
		if diff := cmp.Diff(Counts{Remaining: 4, Blocked: 3, Waiting: 1}, plan.Counts); diff != "" {
			t.Error(diff)
		}
		reasons := map[string]string{}
		for _, pod := range plan.Blocked {
			reasons[pod.Name] = pod.Reason
		}
		return reasons
	}
	want := map[string]string{
		"job":      `kept by its annotation nodetermination.dev/drain: "wait-for-completion" until 2026-11-22T05:09:30Z`,
		"both":     `kept by its annotation karpenter.sh/do-not-disrupt: "true" and cluster-autoscaler.kubernetes.io/safe-to-evict: "false" until 2026-11-22T05:09:30Z`,
		"misspelt": "says no" + ignored,
	}
	if diff := cmp.Diff(want, blocked()); diff != "" {
		t.Error("hard:", diff)
	}
	// Soft, and timed out: the annotation is what a person reads of the failure.
	in.Deadline, in.Started = time.Time{}, after(-120)
	want["job"] = `kept by its annotation nodetermination.dev/drain: "wait-for-completion"`
	want["both"] = `kept by its annotation karpenter.sh/do-not-disrupt: "true" and cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`
	want["later"] = "waits for the wave before it"
	if diff := cmp.Diff(want, blocked()); diff != "" {
		t.Error("soft:", diff)
	}
	// However long the reason is, a status takes it.
	in.Blockers["uid-misspelt"] = *newBlocker(BlockedByBudget, strings.Repeat("é", 1000))
	if got := blocked()["misspelt"]; len(got) > maxReason || !strings.HasSuffix(got, "é…"+ignored) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}
