// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"strings"
	"time"
)

const (
	// shortestPause and longestPause bound how long nothing is sent after the API
	// server asked to slow down, or could not be reached.
	shortestPause = time.Second
	longestPause  = 10 * time.Second
)

// finish takes note of what became of an item that next gave out.
func (q *queue) finish(it *item, answer response, now time.Time) {
	g, blocker := it.gate, it.blocker()
	q.fly(g, -1)
	switch answer.outcome {
	case evicted, deleted:
		q.limit = min(q.max, q.limit+1)
		g.went(q.max)
		q.pass(g)
		q.tell(it, now)
	case gone:
		q.tell(it, now)
	case absent:
		q.tell(it, time.Time{}) // the next plan that wants it knows better
	case throttled, unreachable:
		q.pause(now, answer.retryAfter)
		q.enqueue(it)
	case blocked:
		q.block(it, answer.reason, now)
	case lagging:
		q.lag(it, answer.reason, now)
	case namespaceTerminating:
		q.setApart(it, newBlocker(BlockedByNamespace, answer.reason), firstBackoff, now)
	case timeout, conflict:
		g.hung()
		q.setApart(it, newBlocker(BlockedByTimeout, answer.reason), firstBackoff, now)
	case failed:
		// What the API server says when several budgets select a pod has no name.
		if reason := g.forbids(); reason != "" && len(g.budgets) > 1 {
			q.block(it, reason, now)
			break
		}
		fallthrough
	default:
		q.setApart(it, newBlocker(BlockedByServer, answer.reason), firstBackoff, now)
	}
	if it.dropped {
		q.forget(it)
	} else if it.state == stateWaiting {
		q.note(it, blocker)
	}
	q.closeDown(g)
}

// tell marks an item as told to go. If it is to be gone sooner since it was sent,
// it is sent again.
func (q *queue) tell(it *item, now time.Time) {
	it.state, it.told, it.alone, it.deleted = stateTold, now, false, nil
	if it.hurries(now) {
		q.enqueue(it)
	}
}

// hurries is whether a pod that was told to go has less time now: a deadline that
// has come nearer is no reason to tell it again if it ends before that anyway.
func (it *item) hurries(now time.Time) bool {
	return nearer(it.action.Deadline, it.sent.Deadline) && it.action.Given(now) < it.sent.Given(it.told)
}

// forget removes an item that was called off while it was being sent.
func (q *queue) forget(it *item) {
	if it.state == stateWaiting {
		q.leave(it)
	}
	delete(q.items[it.owner], it.action.Pod.UID)
	if len(q.items[it.owner]) == 0 {
		delete(q.items, it.owner)
	}
}

// pass lets the others follow an item that has passed a gate.
func (q *queue) pass(g *gate) {
	if g.backoff == 0 {
		return
	}
	g.backoff, g.closedUntil = 0, time.Time{}
	if g.forbids() == "" {
		q.refuse(g, nil) // else next closes it again at once
	}
}

// block closes the gate of an item that a budget keeps.
func (q *queue) block(it *item, reason string, now time.Time) {
	if len(it.gate.budgets) == 0 {
		q.blockUnknown(it, reason, firstBackoff, now)
		return
	}
	g := it.gate
	if len(g.budgets) == 1 {
		b := g.budgets[0]
		reason = b.String() + ": " + strings.TrimPrefix(reason, "The disruption budget "+b.name+" ")
	}
	first := firstBackoff
	if known := g.forbids(); known != "" {
		// The change of the budget will be seen, and until then it is of no use to ask.
		first, reason = lastBackoff, known
	}
	g.close(now, first, q.jitter)
	q.refuse(g, newBlocker(BlockedByBudget, reason))
	q.enqueue(it)
}

// lag closes the gate of an item for as long as its budget's controller needs to catch up.
func (q *queue) lag(it *item, reason string, now time.Time) {
	if len(it.gate.budgets) == 0 {
		q.blockUnknown(it, reason, laggingBackoff, now)
		return
	}
	it.gate.close(now, laggingBackoff, q.jitter)
	if it.gate.backoff >= laggingReport {
		q.refuse(it.gate, newBlocker(BlockedByBudget, reason))
	}
	q.enqueue(it)
}

// blockUnknown is for an item at a gate without a budget that is blocked by one
// all the same: it was set apart and belongs to its budget's gate again, or the
// budget is too new to be known.
func (q *queue) blockUnknown(it *item, reason string, first time.Duration, now time.Time) {
	it.alone = false
	if key, _ := q.gateOf(it); key.budgets != "" {
		q.enqueue(it)
		return
	}
	q.setApart(it, newBlocker(BlockedByBudget, reason), first, now)
}

// setApart gives an item a gate of its own, so that it does not hold up others.
func (q *queue) setApart(it *item, blocker *Blocker, first time.Duration, now time.Time) {
	it.alone = true
	q.enqueue(it)
	it.gate.close(now, first, q.jitter)
	q.refuse(it.gate, blocker)
}

// pause holds everything back for a while. Other requests that are in flight
// now may fail for the same reason, which is none to slow down even more.
func (q *queue) pause(now time.Time, d time.Duration) {
	if now.Before(q.pausedUntil) {
		return
	}
	q.pausedUntil = now.Add(min(max(d, shortestPause), longestPause))
	q.limit = max(1, q.limit/2)
}
