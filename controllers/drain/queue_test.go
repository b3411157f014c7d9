// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// queueTest drives a queue by hand, without a clock and without requests.
type queueTest struct {
	*testing.T
	*queue
	now time.Time
}

func newQueueTest(t *testing.T) *queueTest {
	t.Helper()
	q := newQueue(newLimiter(100, 100))
	q.jitter = func(d time.Duration) time.Duration { return d }
	return &queueTest{T: t, queue: q, now: start}
}

func evict(pods ...Pod) []Action {
	var actions []Action
	for _, pod := range pods {
		actions = append(actions, Action{Pod: pod, Method: Evict})
	}
	return actions
}

func by(deadline time.Time, actions []Action) []Action {
	for i := range actions {
		actions[i].Deadline = deadline
	}
	return actions
}

func manyPods(prefix string, n int, change ...func(*Pod)) []Pod {
	pods := make([]Pod, n)
	for i := range pods {
		pods[i] = newPod(fmt.Sprintf("%s-%02d", prefix, i), change...)
	}
	return pods
}

// want replaces what an owner wants.
func (q *queueTest) want(owner string, actions []Action) { q.set(owner, actions, q.now) }

// budget is as the API server has it: selecting app=name, with allowed disruptions.
func (q *queueTest) budget(name string, allowed int32) {
	q.setBudget(newBudget(name, allowed), q.now)
}

func newBudget(name string, allowed int32) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Generation: 1},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: matching("app", name)},
		Status: policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: 1, DisruptionsAllowed: allowed, DesiredHealthy: 2, CurrentHealthy: 2 + allowed,
		},
	}
}

func matching(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

// sent takes all that may be sent now.
func (q *queueTest) sent() []*item {
	var items []*item
	for {
		it, _ := q.next(q.now)
		if it == nil {
			return items
		}
		items = append(items, it)
	}
}

// expect checks which pods are sent now, and returns them.
func (q *queueTest) expect(names ...string) []*item {
	q.Helper()
	items := q.sent()
	var got []string
	for _, it := range items {
		got = append(got, it.sent.Pod.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		q.Errorf("sent (-want +got):\n%s", diff)
	}
	return items
}

func (q *queueTest) answer(items []*item, outcome outcome, reason string) {
	for _, it := range items {
		q.finish(it, response{outcome: outcome, reason: reason}, q.now)
	}
}

// passes advances the time to when the queue says something may be sent.
func (q *queueTest) passes() time.Duration {
	q.Helper()
	it, next := q.next(q.now)
	if it != nil || next.IsZero() {
		q.Fatalf("there is nothing to wait for: %v", it)
	}
	waited := next.Sub(q.now)
	q.now = next
	return waited
}

func (q *queueTest) expectBlockers(owner string, want ...string) {
	q.Helper()
	var got []string
	for uid, blocker := range q.blockers(owner) {
		got = append(got, fmt.Sprintf("%s: %s: %s", strings.TrimPrefix(string(uid), "uid-"), blocker.Kind, blocker.Reason))
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		q.Errorf("blockers (-want +got):\n%s", diff)
	}
}

// expectChanged checks whose blockers have changed since the last time.
func (q *queueTest) expectChanged(owners ...string) {
	q.Helper()
	if diff := cmp.Diff(owners, slices.Sorted(maps.Keys(q.changed))); diff != "" {
		q.Errorf("changed (-want +got):\n%s", diff)
	}
	clear(q.changed)
}

func (q *queueTest) expectNothingLeft() {
	q.Helper()
	if q.inFlight != 0 || len(q.groups) != 0 || len(q.items) != 0 {
		q.Errorf("left over: %d in flight, %d groups, %d owners", q.inFlight, len(q.groups), len(q.items))
	}
}

func TestQueueNearestDeadlineFirst(t *testing.T) {
	q := newQueueTest(t)
	q.want("soft", evict(newPod("soft-1"), newPod("soft-2")))
	q.want("late", by(after(100), evict(newPod("late"))))
	q.want("near", by(after(10), evict(newPod("near"))))
	q.want("middle", by(after(50), evict(newPod("middle", labelled("app", "web")))))
	q.answer(q.expect("near", "middle", "late", "soft-1", "soft-2"), evicted, "")
	for _, owner := range []string{"soft", "late", "near", "middle"} {
		q.want(owner, nil)
	}
	q.expectNothingLeft()
}

// Volumes have to be detached before the instance is gone; without a deadline there is no hurry.
func TestQueueVolumesFirst(t *testing.T) {
	q := newQueueTest(t)
	claims := func(pod *Pod) { pod.Claims = []string{"data"} }
	q.want("soft", evict(newPod("soft-1"), newPod("soft-2", claims)))
	q.want("later", by(after(20), evict(newPod("later", claims))))
	q.want("hard", by(after(10), evict(newPod("hard-1"), newPod("hard-2", claims), newPod("hard-3"), newPod("hard-4", claims))))
	q.want("same", by(after(10), evict(newPod("same-1"), newPod("same-2", claims, labelled("app", "web")))))
	q.expect("hard-2", "hard-4", "same-2", "hard-1", "hard-3", "same-1", "later", "soft-1", "soft-2")
}

func TestQueueBounds(t *testing.T) {
	q := newQueueTest(t)
	q.limiter = newLimiter(9, 9)
	q.budget("web", 50)
	q.budget("db", 2)
	q.want("a", by(after(1), evict(manyPods("web", 10, labelled("app", "web"))...)))
	q.want("b", by(after(2), evict(manyPods("db", 10, labelled("app", "db"))...)))
	q.want("c", evict(manyPods("free", 10)...))
	first := q.expect("web-00", "web-01", "web-02", "web-03", "db-00", "db-01", "free-00", "free-01", "free-02")
	q.answer(first[:1], evicted, "")
	q.expect("web-04")
	q.answer(first[4:5], evicted, "")
	q.budget("db", 1) // the API server has counted the first two by now, and the replacement of one
	q.expect("free-03")
	q.answer(first[5:6], evicted, "")
	q.expect("db-02")
}

func TestQueueSlowsDown(t *testing.T) {
	for _, outcome := range []outcome{throttled, unreachable} {
		t.Run(string(outcome), func(t *testing.T) {
			q := newQueueTest(t)
			q.limiter = newLimiter(1, 8)
			q.want("a", evict(manyPods("pod", 300)...))
			eight := q.sent()
			for _, it := range eight {
				q.finish(it, response{outcome: outcome, retryAfter: 3 * time.Second}, q.now)
			}
			q.expectBlockers("a")
			if waited := q.passes(); waited != 3*time.Second {
				t.Errorf("waited %s", waited)
			}
			four := q.sent()
			if len(four) != 4 {
				t.Fatalf("%d in flight", len(four))
			}
			q.finish(four[0], response{outcome: outcome, retryAfter: time.Hour}, q.now)
			q.answer(four[1:], evicted, "")
			if waited := q.passes(); waited != longestPause {
				t.Errorf("waited %s", waited)
			}
			most := 0
			for done := 3; done < 300; {
				now := q.sent()
				if len(now) == 0 {
					t.Fatal("nothing is sent any more")
				}
				if most = max(most, len(now)); done == 3 && most > 2 {
					t.Errorf("%d in flight again at once", most)
				}
				q.now = q.now.Add(200 * time.Millisecond)
				q.answer(now, evicted, "")
				done += len(now)
			}
			if most != 8 {
				t.Errorf("at most %d in flight in the end", most)
			}
		})
	}
}

// A pod that is refused for a reason of its own is tried by itself, less and less often.
func TestQueueIsolates(t *testing.T) {
	for outcome, kind := range map[outcome]BlockerKind{
		refused: BlockedByServer, failed: BlockedByServer, timeout: BlockedByTimeout, conflict: BlockedByTimeout,
		namespaceTerminating: BlockedByNamespace,
	} {
		t.Run(string(outcome), func(t *testing.T) {
			q := newQueueTest(t)
			q.budget("web", 50)
			web := manyPods("web", 3, labelled("app", "web"))
			q.want("a", evict(web...))
			three := q.expect("web-00", "web-01", "web-02")
			q.answer(three[:1], outcome, "not this one")
			q.answer(three[1:], evicted, "")
			q.expectBlockers("a", fmt.Sprintf("web-00: %s: not this one", kind))
			var waited time.Duration
			for range 7 {
				waited = q.passes()
				q.answer(q.expect("web-00"), outcome, "not this one")
			}
			if waited != lastBackoff {
				t.Errorf("tried again after %s", waited)
			}
			q.expectChanged("a")
			q.passes()
			q.answer(q.expect("web-00"), evicted, "")
			q.expectBlockers("a")
			q.want("a", nil)
			q.expectNothingLeft()
		})
	}
}

// A webhook that asks to wait slows down its pod, and neither other pods of its budget nor other owners.
func TestQueueWebhookAsksToWait(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 50)
	q.want("a", by(after(7200), evict(manyPods("web", 2, labelled("app", "web"))...)))
	two := q.expect("web-00", "web-01")
	q.finish(two[0], response{outcome: refused, reason: "it moves first", retryAfter: 10 * time.Second}, q.now)
	q.answer(two[1:], evicted, "")
	q.want("b", evict(manyPods("free", 20)...))
	q.want("c", evict(newPod("web-of-c", labelled("app", "web"))))
	if sent := q.sent(); len(sent) != 21 || q.limiter.limit != 100 {
		t.Errorf("%d are sent beside it, limit %d", len(sent), q.limiter.limit)
	}
	q.expectBlockers("a", "web-00: Server: it moves first")
	if waited := q.passes(); waited != 10*time.Second {
		t.Errorf("tried again after %s", waited)
	}
	q.expect("web-00")
}

// A namespace whose evictions hang, as behind a webhook that is away, takes up
// all there is but once.
func TestQueueHangingNamespace(t *testing.T) {
	q := newQueueTest(t)
	q.limiter = newLimiter(16, 16)
	q.want("a", by(after(100), evict(manyPods("hangs", 100)...)))
	hanging := q.sent()
	if len(hanging) != 16 {
		t.Fatalf("%d in flight", len(hanging))
	}
	q.want("b", by(after(200), evict(manyPods("free", 10, inNamespace("other"))...)))
	q.now = q.now.Add(callTimeout)
	q.answer(hanging, timeout, "no answer")
	for range 10 {
		inFlight := q.sent()
		hanging = slices.DeleteFunc(slices.Clone(inFlight), func(it *item) bool { return it.owner == "b" })
		if len(hanging) > 5 {
			t.Errorf("%d hang again", len(hanging))
		}
		for _, it := range inFlight {
			if it.owner == "b" {
				q.answer([]*item{it}, evicted, "")
			}
		}
		q.now = q.now.Add(callTimeout)
		q.answer(hanging, timeout, "no answer")
	}
	if blockers := q.blockers("b"); len(blockers) > 0 || len(q.items["b"]) != 10 {
		t.Error(blockers)
	}
	for _, it := range q.items["b"] {
		if it.state != stateEvicted {
			t.Errorf("%s was held up", it.action.Pod.Name)
		}
	}

	// It recovers by itself.
	for done := 0; done < 100; {
		now := q.sent()
		q.answer(now, evicted, "")
		if done += len(now); len(now) == 0 {
			q.passes()
		}
	}
	if n := len(q.blockers("a")); n > 0 {
		t.Errorf("%d are still blocked", n)
	}
}
