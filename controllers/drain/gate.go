// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// perBudget is how many evictions under one budget are in flight at a time.
	// Each writes the budget's status, and the API server retries conflicts only
	// every 500 ms: more at a time take longer for all.
	perBudget = 4

	// firstBackoff is how long a gate is closed after its first blocker; it doubles up to lastBackoff.
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	// laggingBackoff is the first while the budget "is still being processed",
	// which is usually over in no time. It is worth a word from laggingReport on.
	laggingBackoff = 250 * time.Millisecond
	laggingReport  = 2 * time.Second
)

// gateKey names the pods that are refused together.
type gateKey struct {
	namespace string
	// budgets are their names, joined. Empty: pods of the namespace that no budget keeps.
	budgets string
	// ready: budgets may let pods go that are not ready and keep those that are.
	ready bool
	// pod is set for a pod that was refused for its own sake.
	pod types.UID
}

// gate lets the pods that wait at it pass, nearest deadline first. A blocker
// closes it for a while; then one pod tries, and the others follow if it passes.
type gate struct {
	key      gateKey
	budgets  []*budget
	waiting  []*item // in order
	inFlight int
	// backoff is how long it was last closed for; zero: the last pod passed.
	backoff     time.Duration
	closedUntil time.Time
	// slow is how many may be in flight since requests hung. Zero: any number.
	slow int
	// blocker is why it is closed. Nil: it is not, or that is nothing to speak of.
	blocker *Blocker
}

// forbids says why the API server would refuse all pods at the gate, by what is
// known of its budgets; empty if it might not.
func (g *gate) forbids() string {
	switch len(g.budgets) {
	case 0:
		return ""
	case 1:
		return g.budgets[0].forbids(g.key.ready)
	}
	names := make([]string, len(g.budgets))
	for i, budget := range g.budgets {
		names[i] = budget.namespace + "/" + budget.name
	}
	return "budgets " + strings.Join(names, ", ") + ": the eviction API refuses pods that more than one budget selects"
}

// room is how many more pods may pass now, if it is not closed.
func (g *gate) room() int {
	switch {
	case g.backoff > 0:
		return 1 - g.inFlight
	case len(g.budgets) == 0 && g.slow > 0:
		return g.slow - g.inFlight
	case len(g.budgets) == 0:
		return len(g.waiting)
	}
	limit := perBudget
	switch b := g.budgets[0]; {
	case !b.current():
		limit = 1
	case g.key.ready:
		limit = min(limit, int(b.status.DisruptionsAllowed))
	}
	return limit - g.inFlight
}

// close keeps the gate shut for at least first, longer each time.
func (g *gate) close(now time.Time, first time.Duration, jitter func(time.Duration) time.Duration) {
	g.backoff = min(max(first, 2*g.backoff), lastBackoff)
	g.closedUntil = now.Add(jitter(g.backoff))
}

// hung halves the requests in flight: those of one namespace may all hang, behind
// a webhook, and are not to take up all that the Executor has.
func (g *gate) hung() {
	if g.slow == 0 {
		g.slow = g.inFlight + 1
	}
	g.slow = max(1, g.slow/2)
}

// went undoes hung, step by step.
func (g *gate) went(limit int) {
	if g.slow == 0 {
		return
	}
	if g.slow++; g.slow >= limit {
		g.slow = 0
	}
}

// add lets an item wait at the gate.
func (g *gate) add(it *item) {
	place, _ := slices.BinarySearchFunc(g.waiting, it, inOrder)
	g.waiting = slices.Insert(g.waiting, place, it)
}

// remove takes a waiting item away.
func (g *gate) remove(it *item) {
	if place, waits := slices.BinarySearchFunc(g.waiting, it, inOrder); waits {
		g.waiting = slices.Delete(g.waiting, place, place+1)
	}
}

// inOrder compares items by deadline and then arrival: no two are equal.
func inOrder(a, b *item) int {
	switch {
	case nearer(a.action.Deadline, b.action.Deadline):
		return -1
	case nearer(b.action.Deadline, a.action.Deadline):
		return 1
	}
	return cmp.Compare(a.arrival, b.arrival)
}

// nearer is whether deadline a is before b; zero is no deadline.
func nearer(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}
