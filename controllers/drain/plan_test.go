// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

var start = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

// after returns a time of the drain's, in seconds since its start.
func after(seconds int) time.Time {
	return start.Add(time.Duration(seconds) * time.Second)
}

func newPod(name string, change ...func(*Pod)) Pod {
	pod := Pod{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Node: "node", GracePeriodSeconds: 30, Ready: true}
	for _, f := range change {
		f(&pod)
	}
	return pod
}

func priority(p int32) func(*Pod)     { return func(pod *Pod) { pod.Priority = p } }
func inNamespace(n string) func(*Pod) { return func(pod *Pod) { pod.Namespace = n } }
func labelled(key, value string) func(*Pod) {
	return func(pod *Pod) { pod.Labels = map[string]string{key: value} }
}

// terminating: the pod was evicted at a time, with a grace period.
func terminating(at time.Time, grace int64) func(*Pod) {
	return func(pod *Pod) {
		pod.DeletionTimestamp = at.Add(time.Duration(grace) * time.Second)
		pod.DeletionGracePeriodSeconds = grace
	}
}

func blockedBy(kind BlockerKind, names ...string) map[types.UID]Blocker {
	blockers := map[types.UID]Blocker{}
	for _, name := range names {
		blockers[types.UID("uid-"+name)] = Blocker{Kind: kind, Reason: "says no"}
	}
	return blockers
}

// describe returns a plan in short: "Evict a 30s" for an action sent now.
func describe(plan Plan, now time.Time) string {
	var words []string
	for _, action := range plan.Actions {
		word := fmt.Sprintf("%s %s", action.Method, action.Pod.Name)
		if grace := action.graceAt(now); grace != nil {
			word += fmt.Sprintf(" %ds", *grace)
		}
		words = append(words, word)
	}
	switch {
	case plan.Done:
		words = append(words, "done")
	case plan.TimedOut:
		words = append(words, "timed out")
	}
	if plan.Lost {
		words = append(words, "lost")
	}
	if !plan.NextLook.IsZero() {
		words = append(words, fmt.Sprintf("look at %d", int(plan.NextLook.Sub(start).Seconds())))
	}
	return strings.Join(words, ", ")
}

func TestNewPlan(t *testing.T) {
	const system = 2_000_000_000
	waves := &v1alpha1.DrainSpec{Waves: []v1alpha1.Wave{
		{PriorityBelow: ptr.To[int32](10), ReserveSeconds: nil},
		{PriorityBelow: ptr.To[int32](20), ReserveSeconds: ptr.To[int32](60)},
		{ReserveSeconds: ptr.To[int32](20)},
	}}
	threeWaves := []Pod{newPod("a", priority(1)), newPod("b", priority(10)), newPod("c", priority(99))}
	mirror := newPod("mirror", func(p *Pod) { p.Mirror = true })
	daemon := newPod("daemon", func(p *Pod) { p.DaemonSet = true })
	finished := newPod("finished", func(p *Pod) { p.Finished = true })

	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"no pods":             {Input{}, "done"},
		"none to evict":       {Input{Pods: []Pod{mirror, daemon, finished}}, "done"},
		"soft":                {Input{Pods: []Pod{newPod("a")}}, "Evict a, look at 120"},
		"hard, time enough":   {Input{Pods: []Pod{newPod("a")}, Deadline: after(120)}, "Evict a, look at 90"},
		"only those to evict": {Input{Pods: []Pod{mirror, newPod("b"), daemon, newPod("a"), finished}}, "Evict a, Evict b, look at 120"},

		"grace clipped to the deadline": {Input{Pods: []Pod{newPod("a")}, Deadline: after(20)}, "Evict a 18s, look at 10"},
		"a second is left at least":     {Input{Pods: []Pod{newPod("a")}, Earliest: after(-60), Deadline: after(1)}, "Evict a 1s, look at 121"},
		"deadline past":                 {Input{Pods: []Pod{newPod("a")}, Deadline: after(-60)}, "Evict a, look at 120"},
		"deadline now":                  {Input{Pods: []Pod{newPod("a")}, Deadline: start}, "Evict a, look at 120"},
		"deadline past, dead":           {Input{Pods: []Pod{newPod("a")}, Deadline: after(-60), NodeDead: true}, "Evict a 1s, look at 120"},
		"deadline past, grace of the policy": {Input{Pods: []Pod{newPod("a")}, Deadline: after(-60),
			Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](90)}}, "Evict a 90s, look at 120"},
		"own grace of zero is kept": {Input{Pods: []Pod{newPod("a", func(p *Pod) { p.GracePeriodSeconds = 0 })}, Deadline: after(10)},
			"Evict a, look at 5"},
		"grace of the policy": {Input{Pods: []Pod{newPod("a")}, Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](90)}},
			"Evict a 90s, look at 120"},
		"grace of the policy clipped": {Input{Pods: []Pod{newPod("a")}, Deadline: after(60),
			Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](90)}}, "Evict a 58s, look at 30"},
		"grace of the policy is shorter": {Input{Pods: []Pod{newPod("a")}, Deadline: after(20),
			Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](5)}}, "Evict a 5s, look at 10"},

		"skip by namespace": {Input{Pods: []Pod{newPod("a", inNamespace("monitoring")), newPod("b")},
			Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{Namespaces: []string{"monitoring"}}}}}, "Evict b, look at 120"},
		"skip by labels": {Input{Pods: []Pod{newPod("a", labelled("app", "agent")), newPod("b", labelled("app", "web"))},
			Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: selector("app", "agent")}}}}, "Evict b, look at 120"},
		"skip needs both": {Input{Pods: []Pod{newPod("a", labelled("app", "agent")), newPod("b", inNamespace("monitoring"), labelled("app", "agent"))},
			Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{Namespaces: []string{"monitoring"}, PodSelector: selector("app", "agent")}}}},
			"Evict a, look at 120"},
		"an empty skip rule skips nothing": {Input{Pods: []Pod{newPod("a")},
			Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{}}}}, "Evict a, look at 120"},
		"skipped ones may stay": {Input{Pods: []Pod{newPod("a", inNamespace("monitoring"))},
			Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{Namespaces: []string{"monitoring"}}}}}, "done"},

		"waves: system pods later":         {Input{Pods: []Pod{newPod("sys", priority(system)), newPod("a")}}, "Evict a, look at 120"},
		"waves: only the later is left":    {Input{Pods: []Pod{newPod("sys", priority(system))}}, "Evict sys, look at 120"},
		"waves: those before must be gone": {Input{Pods: []Pod{newPod("sys", priority(system)), newPod("a", terminating(start, 30))}}, "look at 120"},
		"waves: reserve is looked at":      {Input{Pods: threeWaves, Drain: waves, Deadline: after(120)}, "Evict a, look at 60"},
		"waves: reserve has come":          {Input{Pods: threeWaves, Drain: waves, Deadline: after(60)}, "Evict a, Evict b, look at 30"},
		"waves: all at once":               {Input{Pods: threeWaves, Drain: waves, Deadline: after(20)}, "Evict a 18s, Evict b 18s, Evict c 18s, look at 10"},
		"waves: deadline past":             {Input{Pods: threeWaves, Drain: waves, Deadline: after(-1)}, "Evict a, Evict b, Evict c, look at 120"},
		"waves: reserves are not for soft": {Input{Pods: threeWaves, Drain: waves}, "Evict a, look at 120"},
		"waves: mirror pods hold up none": {Input{Pods: []Pod{mirror, daemon, finished, newPod("sys", priority(system))}},
			"Evict sys, look at 120"},

		"terminating in time":            {Input{Pods: []Pod{newPod("a", terminating(start, 30))}, Deadline: after(60)}, "look at 180"},
		"terminating too late":           {Input{Pods: []Pod{newPod("a", terminating(start, 300))}, Deadline: after(60)}, "Delete a 58s, look at 180"},
		"terminating, soft":              {Input{Pods: []Pod{newPod("a", terminating(start, 300))}}, "look at 120"},
		"terminating, the clocks differ": {Input{Pods: []Pod{newPod("a", terminating(after(4), 58))}, Deadline: after(60)}, "look at 180"},
		"terminating, deadline past":     {Input{Pods: []Pod{newPod("a", terminating(start, 300))}, Deadline: after(-9)}, "look at 120"},
		"terminating, cannot end sooner": {Input{Pods: []Pod{newPod("a", terminating(start, 1))}, Deadline: after(-9)}, "look at 120"},
		"terminating, evicted before us": {Input{Pods: []Pod{newPod("a", terminating(after(-200), 300))}, Deadline: after(60)}, "Delete a 58s, look at 180"},

		"blocked, soft":                   {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a")}, "Evict a, look at 120"},
		"blocked, hard, there is time":    {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a"), Earliest: after(-60), Deadline: after(31)}, "Evict a 29s, look at 1"},
		"blocked, hard, its time is over": {Input{Pods: []Pod{newPod("a"), newPod("b")}, Blockers: blockedBy(BlockedByBudget, "a"), Earliest: after(-60), Deadline: after(30)}, "Delete a 28s, Evict b 28s, look at 150"},
		"blocked, hard, deadline past":    {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a"), Deadline: after(-5)}, "Delete a, look at 120"},
		"blocked, hard, wait": {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a"), Deadline: after(10),
			Drain: &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}}, "Evict a 8s, look at 130"},
		"blocked, hard, longer before": {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByBudget, "a"), Deadline: after(100),
			Drain: &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](100)}}}, "Delete a, look at 220"},
		"refused by the server": {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByServer, "a"), Earliest: after(-60), Deadline: after(30)}, "Delete a 28s, look at 150"},
		"no answer in time":     {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByTimeout, "a"), Earliest: after(-60), Deadline: after(30)}, "Delete a 28s, look at 150"},
		"terminating namespace": {Input{Pods: []Pod{newPod("a")}, Blockers: blockedBy(BlockedByNamespace, "a")}, "Delete a, look at 120"},

		"soft, timed out":          {Input{Pods: []Pod{newPod("a")}, Started: after(-120)}, "timed out"},
		"soft, not yet timed out":  {Input{Pods: []Pod{newPod("a")}, Started: after(-119)}, "Evict a, look at 1"},
		"soft, done in the end":    {Input{Started: after(-500)}, "done"},
		"hard, counts from it":     {Input{Pods: []Pod{newPod("a")}, Started: after(-500), Deadline: after(-119)}, "Evict a, look at 1"},
		"hard, timed out":          {Input{Pods: []Pod{newPod("a")}, Started: after(-500), Deadline: after(-120)}, "timed out"},
		"hard, past at the start":  {Input{Pods: []Pod{newPod("a")}, Started: after(-119), Deadline: after(-500)}, "Evict a, look at 1"},
		"soft, timeout of its own": {Input{Pods: []Pod{newPod("a")}, Drain: &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](7)}}, "Evict a, look at 7"},
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

// TestNewPlanDeletesBlockedFrom: a pod that is blocked has the first half of the time for its budget to
// allow its eviction, and all of its grace period if that is possible.
func TestNewPlanDeletesBlockedFrom(t *testing.T) {
	grace := func(seconds int64) []Pod {
		return []Pod{newPod("a", func(p *Pod) { p.GracePeriodSeconds = seconds })}
	}
	before := func(seconds int32) *v1alpha1.DrainSpec {
		return &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: &seconds}}
	}
	for name, test := range map[string]struct {
		in   Input
		want string
	}{
		"spot, short grace":              {Input{Pods: grace(5), Deadline: after(120)}, "Evict a, look at 90"},
		"spot, grace of its own":         {Input{Pods: grace(45), Deadline: after(120)}, "Evict a, look at 75"},
		"spot, half of the notice":       {Input{Pods: grace(90), Deadline: after(120)}, "Evict a, look at 60"},
		"spot, it is deleted then":       {Input{Pods: grace(90), Earliest: after(-60), Deadline: after(60)}, "Delete a 58s, look at 180"},
		"spot, began late":               {Input{Pods: grace(90), Earliest: after(-60), Started: after(-5), Deadline: after(60)}, "Delete a 58s, look at 180"},
		"spot, the policy's grace":       {Input{Pods: grace(5), Deadline: after(120), Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](50)}}, "Evict a 50s, look at 70"},
		"spot, as the policy says":       {Input{Pods: grace(90), Deadline: after(120), Drain: before(20)}, "Evict a, look at 100"},
		"spot, longer than there is":     {Input{Pods: grace(90), Deadline: after(60), Drain: before(600)}, "Delete a 58s, look at 180"},
		"a hook of thirty seconds":       {Input{Pods: grace(30), Deadline: after(30)}, "Evict a 28s, look at 15"},
		"such a hook, half of it over":   {Input{Pods: grace(30), Started: after(-15), Deadline: after(15)}, "Delete a 13s, look at 135"},
		"known only after the deadline":  {Input{Pods: grace(30), Deadline: after(-1)}, "Delete a, look at 120"},
		"a day, an hour of grace":        {Input{Pods: grace(3600), Deadline: after(86400)}, "Evict a, look at 82800"},
		"a maintenance has begun":        {Input{Pods: grace(60), BudgetsUntil: after(120)}, "Evict a, look at 120"},
		"it lasts":                       {Input{Pods: grace(60), Started: after(-120), BudgetsUntil: start}, "Delete a, look at 120"},
		"it lasts, then spot":            {Input{Pods: grace(60), Started: after(-30), BudgetsUntil: after(90), Deadline: after(120)}, "Evict a, look at 60"},
		"it lasts, with a far deadline":  {Input{Pods: grace(60), Started: after(-30), BudgetsUntil: after(90), Deadline: after(1200)}, "Evict a, look at 90"},
		"it lasts, as long as a timeout": {Input{Pods: grace(60), Started: after(-240), BudgetsUntil: after(-120)}, "timed out"},
		"it lasts, they never are":       {Input{Pods: grace(60), Started: after(-130), BudgetsUntil: after(-10), Drain: &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}}, "Evict a, look at 110"},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now, test.in.Blockers = start, blockedBy(BlockedByBudget, "a")
			plan := NewPlan(test.in)
			if got := describe(plan, start); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func selector(key, value string) *v1alpha1.LabelSelector {
	return &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)}}
}

func TestNewPlanCountsAndNames(t *testing.T) {
	pods := []Pod{
		newPod("free"), newPod("held"), newPod("going", terminating(start, 30)),
		newPod("later", priority(2_000_000_000)), newPod("mirror", func(p *Pod) { p.Mirror = true }),
	}
	in := Input{Pods: pods, Now: start, Blockers: blockedBy(BlockedByBudget, "held", "going")}
	plan := NewPlan(in)
	if diff := cmp.Diff(Counts{Remaining: 4, Terminating: 1, Blocked: 1, Waiting: 1}, plan.Counts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]v1alpha1.BlockedPod{blockedPod("held", "says no", 0)}, plan.Blocked); diff != "" {
		t.Error(diff)
	}

	in.Started, in.Blocked = after(-120), []v1alpha1.BlockedPod{blockedPod("held", "said no", -100)}
	plan = NewPlan(in)
	want := []v1alpha1.BlockedPod{
		blockedPod("free", "could not be evicted yet", 0),
		blockedPod("going", "is still shutting down", 0),
		blockedPod("held", "says no", -100),
		blockedPod("later", "waits for the wave before it", 0),
	}
	if diff := cmp.Diff(want, plan.Blocked); diff != "" {
		t.Error("timed out:", diff)
	}
}

// Pods that have left are counted once, and only if they had to.
func TestNewPlanCountsGonePods(t *testing.T) {
	finished := func(p *Pod) { p.Finished = true }
	in := Input{
		Now: start, Pods: []Pod{newPod("left-just-now"), newPod("has-finished", finished)},
		Gone:  []Pod{newPod("left"), newPod("left-just-now"), newPod("has-finished"), newPod("skipped", labelled("app", "skipped"))},
		Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: selector("app", "skipped")}}},
	}
	plan := NewPlan(in)
	if diff := cmp.Diff(Counts{Gone: 2, Remaining: 1}, plan.Counts); diff != "" {
		t.Error(diff)
	}
	in.Pods = nil
	plan = NewPlan(in)
	if diff := cmp.Diff(Counts{Gone: 3}, plan.Counts); diff != "" || !plan.Done {
		t.Error("all are gone:", diff)
	}
}

// blockedPod returns the status of a pod that is blocked since so many seconds after start.
func blockedPod(name, reason string, since int) v1alpha1.BlockedPod {
	return v1alpha1.BlockedPod{Namespace: "default", Name: name, Reason: reason, StartTime: &metav1.Time{Time: after(since)}}
}

// A pod whose eviction is being tried again, or was accepted a moment ago, has no blocker, and is
// not known to be terminating either.
func TestNewPlanKeepsBlockedUntilEvicted(t *testing.T) {
	in := Input{Now: start, Pods: []Pod{newPod("free"), newPod("again"), newPod("going", terminating(start, 30)), newPod("skipped", labelled("app", "skipped"))},
		Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: selector("app", "skipped")}}}}
	for i, name := range []string{"again", "going", "gone", "skipped"} {
		in.Blocked = append(in.Blocked, blockedPod(name, "said no", -10-i))
	}
	plan := NewPlan(in)
	if diff := cmp.Diff([]v1alpha1.BlockedPod{in.Blocked[0]}, plan.Blocked); diff != "" || plan.Counts.Blocked != 1 {
		t.Error("blocked:", diff, plan.Counts.Blocked)
	}
	if diff := cmp.Diff(in.Blocked[1:], plan.Unblocked); diff != "" {
		t.Error("not blocked any more:", diff)
	}
	in.Pods = nil
	if plan = NewPlan(in); !plan.Done || plan.Blocked != nil {
		t.Error("all are gone:", plan)
	}
	if diff := cmp.Diff(in.Blocked, plan.Unblocked); diff != "" {
		t.Error("not blocked any more when all are gone:", diff)
	}
}

func TestNewPlanNamesTenAtMost(t *testing.T) {
	in := Input{Now: start, Blockers: map[types.UID]Blocker{}}
	for i := range 30 {
		pod := newPod(fmt.Sprintf("pod-%02d", 29-i))
		in.Pods = append(in.Pods, pod)
		in.Blockers[pod.UID] = Blocker{Kind: BlockedByBudget, Reason: "says no"}
	}
	plan := NewPlan(in)
	if len(plan.Blocked) != maxBlocked || plan.Blocked[0].Name != "pod-00" || plan.Blocked[9].Name != "pod-09" {
		t.Errorf("not the first ten by name: %v", plan.Blocked)
	}
	if plan.Counts.Blocked != 30 {
		t.Errorf("%d blocked", plan.Counts.Blocked)
	}
}

// A rule that cannot be read, of a policy stored before the API server refused it, keeps no pod
// from being evicted; the others hold.
func TestNewPlanOfASkipRuleThatCannotBeRead(t *testing.T) {
	in := Input{Pods: []Pod{newPod("a"), newPod("b", inNamespace("fine"))}, Now: start, Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{
		{PodSelector: selector("app", "my app")}, {Namespaces: []string{"default"}, PodSelector: selector("no key", "x")}, {Namespaces: []string{"fine"}},
	}}}
	plan := NewPlan(in)
	if len(plan.Actions) != 1 || plan.Actions[0].Pod.Name != "a" || plan.Counts.Remaining != 1 {
		t.Errorf("planned %+v, want a evicted", plan)
	}
}
