// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// randomInput is a drain like no other.
func randomInput(r *rand.Rand) Input {
	in := Input{Now: start, Started: after(-r.IntN(200)), Refusals: map[types.UID]Refusal{}}
	if r.IntN(2) == 0 {
		in.Deadline = after(r.IntN(400) - 100)
	}
	kinds := []RefusalKind{RefusedByBudget, RefusedByServer, RefusedByTimeout, RefusedByNamespace}
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
			chance(labelled("app", "skipped")), chance(terminating(after(-r.IntN(100)), int64(r.IntN(400)))))
		pod.GracePeriodSeconds = int64(r.IntN(300))
		if r.IntN(3) == 0 {
			in.Refusals[pod.UID] = Refusal{Kind: kinds[r.IntN(len(kinds))], Reason: "says no"}
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
	}
	return in
}

// What holds for every drain.
func TestMakeProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3_000 {
		in := randomInput(r)
		before := fmt.Sprintf("%+v", in)
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		if problem := violates(in, plan); problem != "" {
			t.Fatalf("input %d: %s\ninput %+v\ndrain %+v\nplan %+v", i, problem, in, in.Drain, plan)
		}
		if fmt.Sprintf("%+v", in) != before {
			t.Fatal("the input was changed")
		}
		r.Shuffle(len(in.Pods), func(i, j int) { in.Pods[i], in.Pods[j] = in.Pods[j], in.Pods[i] })
		again, err := Make(in)
		if diff := cmp.Diff(plan, again); err != nil || diff != "" {
			t.Fatal("the order of the pods matters:", diff)
		}
	}
}

func violates(in Input, plan Plan) string {
	hard := !in.Deadline.IsZero()
	stays := func(p Pod) bool {
		skipped := in.Drain != nil && (p.Namespace == "skipped" || p.Labels["app"] == "skipped")
		return p.Mirror || p.DaemonSet || p.Finished || skipped
	}
	if !plan.NextLook.IsZero() && !plan.NextLook.After(in.Now) {
		return "NextLook is not in the future"
	}
	acted := map[string]Action{}
	for _, action := range plan.Actions {
		pod := action.Pod
		acted[pod.Name] = action
		refusal, refused := in.Refusals[pod.UID]
		grace := action.graceAt(in.Now)
		switch {
		case stays(pod):
			return "acts on a pod that stays: " + pod.Name
		case !action.Deadline.Equal(in.Deadline):
			return "another deadline than the drain's"
		case !hard && action.Verb == Delete && refusal.Kind != RefusedByNamespace:
			return "deletes past a budget without a hard deadline"
		case action.Verb == Delete && !pod.Terminating() && !refused:
			return "deletes a pod that nobody refused"
		case pod.Terminating() && *grace >= pod.DeletionGracePeriodSeconds:
			return "deletes a terminating pod again for nothing"
		case hard && grace != nil && *grace > 1 && in.Now.Add(time.Duration(*grace)*time.Second).After(in.Deadline):
			return "grace past the deadline"
		case grace != nil && *grace < 1:
			return "no time for a SIGTERM"
		case grace == nil && hard && pod.GracePeriodSeconds > 1 && in.Now.Add(time.Duration(pod.GracePeriodSeconds)*time.Second).After(in.Deadline):
			return "the pod's own grace is past the deadline"
		}
	}
	var counts Counts
	for _, pod := range in.Pods {
		if stays(pod) {
			continue
		}
		counts.Remaining++
		_, told := acted[pod.Name]
		_, refused := in.Refusals[pod.UID]
		switch {
		case pod.Terminating():
			counts.Terminating++
		case plan.TimedOut:
			counts.Blocked, counts.Waiting = plan.Counts.Blocked, plan.Counts.Waiting
		case told && refused:
			counts.Blocked++
		case !told:
			counts.Waiting++
			for _, other := range acted {
				if !other.Pod.Terminating() && other.Pod.Priority > pod.Priority {
					return "a later wave goes before an earlier one"
				}
			}
		}
	}
	over := plan.TimedOut || plan.Done
	switch {
	case counts != plan.Counts:
		return fmt.Sprintf("counted %+v", counts)
	case plan.Done != (counts.Remaining == 0):
		return "done is wrong"
	case plan.TimedOut && len(plan.Actions) > 0:
		return "acts after it timed out"
	case over != plan.NextLook.IsZero():
		return "looks again although it is over, or never again although it is not"
	case !over && len(acted) == 0 && counts.Terminating == 0:
		return "nothing is done and nothing awaited"
	case hard && !over && !in.Now.Before(in.Deadline) && counts.Waiting > 0:
		return "a wave waits past the deadline"
	case plan.TimedOut && len(plan.Blocked) != min(counts.Remaining, maxBlocked):
		return "timed out, and does not name what is left"
	}
	return ""
}

// Whatever the plan does at NextLook, nothing changes by time alone before it.
func TestMakeNextLook(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	shape := func(in Input, now time.Time) string {
		in.Now = now
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		words := []string{fmt.Sprint(plan.TimedOut, plan.Done, plan.Counts)}
		for _, action := range plan.Actions {
			if !action.Pod.Terminating() {
				words = append(words, string(action.Verb)+" "+action.Pod.Name)
			}
		}
		return strings.Join(words, ",")
	}
	for range 3_000 {
		in := randomInput(r)
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		if plan.NextLook.IsZero() {
			continue
		}
		if before := plan.NextLook.Add(-time.Nanosecond); shape(in, in.Now) != shape(in, before) {
			t.Fatalf("changes before NextLook:\n%s\n%s", shape(in, in.Now), shape(in, before))
		}
	}
}
