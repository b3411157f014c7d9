// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"maps"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// askAgainAfter is when a pod is told to go once more that the API server said
// it had told, and that has not begun to go.
const askAgainAfter = 30 * time.Second

// queue decides which pod is told to go next. It sends nothing and reads no
// clock; the Executor does both, and locks it.
type queue struct {
	items   map[string]map[types.UID]*item // by owner
	gates   map[gateKey]*gate
	budgets budgets
	// inFlight requests are at most limit, which is max unless the API server is
	// overloaded or away.
	inFlight, limit, max int
	// apart is how many of them are for pods that were refused for their own sake.
	// They may hang again, and get a quarter at most.
	apart       int
	pausedUntil time.Time
	arrivals    uint64
	// changed are the owners whose refusals are others than before.
	changed map[string]struct{}
	jitter  func(time.Duration) time.Duration
}

type state int

const (
	stateWaiting state = iota
	stateSending
	stateTold
)

// item is a pod on its way to being told to go.
type item struct {
	owner   string
	action  Action
	arrival uint64
	state   state
	// gate is where it waits, or has passed while it is being sent.
	gate *gate
	// sent is the action as it was last sent, and told when it was successful.
	sent Action
	told time.Time
	// alone: it was refused for its own sake, and is tried by itself.
	alone bool
	// deleted is the kind of blocker that the plan answered with a Delete; it
	// stays in force, or the next plan would go back to Evict.
	deleted *Blocker
	// dropped: it was called off while it was being sent.
	dropped bool
}

func newQueue(limit int) *queue {
	return &queue{
		items:   map[string]map[types.UID]*item{},
		gates:   map[gateKey]*gate{},
		budgets: budgets{},
		limit:   limit,
		max:     limit,
		changed: map[string]struct{}{},
		jitter:  func(d time.Duration) time.Duration { return wait.Jitter(d, 0.2) },
	}
}

// set replaces what is wanted for an owner.
func (q *queue) set(owner string, actions []Action, now time.Time) {
	old := q.items[owner]
	items := make(map[types.UID]*item, len(actions))
	for _, action := range actions {
		it := old[action.Pod.UID]
		if it == nil {
			q.arrivals++
			it = &item{owner: owner, action: action, arrival: q.arrivals}
			q.enqueue(it)
			q.note(it, nil)
		} else {
			delete(old, action.Pod.UID)
			blocker := it.blocker()
			q.update(it, action, now)
			q.note(it, blocker)
		}
		items[action.Pod.UID] = it
	}
	for uid, it := range old {
		switch it.state {
		case stateWaiting:
			q.leave(it)
		case stateSending:
			// The request cannot be taken back. Should the pod be wanted again in the
			// meantime, it must not be sent twice.
			it.dropped = true
			items[uid] = it
		}
	}
	if len(items) == 0 {
		delete(q.items, owner)
		return
	}
	q.items[owner] = items
}

// update gives an item the action that is wanted now.
func (q *queue) update(it *item, action Action, now time.Time) {
	it.dropped = false
	before, blocker := it.action, it.blocker()
	moves := it.state == stateWaiting && !sameTurn(&before, &action)
	if moves {
		q.leave(it)
	}
	it.action = action
	switch {
	case action.Method == Evict:
		it.deleted = nil
		if before.Pod.Pending != action.Pod.Pending || before.Pod.Ready != action.Pod.Ready {
			it.alone = false
		}
	case before.Method == Evict:
		it.deleted, it.alone = blocker, false
	}
	toldLater := it.state == stateTold && (it.hurries(now) || now.Sub(it.told) >= askAgainAfter)
	if moves || toldLater {
		q.enqueue(it)
	}
}

// sameTurn is whether two actions for one pod wait at the same place.
func sameTurn(a, b *Action) bool {
	return a.Method == b.Method && a.Deadline.Equal(b.Deadline) &&
		a.Pod.Pending == b.Pod.Pending && a.Pod.Ready == b.Pod.Ready && maps.Equal(a.Pod.Labels, b.Pod.Labels)
}

// refusals are the pods of an owner that were not told to go so far, and why.
func (q *queue) refusals(owner string) map[types.UID]Blocker {
	refusals := map[types.UID]Blocker{}
	for uid, it := range q.items[owner] {
		if blocker := it.blocker(); blocker != nil && !it.dropped {
			refusals[uid] = *blocker
		}
	}
	return refusals
}

// enqueue puts an item at the gate where it belongs.
func (q *queue) enqueue(it *item) {
	it.state = stateWaiting
	key, budgets := q.gateOf(it)
	it.gate = q.gates[key]
	if it.gate == nil {
		it.gate = &gate{key: key}
		q.gates[key] = it.gate
	}
	it.gate.budgets = budgets
	it.gate.add(it)
}

// gateOf is where an item belongs. Budgets do not keep pods that are deleted, or
// that have not run yet.
func (q *queue) gateOf(it *item) (gateKey, []*budget) {
	pod := &it.action.Pod
	if it.alone {
		return gateKey{pod: pod.UID}, nil
	}
	key := gateKey{namespace: pod.Namespace}
	if it.action.Method == Delete || pod.Pending {
		return key, nil
	}
	budgets := q.budgets.of(pod)
	key.ready = pod.Ready && len(budgets) > 0
	for _, budget := range budgets {
		key.budgets += budget.name + "," // not in any name
	}
	return key, budgets
}

// leave takes a waiting item away from its gate.
func (q *queue) leave(it *item) {
	it.gate.remove(it)
	q.closeDown(it.gate)
}

// closeDown removes a gate that nobody is left at.
func (q *queue) closeDown(g *gate) {
	if len(g.waiting) == 0 && g.inFlight == 0 {
		delete(q.gates, g.key)
	}
}

// next takes the item with the nearest deadline of all that may be sent now. If
// there is none, it says when there will be by the passing of time alone; zero:
// never.
func (q *queue) next(now time.Time) (*item, time.Time) {
	if q.inFlight >= q.limit {
		return nil, time.Time{}
	}
	if now.Before(q.pausedUntil) {
		return nil, q.pausedUntil
	}
	var best *gate
	var until time.Time
	for _, g := range q.gates {
		if len(g.waiting) == 0 {
			continue
		}
		if g.backoff == 0 && g.inFlight == 0 {
			q.heed(g, now)
		}
		if now.Before(g.closedUntil) {
			if until.IsZero() || g.closedUntil.Before(until) {
				until = g.closedUntil
			}
			continue
		}
		if g.key.pod != "" && q.apart >= max(1, q.limit/4) {
			continue
		}
		if g.room() > 0 && (best == nil || inOrder(g.waiting[0], best.waiting[0]) < 0) {
			best = g
		}
	}
	if best == nil {
		return nil, until
	}
	it := best.waiting[0]
	best.remove(it)
	it.state, it.sent = stateSending, it.action
	q.fly(best, 1)
	return it, time.Time{}
}

// fly counts the requests in flight.
func (q *queue) fly(g *gate, change int) {
	q.inFlight += change
	g.inFlight += change
	if g.key.pod != "" {
		q.apart += change
	}
}

// heed closes a gate whose pods would all be refused. The change of its budget
// opens it again; that it is tried after a long while is for changes that were missed.
func (q *queue) heed(g *gate, now time.Time) {
	if reason := g.forbids(); reason != "" {
		g.close(now, lastBackoff, q.jitter)
		q.refuse(g, newBlocker(BlockedByBudget, reason))
	}
}

// refuse says why a gate is closed, nil that it is not any more.
func (q *queue) refuse(g *gate, blocker *Blocker) {
	before := g.blocker
	g.blocker = blocker
	if same(before, blocker) {
		return
	}
	for _, it := range g.waiting {
		q.changed[it.owner] = struct{}{}
	}
}

// note wakes an item's owner if what keeps it is something else than before.
func (q *queue) note(it *item, before *Blocker) {
	if !same(before, it.blocker()) {
		q.changed[it.owner] = struct{}{}
	}
}

// setBudget takes note of a budget as it is now.
func (q *queue) setBudget(pdb *policyv1.PodDisruptionBudget, now time.Time) {
	budget, selects := q.budgets.set(pdb)
	if selects {
		q.regroup(pdb.Namespace)
	}
	for _, g := range q.gates {
		if len(g.budgets) != 1 || g.budgets[0] != budget || g.backoff == 0 {
			continue
		}
		if reason := g.forbids(); reason == "" {
			// One may try; the blocker stands until it has passed.
			g.backoff, g.closedUntil = laggingBackoff, time.Time{}
		} else if g.inFlight == 0 {
			q.heed(g, now)
		}
	}
}

// removeBudget forgets a budget.
func (q *queue) removeBudget(namespace, name string) {
	if q.budgets.remove(namespace, name) != nil {
		q.regroup(namespace)
	}
}

// regroup sends the waiting items of a namespace to the gates where they belong now.
func (q *queue) regroup(namespace string) {
	for _, items := range q.items {
		for _, it := range items {
			if it.action.Pod.Namespace != namespace || it.state != stateWaiting {
				continue
			}
			blocker := it.blocker()
			it.alone = false
			q.leave(it)
			q.enqueue(it)
			q.note(it, blocker)
		}
	}
}

// blocker is why an item is still waiting; nil: it was told to go, or its turn
// has just not come.
func (it *item) blocker() *Blocker {
	switch {
	case it.state == stateTold || it.gate == nil:
		return nil
	case it.deleted == nil:
		return it.gate.blocker
	case it.gate.blocker != nil:
		return newBlocker(it.deleted.Kind, it.gate.blocker.Reason)
	}
	return it.deleted
}
