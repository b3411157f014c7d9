// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestQueueDeletesWhatIsBlocked(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 0)
	web := newPod("web", labelled("app", "web"))
	q.want("a", by(after(60), evict(web)))
	q.expect()
	blockers := q.blockers("a")

	q.want("a", by(after(60), []Action{{Pod: web, Method: Delete}}))
	if diff := cmp.Diff(blockers, q.blockers("a")); diff != "" {
		t.Error("the next plan would evict again:", diff)
	}
	try := q.expect("web")
	if diff := cmp.Diff(blockers, q.blockers("a")); diff != "" {
		t.Error("the next plan would evict again:", diff)
	}
	q.answer(try, refused, "forbidden")
	q.expectBlockers("a", "web: Budget: forbidden")
	q.passes()
	q.answer(q.expect("web"), deleted, "")
	q.expectBlockers("a")

	// The deletion is watched later: plans made before still want it.
	q.want("a", by(after(60), []Action{{Pod: web, Method: Delete}}))
	q.expect()
	q.want("a", by(after(60), evict(web)))
	q.expect()
}

// The plan may go over to Delete while the eviction is on its way.
func TestQueueDeletesWhatIsInFlight(t *testing.T) {
	q := newQueueTest(t)
	web := newPod("web", labelled("app", "web"))
	q.want("a", evict(web))
	try := q.expect("web")
	q.want("a", []Action{{Pod: web, Method: Delete}})
	q.expect()
	q.answer(try, namespaceTerminating, "is being terminated")
	if it := q.sent(); len(it) != 0 {
		t.Fatal("its own backoff was not kept")
	}
	q.passes()
	if it := q.expect("web"); it[0].sent.Method != Delete {
		t.Errorf("sent %s", it[0].sent.Method)
	}
}

func TestQueueEvictsOnce(t *testing.T) {
	q := newQueueTest(t)
	pod := newPod("pod")
	q.want("a", by(after(100), evict(pod)))
	q.answer(q.expect("pod"), evicted, "")
	q.want("a", by(after(100), evict(pod)))
	q.expect()
	q.want("a", by(after(200), evict(pod)))
	q.expect()
	q.want("a", by(after(60), evict(pod))) // nearer, but its thirty seconds end before
	q.expect()
	q.want("a", by(after(20), evict(pod)))
	try := q.expect("pod")
	q.want("a", by(after(10), evict(pod))) // while it is sent
	q.expect()
	q.answer(try, evicted, "")
	q.answer(q.expect("pod"), gone, "")
	q.want("a", by(after(10), evict(pod)))
	q.expect()

	q.now = q.now.Add(time.Hour)
	q.want("a", by(after(10), evict(pod)))
	q.expect()
}

// A plan may be made before the watch has received the pod.
func TestQueueAbsentPod(t *testing.T) {
	q := newQueueTest(t)
	pod := newPod("pod")
	q.want("a", evict(pod))
	q.answer(q.expect("pod"), absent, "")
	q.expect()
	q.want("a", evict(pod))
	q.expect("pod")
}

func TestQueueCancel(t *testing.T) {
	q := newQueueTest(t)
	q.limiter = newLimiter(2, 2)
	pods := manyPods("pod", 4)
	q.want("a", evict(pods...))
	two := q.expect("pod-00", "pod-01")
	q.want("a", nil)
	q.expectBlockers("a")

	// Wanted again while it is still being sent: not sent twice.
	q.want("a", evict(pods[0]))
	q.expect()
	q.answer(two, evicted, "")
	q.expect()
	q.want("a", nil)
	q.expectNothingLeft()

	// What fails after it was called off is not tried again.
	q.want("b", evict(pods...))
	two = q.expect("pod-00", "pod-01")
	q.want("b", nil)
	q.answer(two[:1], timeout, "no answer")
	q.answer(two[1:], unreachable, "no connection")
	q.expectNothingLeft()
	q.now = q.now.Add(time.Hour)
	q.expect()
}

// Whatever the answers are, every pod is evicted in the end, no bound is passed,
// and nothing is left over.
func TestQueueRandomAnswers(t *testing.T) {
	q := newQueueTest(t)
	q.limiter = newLimiter(1, 10)
	outcomes := []outcome{evicted, evicted, evicted, blocked, lagging, timeout, conflict, refused, failed, throttled, unreachable, gone}
	allowed := map[string]int32{"app-0": 3, "app-1": 2, "app-2": 1, "app-3": 7}
	wanted := map[string][]Pod{}
	for i := range 8 {
		owner := fmt.Sprintf("node-%d", i)
		for j := range 20 {
			wanted[owner] = append(wanted[owner], newPod(fmt.Sprintf("%s-%02d", owner, j), labelled("app", fmt.Sprintf("app-%d", j%5))))
		}
		q.want(owner, by(after(100*i), evict(wanted[owner]...)))
	}
	for name, n := range allowed {
		q.budget(name, n)
	}
	done := map[types.UID]int{}
	var inFlight []*item
	for step := 0; len(done) < 160; step++ {
		if step > 100_000 {
			t.Fatalf("only %d pods are evicted", len(done))
		}
		inFlight = append(inFlight, q.sent()...)
		if len(inFlight) > 10 || len(inFlight) != q.inFlight {
			t.Fatalf("%d in flight, counted %d", len(inFlight), q.inFlight)
		}
		perApp := map[string]int{}
		for _, it := range inFlight {
			perApp[it.group.key.budgets]++
		}
		for budgets, n := range perApp {
			if limit := int(allowed[strings.TrimSuffix(budgets, ",")]); budgets != "" && n > min(limit, perBudget) {
				t.Fatalf("%d in flight under %s", n, budgets)
			}
		}
		if len(inFlight) == 0 {
			q.passes()
			continue
		}
		i := step * 7 % len(inFlight)
		it := inFlight[i]
		inFlight = slices.Delete(inFlight, i, i+1)
		outcome := outcomes[(step/3+i)%len(outcomes)]
		if outcome == evicted || outcome == gone {
			if done[it.sent.Pod.UID]++; done[it.sent.Pod.UID] > 1 {
				t.Fatalf("%s was evicted twice", it.sent.Pod.Name)
			}
		}
		q.answer([]*item{it}, outcome, "answer")
		if step%17 == 0 {
			owner := fmt.Sprintf("node-%d", step%8)
			left := slices.DeleteFunc(slices.Clone(wanted[owner]), func(p Pod) bool { return done[p.UID] > 0 })
			q.want(owner, by(after(100*(step%8)), evict(left...))) // as reconcilers do
		}
	}
	for owner := range wanted {
		q.expectBlockers(owner)
		q.want(owner, nil)
	}
	q.expectNothingLeft()
}
