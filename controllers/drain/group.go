// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"container/heap"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// perBudget is how many evictions under one budget are in flight at a time.
	// Each writes the budget's status, and the API server retries conflicts only
	// every 500 ms: more at a time take longer for all.
	perBudget = 4

	// firstBackoff is how long a group is closed after its first blocker; it doubles up to lastBackoff.
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	// laggingBackoff is the first while the budget "is still being processed",
	// which is usually over in no time. It is reported from laggingReport on.
	laggingBackoff = 250 * time.Millisecond
	laggingReport  = 2 * time.Second
)

type state int

const (
	stateWaiting state = iota
	stateInFlight
	stateEvicted
)

// item is a pod that has to be evicted or deleted.
type item struct {
	owner   string
	action  Action
	arrival uint64
	state   state
	// group is where it waits, or waited before it was sent, and place which of those that wait it is.
	group *group
	place int
	// number is that of the request that was sent last.
	number uint64
	// sent is the action as it was last sent, and evictedAt when it succeeded.
	sent      Action
	evictedAt time.Time
	// marked: it was tried to give the pod the condition DisruptionTarget. Only send
	// reads and writes it.
	marked bool
	// isolated: its own eviction failed, and it is tried by itself.
	isolated bool
	// ignored: its eviction was accepted, and it was not terminating all the same.
	ignored *Blocker
	// deleted is the blocker that the plan answered with a Delete; it
	// stays in force, or the next plan would go back to Evict.
	deleted *Blocker
	// cancelled while it was in flight.
	cancelled bool
}

// blocker returns why an item is still waiting, or was evicted in vain; nil: it was
// evicted, or just has not been sent yet.
func (it *item) blocker() *Blocker {
	switch {
	case it.state == stateEvicted || it.group == nil:
		return it.ignored
	case it.deleted != nil && it.group.blocker != nil:
		return newBlocker(it.deleted.Kind, it.group.blocker.Reason)
	case it.deleted != nil:
		return it.deleted
	case it.group.blocker != nil:
		return it.group.blocker
	}
	return it.ignored
}

// hasLessTime reports whether a pod that was evicted has less time now: a deadline that
// is nearer than before is no reason to evict it again if it ends before that anyway.
func (it *item) hasLessTime(now time.Time) bool {
	return nearer(it.action.Deadline, it.sent.Deadline) && it.action.Given(now) < it.sent.Given(it.evictedAt)
}

// compareItems orders items by deadline, and those with the same so that pods with volumes go first, whose
// volumes are to be detached before the instance is gone; then by arrival: no two are equal.
func compareItems(a, b *item) int {
	switch {
	case nearer(a.action.Deadline, b.action.Deadline):
		return -1
	case nearer(b.action.Deadline, a.action.Deadline):
		return 1
	case !a.action.Deadline.IsZero() && a.hasVolumes() != b.hasVolumes():
		if a.hasVolumes() {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.arrival, b.arrival)
}

// hasVolumes reports whether the pod uses volumes that may have to be detached.
func (it *item) hasVolumes() bool { return len(it.action.Pod.Claims) > 0 }

// nearer reports whether deadline a is before b; zero is no deadline.
func nearer(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// groupKey identifies the pods that are refused together.
type groupKey struct {
	namespace string
	// budgets are their names, joined. Empty: pods of the namespace that no budget keeps.
	budgets string
	// ready: budgets may allow the eviction of pods that are not ready and forbid that of those that are.
	ready bool
	// pod is set for a pod that is isolated.
	pod types.UID
}

// group holds the pods that the API server would refuse for the same reason, and
// releases them nearest deadline first. A blocker closes it for a while; then one
// pod tries, and the others follow if that succeeds.
type group struct {
	key      groupKey
	budgets  []*budget
	waiting  itemHeap
	inFlight int
	// heap is where the group waits for its turn, nil if it is in none, and place where in it.
	heap  *groupHeap
	place int
	// touched: next has yet to see where it belongs.
	touched bool
	// backoff is how long it was last closed for; zero: the last request succeeded.
	backoff     time.Duration
	closedUntil time.Time
	// limit is how many may be in flight since requests timed out. Zero: any number.
	limit int
	// blocker is why it is closed. Nil: it is not, or that need not be reported.
	blocker *Blocker
}

// add lets an item wait in the group.
func (g *group) add(it *item) {
	heap.Push(&g.waiting, it)
}

// remove takes a waiting item away.
func (g *group) remove(it *item) {
	heap.Remove(&g.waiting, it.place)
}

// blockReason returns why the API server would refuse all pods of the group, by what is
// known of its budgets; empty if it might not.
func (g *group) blockReason() string {
	switch len(g.budgets) {
	case 0:
		return ""
	case 1:
		return g.budgets[0].blockReason(g.key.ready)
	}
	names := make([]string, len(g.budgets))
	for i, budget := range g.budgets {
		names[i] = budget.namespace + "/" + budget.name
	}
	return "budgets " + strings.Join(names, ", ") + ": the eviction API refuses pods that more than one budget selects"
}

// room returns how many more pods may be sent now, if it is not closed.
func (g *group) room() int {
	switch {
	case g.backoff > 0:
		return 1 - g.inFlight
	case len(g.budgets) == 0 && g.limit > 0:
		return g.limit - g.inFlight
	case len(g.budgets) == 0:
		return len(g.waiting)
	}
	limit := perBudget
	switch b := g.budgets[0]; {
	case !b.observed():
		limit = 1
	case g.key.ready:
		limit = min(limit, int(b.status.DisruptionsAllowed))
	}
	return limit - g.inFlight
}

// close keeps the group closed for at least first, longer each time.
func (g *group) close(now time.Time, first time.Duration, jitter func(time.Duration) time.Duration) {
	g.backoff = min(max(first, 2*g.backoff), lastBackoff)
	g.closedUntil = now.Add(jitter(g.backoff))
}

// onTimeout halves the requests in flight: those of one namespace may all time out, behind
// a webhook, and must not take up all that the Executor has.
func (g *group) onTimeout() {
	if g.limit == 0 {
		g.limit = g.inFlight + 1
	}
	g.limit = max(1, g.limit/2)
}

// onSuccess undoes onTimeout, step by step, until as many as most are allowed.
func (g *group) onSuccess(most int) {
	if g.limit == 0 {
		return
	}
	if g.limit++; g.limit >= most {
		g.limit = 0
	}
}
