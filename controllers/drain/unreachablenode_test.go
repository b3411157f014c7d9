// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestNewPlanUnreachableNode(t *testing.T) {
	const system = 2_000_000_000
	gone := newPod("gone", terminating(after(-35), 30)) // its end is the tolerance ago
	going := newPod("going", terminating(after(-20), 30))

	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"not evicted yet":            {Input{Pods: []Pod{newPod("a")}}, "Evict a, look at 120"},
		"in one wave":                {Input{Pods: []Pod{newPod("a"), newPod("sys", priority(system)), newPod("z", preferring(PreferLast))}}, "Evict a, Evict sys, Evict z, look at 120"},
		"nothing completes there":    {Input{Pods: []Pod{newPod("a", preferring(PreferCompletion)), newPod("b", preferring(PreferNoDisruption))}}, "Evict a, Evict b, look at 120"},
		"what is skipped is skipped": {Input{Pods: []Pod{newPod("a", preferring(PreferSkip))}}, "done"},
		"within its grace":           {Input{Pods: []Pod{going}}, "look at 15"},
		"past its grace":             {Input{Pods: []Pod{gone}}, "lost, look at 120"},
		"one past, one within":       {Input{Pods: []Pod{going, gone}}, "look at 15"},
		"one past, one not evicted":  {Input{Pods: []Pod{newPod("a"), gone}}, "Evict a, look at 120"},
		"the API server's clock":     {Input{Pods: []Pod{newPod("a", terminating(after(-30), 30))}}, "look at 5"},
		"hard, is shortened first":   {Input{Pods: []Pod{newPod("a", terminating(start, 300))}, Deadline: after(-1)}, "Delete a 1s, look at 120"},
		"hard, past its grace":       {Input{Pods: []Pod{gone}, Deadline: after(-100)}, "lost, look at 120"},
		"lost until it times out":    {Input{Pods: []Pod{gone}, Started: after(-120)}, "timed out, lost"},
		"only pods to evict are":     {Input{Pods: []Pod{newPod("d", terminating(after(-60), 30), func(p *Pod) { p.DaemonSet = true })}}, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now, test.in.NodeDead = start, true
			plan := NewPlan(test.in)
			if got := describe(plan, start); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestNewPlanShuttingDown: the operating system ends the pods by itself, so none is waited for,
// and nobody knows exactly until when.
func TestNewPlanShuttingDown(t *testing.T) {
	const system = 2_000_000_000
	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"in one wave":                {Input{Pods: []Pod{newPod("a"), newPod("sys", priority(system)), newPod("z", preferring(PreferLast))}}, "Evict a, Evict sys, Evict z, look at 240"},
		"nothing completes there":    {Input{Pods: []Pod{newPod("a", preferring(PreferCompletion))}}, "Evict a, look at 240"},
		"blocked pods are deleted":   {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a")}, "Delete a, look at 240"},
		"unless they never are":      {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a"), Drain: &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}}, "Evict a, look at 240"},
		"grace is clipped":           {Input{Pods: []Pod{newPod("a", func(p *Pod) { p.GracePeriodSeconds = 300 })}}, "Evict a 118s, look at 240"},
		"grace is its own later":     {Input{Pods: []Pod{newPod("a"), newPod("b", terminating(after(-9), 300))}, Deadline: after(-9)}, "Evict a, look at 120"},
		"what terminates is left":    {Input{Pods: []Pod{newPod("a", terminating(start, 300))}}, "look at 240"},
		"unless the node is dead":    {Input{Pods: []Pod{newPod("a", terminating(start, 300))}, NodeDead: true}, "Delete a 118s, look at 240"},
		"what is skipped is skipped": {Input{Pods: []Pod{newPod("a", preferring(PreferSkip))}}, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now, test.in.ShuttingDown = start, true
			if test.in.Deadline.IsZero() {
				test.in.Deadline = after(120)
			}
			plan := NewPlan(test.in)
			if got := describe(plan, start); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNewPlanCountsLostPods(t *testing.T) {
	in := Input{Now: start, NodeDead: true, Pods: []Pod{newPod("a"), newPod("gone", terminating(after(-60), 30)), newPod("going", terminating(start, 30))}}
	plan := NewPlan(in)
	if diff := cmp.Diff(Counts{Remaining: 3, Terminating: 2, Lost: 1}, plan.Counts); diff != "" || plan.Lost || plan.Blocked != nil {
		t.Error("some are lost:", diff, plan.Lost, plan.Blocked)
	}
	in.Pods = in.Pods[1:2]
	plan = NewPlan(in)
	want := []v1alpha1.BlockedPod{blockedPod("gone", "was evicted, but its instance is not running any more", 0)}
	if diff := cmp.Diff(want, plan.Blocked); diff != "" || !plan.Lost || plan.Counts != (Counts{Remaining: 1, Terminating: 1, Lost: 1}) {
		t.Error("all are lost:", diff, plan)
	}
	// A node that lives is waited for.
	in.NodeDead = false
	if plan = NewPlan(in); plan.Lost || plan.Counts.Lost != 0 {
		t.Error("lost on a node that lives:", plan)
	}
}
