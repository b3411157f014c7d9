// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestQueueBlocked(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 5)
	q.want("a", evict(manyPods("web", 9, labelled("app", "web"))...))
	q.want("b", evict(newPod("web-of-b", labelled("app", "web"))))
	four := q.expect("web-00", "web-01", "web-02", "web-03")
	q.expectChanged()

	q.answer(four[:1], evicted, "")
	q.answer(four[1:2], blocked, "The disruption budget web needs 2 healthy pods and has 2 currently")
	q.expectChanged("a", "b")
	q.expectBlockers("b", "web-of-b: Budget: budget default/web: needs 2 healthy pods and has 2 currently")
	q.expect()
	q.answer(four[2:], blocked, "The disruption budget web needs 2 healthy pods and has 2 currently")
	q.expectChanged()

	// New pods join, know why they wait, and hold up nobody.
	q.want("c", append(evict(newPod("web-of-c", labelled("app", "web"))), evict(newPod("free"))...))
	q.expectChanged("c")
	q.answer(q.expect("free"), evicted, "")

	// One tries. What opens the group is its success.
	q.passes()
	probe := q.expect("web-01")
	q.answer(probe, evicted, "")
	q.expectChanged("a", "b", "c")
	q.expectBlockers("b")
	q.answer(q.expect("web-02", "web-03", "web-04", "web-05"), evicted, "")
}

// A request is of no use while the budget's status forbids it.
func TestQueueSendsNothingUnderAnExhaustedBudget(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 0)
	q.want("a", evict(manyPods("web", 3, labelled("app", "web"))...))
	q.expect()
	q.expectChanged("a")
	reason := "Budget: budget default/web: needs 2 healthy pods and has 2 currently"
	q.expectBlockers("a", "web-00: "+reason, "web-01: "+reason, "web-02: "+reason)

	q.budget("web", 0) // nothing new
	q.expect()
	q.expectChanged()

	q.budget("web", 3)
	q.expectChanged() // not before one has passed
	probe := q.expect("web-00")
	q.budget("web", 2)
	q.answer(probe, evicted, "")
	q.expectChanged("a")
	q.expectBlockers("a")
	two := q.expect("web-01", "web-02")
	q.budget("web", 0)
	q.answer(two, evicted, "")
	q.expectChanged()
}

// Blocked for good: an hour costs some hundred requests for a budget, however
// many pods and nodes.
func TestQueueBlockedForGood(t *testing.T) {
	for name, known := range map[string]int32{"known from the budget": 0, "known from the answer": 1} {
		t.Run(name, func(t *testing.T) {
			q := newQueueTest(t)
			q.budget("web", known)
			for i := range 20 {
				owner := fmt.Sprintf("node-%d", i)
				q.want(owner, by(after(7200), evict(manyPods(owner, 30, labelled("app", "web"))...)))
			}
			requests := 0
			for q.now.Before(after(3600)) {
				tries := q.sent()
				q.answer(tries, blocked, "says no")
				requests += len(tries)
				q.passes()
			}
			if requests < 60 || requests > 150 {
				t.Errorf("%d requests in an hour", requests)
			}
			for i := range 20 {
				if n := len(q.blockers(fmt.Sprintf("node-%d", i))); n != 30 {
					t.Errorf("node %d: %d blockers", i, n)
				}
			}
			q.answer(q.sent(), blocked, "says no")
			q.want("node-21", by(after(7300), evict(newPod("free"), newPod("other", labelled("app", "db")))))
			q.expect("free", "other")
		})
	}
}

func TestQueueLaggingBudget(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 1)
	q.want("a", evict(newPod("web", labelled("app", "web"))))
	var waited []time.Duration
	for range 4 {
		q.answer(q.expect("web"), lagging, "is still being processed by the server")
		if len(waited) < 3 {
			q.expectBlockers("a")
		}
		waited = append(waited, q.passes())
	}
	if diff := cmp.Diff([]time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}, waited); diff != "" {
		t.Error(diff)
	}
	q.expectChanged("a")
	q.expectBlockers("a", "web: Budget: is still being processed by the server")
}

// A spec that its controller has not seen is not worth more than one request.
func TestQueueUnobservedBudget(t *testing.T) {
	q := newQueueTest(t)
	budget := newBudget("web", 4)
	budget.Generation = 2
	q.setBudget(budget, q.now)
	q.want("a", evict(manyPods("web", 3, labelled("app", "web"))...))
	q.expect("web-00")
}

func TestQueueSeveralBudgets(t *testing.T) {
	q := newQueueTest(t)
	q.budget("web", 3)
	q.setBudget(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "all", UID: "all", Generation: 1},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}},
		Status:     policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 3},
	}, q.now)
	pods := evict(newPod("web", labelled("app", "web")), newPod("other"))
	q.want("a", pods)
	q.answer(q.expect("other"), evicted, "")
	reason := "web: Budget: budgets default/all, default/web: the eviction API refuses pods that more than one budget selects"
	q.expectBlockers("a", reason)
	q.expectChanged("a")

	// It is tried now and then, should the budgets have changed unseen.
	q.passes()
	q.answer(q.expect("web"), failed, "the API server answered 500")
	q.expectBlockers("a", reason)
	q.expectChanged()

	q.removeBudget("default", "all")
	q.expect("web")
	q.expectChanged("a")
	q.expectBlockers("a")
}

// Policy/v1: nil selects nothing, empty everything; what cannot be read, nothing.
func TestQueueBudgetSelectors(t *testing.T) {
	for name, test := range map[string]struct {
		selector *metav1.LabelSelector
		selects  bool
	}{
		"nil":         {nil, false},
		"empty":       {&metav1.LabelSelector{}, true},
		"other":       {matching("app", "db"), false},
		"same":        {matching("app", "web"), true},
		"not to read": {matching("no key", "x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueueTest(t)
			budget := newBudget("b", 0)
			budget.Spec.Selector = test.selector
			q.setBudget(budget, q.now)
			q.want("a", evict(newPod("web", labelled("app", "web"))))
			if sent := len(q.sent()) == 1; sent == test.selects {
				t.Errorf("sent: %t", sent)
			}
		})
	}
}

func TestQueuePodsThatABudgetDoesNotKeep(t *testing.T) {
	web := labelled("app", "web")
	pending := func(p *Pod) { p.Pending, p.Ready = true, false }
	unready := func(p *Pod) { p.Ready = false }
	q := newQueueTest(t)
	q.budget("web", 0) // as many healthy as there should be
	q.want("a", evict(newPod("ready", web), newPod("pending", web, pending), newPod("unready", web, unready)))
	q.expect("pending", "unready")

	q = newQueueTest(t)
	budget := newBudget("web", 0)
	budget.Status.CurrentHealthy = 1
	q.setBudget(budget, q.now)
	q.want("a", evict(newPod("unready", web, unready)))
	q.expect()
	q.expectBlockers("a", "unready: Budget: budget default/web: needs 2 healthy pods and has 1 currently")

	budget = budget.DeepCopy()
	always := policyv1.AlwaysAllow
	budget.Spec.UnhealthyPodEvictionPolicy, budget.Generation, budget.Status.ObservedGeneration = &always, 2, 2
	q.setBudget(budget, q.now)
	q.expect("unready")

	// A pod that becomes unready may go, while those that are ready wait.
	q = newQueueTest(t)
	q.budget("web", 0)
	q.want("a", evict(newPod("web-1", web), newPod("web-2", web)))
	q.expect()
	q.want("a", evict(newPod("web-1", web, unready), newPod("web-2", web)))
	q.expect("web-1")
}

func TestQueueTheBudgetsStatusCannotBeComputed(t *testing.T) {
	q := newQueueTest(t)
	budget := newBudget("web", 0)
	budget.Status.Conditions = []metav1.Condition{{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "found no controller ref",
	}}
	q.setBudget(budget, q.now)
	q.want("a", evict(newPod("web", labelled("app", "web"))))
	q.expect()
	q.expectBlockers("a", "web: Budget: budget default/web: cannot be computed: found no controller ref")
}

// A budget may be too new to be known when the first pod is refused because of it.
func TestQueueUnknownBudget(t *testing.T) {
	q := newQueueTest(t)
	q.want("a", evict(newPod("web-1", labelled("app", "web")), newPod("web-2", labelled("app", "web"))))
	two := q.expect("web-1", "web-2")
	q.answer(two[:1], blocked, "The disruption budget web needs 2")
	q.expectBlockers("a", "web-1: Budget: The disruption budget web needs 2")
	q.budget("web", 0)
	q.answer(two[1:], blocked, "The disruption budget web needs 2")
	q.expect()
	reason := "Budget: budget default/web: needs 2 healthy pods and has 2 currently"
	q.expectBlockers("a", "web-1: "+reason, "web-2: "+reason)
	q.budget("web", 1)
	q.expect("web-1")
}
