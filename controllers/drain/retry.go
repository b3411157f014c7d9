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

// finish records the answer to the request for an item that next returned, and
// decides whether and when it is tried again.
func (q *queue) finish(it *item, answer response, now time.Time) {
	g, blocker := it.group, it.blocker()
	q.touch(g)
	q.limit(it, answer.outcome, now)
	q.addInFlight(g, -1)
	switch answer.outcome {
	case evicted, deleted:
		g.onSuccess(q.limiter.most)
		q.reopen(g)
		q.markEvicted(it, now)
	case gone:
		q.markEvicted(it, now)
	case absent:
		q.markEvicted(it, time.Time{}) // the next plan that wants it knows better
	case throttled, unreachable:
		q.pause(now, answer.retryAfter)
		q.enqueue(it)
	case blocked:
		q.closeBlocked(it, answer.reason, now)
	case lagging:
		q.closeLagging(it, answer.reason, now)
	case namespaceTerminating:
		q.isolate(it, newBlocker(BlockedByNamespace, answer.reason), firstBackoff, now)
	case timeout, conflict:
		g.onTimeout()
		q.isolate(it, newBlocker(BlockedByTimeout, answer.reason), firstBackoff, now)
	case failed:
		// What the API server answers when several budgets select a pod has no cause of its own.
		if reason := g.blockReason(); reason != "" && len(g.budgets) > 1 {
			q.closeBlocked(it, reason, now)
			break
		}
		fallthrough
	default:
		q.isolate(it, newBlocker(BlockedByServer, answer.reason), max(firstBackoff, answer.retryAfter), now)
	}
	if it.cancelled {
		q.forget(it)
	} else if it.state == stateWaiting {
		q.noteChange(it, blocker)
	}
	q.removeIfEmpty(g)
}

// limit tells the limiter what the answer to a request says about how many should be in flight: nothing
// if it is about the pod or its budget, and neither how long it took if the pod's earlier requests failed.
func (q *queue) limit(it *item, outcome outcome, now time.Time) {
	isolated := it.group.key.pod != ""
	switch {
	case outcome == throttled || outcome == unreachable || outcome == timeout && !isolated:
		q.limiter.onOverload(it.number)
	case (outcome == evicted || outcome == deleted) && !isolated:
		q.limiter.onAnswer(it.number, now)
	}
}

// markEvicted records that an item needs no other request, unless it turns out not to
// terminate. If it has to be gone sooner since it was sent, it is sent again.
func (q *queue) markEvicted(it *item, now time.Time) {
	it.state, it.evictedAt, it.isolated, it.deleted = stateEvicted, now, false, nil
	if it.hasLessTime(now) {
		q.enqueue(it)
	} else if !now.IsZero() {
		q.expectTermination(it, now, now)
	}
}

// forget removes an item that was cancelled while it was in flight.
func (q *queue) forget(it *item) {
	if it.state == stateWaiting {
		q.dequeue(it)
	}
	delete(q.items[it.owner], it.action.Pod.UID)
	if len(q.items[it.owner]) == 0 {
		delete(q.items, it.owner)
	}
}

// reopen lets the others of a group follow an item that succeeded.
func (q *queue) reopen(g *group) {
	if g.backoff == 0 {
		return
	}
	g.backoff, g.closedUntil = 0, time.Time{}
	if g.blockReason() == "" {
		q.setBlocker(g, nil) // else next closes it again at once
	}
}

// closeBlocked closes the group of an item that a budget blocks.
func (q *queue) closeBlocked(it *item, reason string, now time.Time) {
	if len(it.group.budgets) == 0 {
		q.closeUnknown(it, reason, firstBackoff, now)
		return
	}
	g := it.group
	if len(g.budgets) == 1 {
		b := g.budgets[0]
		reason = b.String() + ": " + strings.TrimPrefix(reason, "The disruption budget "+b.name+" ")
	}
	first := firstBackoff
	if known := g.blockReason(); known != "" {
		// The change of the budget will be seen, and until then a request is of no use.
		first, reason = lastBackoff, known
	}
	g.close(now, first, q.jitter)
	q.setBlocker(g, newBlocker(BlockedByBudget, reason))
	q.enqueue(it)
}

// closeLagging closes the group of an item for as long as its budget's controller needs to catch up.
func (q *queue) closeLagging(it *item, reason string, now time.Time) {
	if len(it.group.budgets) == 0 {
		q.closeUnknown(it, reason, laggingBackoff, now)
		return
	}
	it.group.close(now, laggingBackoff, q.jitter)
	if it.group.backoff >= laggingReport {
		q.setBlocker(it.group, newBlocker(BlockedByBudget, reason))
	}
	q.enqueue(it)
}

// closeUnknown handles an item of a group without a budget that is blocked by one
// all the same: it was isolated and belongs to its budget's group again, or the
// budget is too new to be known.
func (q *queue) closeUnknown(it *item, reason string, first time.Duration, now time.Time) {
	it.isolated = false
	if key, _ := q.groupOf(it); key.budgets != "" {
		q.enqueue(it)
		return
	}
	q.isolate(it, newBlocker(BlockedByBudget, reason), first, now)
}

// isolate gives an item a group of its own, so that it does not hold up others.
func (q *queue) isolate(it *item, blocker *Blocker, first time.Duration, now time.Time) {
	it.isolated = true
	q.enqueue(it)
	it.group.close(now, first, q.jitter)
	q.setBlocker(it.group, blocker)
}

// pause sends nothing at all for a while. Other requests that are in flight
// now may fail for the same reason, which is none to pause for longer.
func (q *queue) pause(now time.Time, d time.Duration) {
	if now.Before(q.pausedUntil) {
		return
	}
	q.pausedUntil = now.Add(min(max(d, shortestPause), longestPause))
}
