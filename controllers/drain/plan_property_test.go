// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// randomInput returns a random drain.
func randomInput(r *rand.Rand) Input {
	in := Input{Now: start, Started: after(-r.IntN(200)), Blockers: map[types.UID]Blocker{}}
	if r.IntN(2) == 0 {
		in.Deadline = after(r.IntN(400) - 100)
	}
	if r.IntN(3) == 0 {
		in.BudgetsUntil = after(r.IntN(400) - 200)
	}
	if r.IntN(2) == 0 {
		in.Earliest = in.Started.Add(-time.Duration(r.IntN(100)) * time.Second)
	}
	if r.IntN(3) == 0 {
		in.Own = own
	}
	in.NodeDead = r.IntN(5) == 0
	in.ShuttingDown = !in.Deadline.IsZero() && r.IntN(5) == 0
	kinds := []BlockerKind{BlockedByBudget, BlockedByServer, BlockedByTimeout, BlockedByNamespace}
	priorities := []int32{-5, 0, 9, 10, 500, 2_000_000_000}
	chance := func(f func(*Pod)) func(*Pod) {
		if r.IntN(6) != 0 {
			return func(*Pod) {}
		}
		return f
	}
	for i := range r.IntN(12) {
		pod := newPod(fmt.Sprintf("pod-%d", i), priority(priorities[r.IntN(len(priorities))]),
			chance(func(p *Pod) { p.Mirror = true }), chance(func(p *Pod) { p.DaemonSet = true }),
			chance(func(p *Pod) { p.Finished = true }), chance(inNamespace("skipped")),
			chance(labelled("app", "skipped")), chance(labelled("app", "own")), chance(preferring(Preferences(1<<r.IntN(7)-1))),
			chance(preferring(1<<r.IntN(6))), chance(terminating(after(-r.IntN(100)), int64(r.IntN(400)))))
		pod.GracePeriodSeconds = int64(r.IntN(300))
		if r.IntN(3) == 0 {
			in.Blockers[pod.UID] = Blocker{Kind: kinds[r.IntN(len(kinds))], Reason: "says no"}
		}
		if r.IntN(4) == 0 {
			in.Blocked = append(in.Blocked, v1alpha1.BlockedPod{Namespace: pod.Namespace, Name: pod.Name, Reason: "said no"})
		}
		in.Pods = append(in.Pods, pod)
	}
	if r.IntN(4) == 0 {
		return in
	}
	in.Drain = &v1alpha1.DrainSpec{
		Skip: []v1alpha1.PodRule{{Namespaces: []string{"skipped"}}, {PodSelector: selector("app", "skipped")}},
	}
	maybe := func(n int) *int32 {
		if r.IntN(2) == 0 {
			return nil
		}
		return ptr.To(int32(1 + r.IntN(n)))
	}
	in.Drain.TimeoutSeconds, in.Drain.PodGracePeriodSeconds = maybe(300), maybe(300)
	if r.IntN(2) == 0 {
		in.Drain.Waves = []v1alpha1.Wave{
			{PriorityBelow: ptr.To[int32](0), ReserveSeconds: maybe(200)},
			{PriorityBelow: ptr.To[int32](10), ReserveSeconds: maybe(200)},
			{ReserveSeconds: maybe(200)},
		}
	}
	if r.IntN(2) == 0 {
		in.Drain.BlockedPods = &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}
	} else if r.IntN(2) == 0 {
		in.Drain.BlockedPods = &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: maybe(200)}
	}
	if r.IntN(3) == 0 {
		in.Drain.PodAnnotations = v1alpha1.PodAnnotationsIgnore
	}
	return in
}

// What holds for every drain.
func TestNewPlanProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3_000 {
		in := randomInput(r)
		before := fmt.Sprintf("%+v", in)
		plan := NewPlan(in)
		if problem := violates(in, plan); problem != "" {
			t.Fatalf("input %d: %s\ninput %+v\ndrain %+v\nplan %+v", i, problem, in, in.Drain, plan)
		}
		if fmt.Sprintf("%+v", in) != before {
			t.Fatal("the input was changed")
		}
		r.Shuffle(len(in.Pods), func(i, j int) { in.Pods[i], in.Pods[j] = in.Pods[j], in.Pods[i] })
		again := NewPlan(in)
		if diff := cmp.Diff(plan, again); diff != "" {
			t.Fatal("the order of the pods matters:", diff)
		}
	}
}

// preferences returns the preferences of a pod, if the policy honors them.
func preferences(in Input, pod Pod) Preferences {
	if !in.Drain.HonorsPodAnnotations() {
		return 0
	}
	return pod.Preferences
}

// stays reports whether a pod is not to be evicted at all.
func stays(in Input, pod Pod) bool {
	skipped := in.Drain != nil && (pod.Namespace == "skipped" || pod.Labels["app"] == "skipped")
	return pod.Mirror || pod.DaemonSet || pod.Finished || skipped || preferences(in, pod)&PreferSkip != 0
}

// kept reports whether a pod must not be evicted now, as its annotations ask.
func kept(in Input, pod Pod) bool {
	return !in.NodeDead && !passesBudgets(in, pod) && preferences(in, pod)&(PreferCompletion|PreferNoDisruption|PreferNoEviction) != 0
}

// passesBudgets reports whether it is time to delete a pod that is blocked.
func passesBudgets(in Input, pod Pod) bool {
	switch {
	case in.Drain != nil && in.Drain.BlockedPods != nil && in.Drain.BlockedPods.Action == v1alpha1.BlockedWait:
		return false
	case in.ShuttingDown, !in.BudgetsUntil.IsZero() && !in.Now.Before(in.BudgetsUntil):
		return true
	case in.Deadline.IsZero():
		return false
	}
	left := in.Deadline.Sub(in.Now)
	if in.Drain != nil && in.Drain.BlockedPods != nil && in.Drain.BlockedPods.BeforeSeconds != nil {
		return left <= time.Duration(*in.Drain.BlockedPods.BeforeSeconds)*time.Second
	}
	grace := pod.GracePeriodSeconds
	if in.Drain != nil && in.Drain.PodGracePeriodSeconds != nil {
		grace = int64(*in.Drain.PodGracePeriodSeconds)
	}
	notice := in.Deadline.Sub(in.Started)
	if !in.Earliest.IsZero() {
		notice = in.Deadline.Sub(in.Earliest)
	}
	return left <= 0 || left <= notice/2 && left <= time.Duration(max(30, grace))*time.Second
}

// rank orders pods: one of a higher rank is never evicted before one of a lower.
func rank(in Input, pod Pod) int64 {
	switch {
	case in.Own != nil && own(pod):
		return 1 << 42
	case preferences(in, pod)&PreferLast != 0:
		return 1 << 41
	}
	return int64(pod.Priority)
}

// reserveHasCome reports whether it is the time for the last wave and all after it.
func reserveHasCome(in Input) bool {
	waves := in.Drain.WaveList()
	return in.NodeDead || in.ShuttingDown || !in.BudgetsUntil.IsZero() && !in.Now.Before(in.BudgetsUntil) || (!in.Deadline.IsZero() && !in.Now.Before(in.Deadline.Add(-waves[len(waves)-1].Reserve())))
}

func violates(in Input, plan Plan) string {
	hard := !in.Deadline.IsZero()
	ahead := in.Now.Before(in.Deadline)
	if !plan.NextLook.IsZero() && !plan.NextLook.After(in.Now) {
		return "NextLook is not in the future"
	}
	acted := map[string]Action{}
	for _, action := range plan.Actions {
		pod := action.Pod
		acted[pod.Name] = action
		blocker, blocked := in.Blockers[pod.UID]
		grace := action.graceAt(in.Now)
		switch {
		case stays(in, pod):
			return "acts on a pod that stays: " + pod.Name
		case kept(in, pod) && !pod.Terminating():
			return "acts on a pod that its annotation keeps: " + pod.Name
		case !action.Deadline.Equal(in.Deadline):
			return "another deadline than the drain's"
		case action.Method == Delete && !pod.Terminating() && blocker.Kind != BlockedByNamespace && !passesBudgets(in, pod):
			return "deletes past a budget before its time"
		case action.Method == Evict && blocked && passesBudgets(in, pod):
			return "goes on to evict although it is time to delete"
		case action.Method == Delete && !pod.Terminating() && !blocked:
			return "deletes a pod that nothing blocks"
		case pod.Terminating() && in.ShuttingDown && !in.NodeDead:
			return "shortens what terminates, by an estimate"
		case pod.Terminating() && !ahead && !in.NodeDead:
			return "shortens what terminates after the deadline"
		case !ahead && !in.NodeDead && grace != nil && *grace != int64(*in.Drain.PodGracePeriodSeconds):
			return "not its own grace without a deadline ahead"
		case pod.Terminating() && *grace >= pod.DeletionGracePeriodSeconds:
			return "deletes a terminating pod again for nothing"
		case ahead && grace != nil && *grace > 1 && in.Now.Add(time.Duration(*grace)*time.Second).After(in.Deadline):
			return "grace past the deadline"
		case grace != nil && *grace < 1:
			return "no time for a SIGTERM"
		case grace == nil && ahead && pod.GracePeriodSeconds > 1 && in.Now.Add(time.Duration(pod.GracePeriodSeconds)*time.Second).After(in.Deadline):
			return "the pod's own grace is past the deadline"
		}
	}
	var counts Counts
	keptPods := 0 // they are blocked, or wait for their wave
	for _, pod := range in.Pods {
		if stays(in, pod) {
			continue
		}
		counts.Remaining++
		_, acts := acted[pod.Name]
		_, blocked := in.Blockers[pod.UID]
		was := in.wasBlocked(&pod) != nil
		unblocked := slices.ContainsFunc(plan.Unblocked, func(b v1alpha1.BlockedPod) bool { return b.Namespace == pod.Namespace && b.Name == pod.Name })
		if unblocked != (was && pod.Terminating()) {
			return "a pod ceases to be blocked when it is evicted, and not before: " + pod.Name
		}
		for _, other := range acted {
			if rank(in, other.Pod) >= 1<<41 && rank(in, other.Pod) > rank(in, pod) && !other.Pod.Terminating() && !reserveHasCome(in) {
				return "is last of all, and yet evicted before another: " + other.Pod.Name
			}
		}
		switch {
		case pod.Terminating():
			counts.Terminating++
			if in.NodeDead && !in.Now.Before(pod.DeletionTimestamp.Add(5*time.Second)) {
				counts.Lost++
			}
		case plan.TimedOut:
			counts.Blocked, counts.Waiting = plan.Counts.Blocked, plan.Counts.Waiting
		case kept(in, pod):
			keptPods++
		case acts && (blocked || was):
			counts.Blocked++
		case !acts && reserveHasCome(in):
			return "is not evicted although the time for all has come: " + pod.Name
		case !acts:
			counts.Waiting++
			for _, other := range acted {
				if !other.Pod.Terminating() && rank(in, other.Pod) > rank(in, pod) {
					return "a later wave is evicted before an earlier one"
				}
			}
		}
	}
	over := plan.TimedOut || plan.Done
	waitingKept := plan.Counts.Waiting - counts.Waiting
	counts.Waiting, counts.Blocked = counts.Waiting+waitingKept, counts.Blocked+keptPods-waitingKept
	switch {
	case counts != plan.Counts || waitingKept < 0 || waitingKept > keptPods:
		return fmt.Sprintf("counted %+v", counts)
	case waitingKept > 0 && reserveHasCome(in):
		return "a pod that is kept waits for its wave although it has come"
	case plan.Done != (counts.Remaining == 0):
		return "done is wrong"
	case plan.Lost != (counts.Lost > 0 && counts.Lost == counts.Remaining):
		return "lost is wrong"
	case plan.TimedOut && len(plan.Actions) > 0:
		return "acts after it timed out"
	case over != plan.NextLook.IsZero():
		return "looks again although it is over, or never again although it is not"
	case !over && len(acted) == 0 && counts.Terminating+counts.Blocked == 0:
		return "nothing is done and nothing awaited"
	case plan.TimedOut && (ahead || in.Now.Before(in.BudgetsUntil)):
		return "gives up before the deadline, or before budgets are passed"
	case hard && !over && !ahead && counts.Waiting > 0:
		return "a wave waits past the deadline"
	case !over && !plan.Lost && len(plan.Blocked) != min(counts.Blocked, maxBlocked):
		return "does not name what is blocked"
	case (plan.TimedOut || plan.Lost) && len(plan.Blocked) != min(counts.Remaining, maxBlocked):
		return "is over, and does not name what is left"
	}
	return ""
}

// Whatever the plan does at NextLook, nothing changes by time alone before it.
func TestNewPlanNextLook(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	shape := func(in Input, now time.Time) string {
		in.Now = now
		plan := NewPlan(in)
		words := []string{fmt.Sprint(plan.TimedOut, plan.Done, plan.Lost, plan.Counts)}
		for _, action := range plan.Actions {
			if !action.Pod.Terminating() {
				words = append(words, string(action.Method)+" "+action.Pod.Name)
			}
		}
		return strings.Join(words, ",")
	}
	for range 3_000 {
		in := randomInput(r)
		plan := NewPlan(in)
		if plan.NextLook.IsZero() {
			continue
		}
		if before := plan.NextLook.Add(-time.Nanosecond); shape(in, in.Now) != shape(in, before) {
			t.Fatalf("changes before NextLook:\n%s\n%s", shape(in, in.Now), shape(in, before))
		}
	}
}
