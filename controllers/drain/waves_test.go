// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"testing"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// own are the operator's own pods in tests.
func own(pod Pod) bool { return pod.Labels["app"] == "own" }

func TestNewPlanLastAndOwn(t *testing.T) {
	const system = 2_000_000_000
	reserve := &v1alpha1.DrainSpec{Waves: []v1alpha1.Wave{{PriorityBelow: ptr.To[int32](10)}, {ReserveSeconds: ptr.To[int32](60)}}}
	app, sys := newPod("app"), newPod("sys", priority(system))
	last := newPod("last", priority(-5), preferring(PreferLast))
	mine := newPod("mine", priority(-9), labelled("app", "own"))
	all := []Pod{mine, last, sys, app}

	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"first the policy's waves":   {Input{Pods: all}, "Evict app, look at 120"},
		"its last wave":              {Input{Pods: all[:3]}, "Evict sys, look at 120"},
		"then those that ask for it": {Input{Pods: all[:2]}, "Evict last, look at 120"},
		"then our own":               {Input{Pods: all[:1]}, "Evict mine, look at 120"},
		"they must be gone":          {Input{Pods: []Pod{mine, newPod("last", preferring(PreferLast), terminating(start, 30))}}, "look at 120"},

		"the last wave's reserve is theirs":  {Input{Pods: all, Drain: reserve, Deadline: after(120)}, "Evict app, look at 60"},
		"the reserve has come":               {Input{Pods: all, Drain: reserve, Deadline: after(60)}, "Evict app, Evict last, Evict mine, Evict sys, look at 30"},
		"deadline past":                      {Input{Pods: all, Deadline: after(-5)}, "Evict app, Evict last, Evict mine, Evict sys, look at 120"},
		"a maintenance that lasts":           {Input{Pods: all, BudgetsUntil: start, Started: after(-120)}, "Evict app, Evict last, Evict mine, Evict sys, look at 120"},
		"our own is last although it asks":   {Input{Pods: []Pod{last, newPod("mine", labelled("app", "own"), preferring(PreferLast))}}, "Evict last, look at 120"},
		"our own may be skipped":             {Input{Pods: []Pod{newPod("mine", labelled("app", "own"), preferring(PreferSkip))}}, "done"},
		"last, and kept":                     {Input{Pods: []Pod{newPod("last", preferring(PreferLast|PreferNoDisruption)), mine}, Deadline: after(120)}, "look at 90"},
		"kept ones hold up our own":          {Input{Pods: []Pod{newPod("keep", preferring(PreferNoDisruption)), mine}}, "look at 120"},
		"those that stay do not hold us up":  {Input{Pods: []Pod{newPod("stay", preferring(PreferSkip)), mine}}, "Evict mine, look at 120"},
		"blocked ones hold up our own":       {Input{Pods: []Pod{app, mine}, Blockers: blockedBy(BlockedByBudget, "app")}, "Evict app, look at 120"},
		"blocked until the reserve has come": {Input{Pods: []Pod{app, mine}, Blockers: blockedBy(BlockedByBudget, "app"), Earliest: after(-60), Deadline: after(30)}, "Delete app 28s, Evict mine 28s, look at 150"},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now, test.in.Own = start, own
			plan := NewPlan(test.in)
			if got := describe(plan, start); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
