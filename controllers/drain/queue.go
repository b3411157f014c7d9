// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"maps"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
)

// queue decides which pod is evicted next. It sends nothing and reads no
// clock; the Executor does both, and locks it.
type queue struct {
	items   map[string]map[types.UID]*item // by owner
	groups  map[groupKey]*group
	budgets budgets
	// Groups with waiting items are in ready if one may be sent, in isolated if it may and is
	// an isolated pod, and in closed until they open. Those in touched were changed since next
	// saw where they belong, and are in no heap.
	ready, isolated, closed *groupHeap
	touched                 []*group
	// regrouped are the namespaces whose items may belong to other groups, which next sees to: there
	// can be many budgets at once.
	regrouped map[string]struct{}
	// inFlight requests are at most as many as the limiter says.
	inFlight int
	limiter  *limiter
	// isolatedInFlight is how many of them are for isolated pods.
	// They may time out again, and get a quarter at most.
	isolatedInFlight int
	pausedUntil      time.Time
	arrivals         uint64
	// accepted are the evictions whose pods have yet to be seen to terminate, as they are due.
	accepted []acceptance
	// changed are the owners whose blockers are others than before.
	changed map[string]struct{}
	jitter  func(time.Duration) time.Duration
}

func newQueue(limiter *limiter) *queue {
	return &queue{
		items:     map[string]map[types.UID]*item{},
		groups:    map[groupKey]*group{},
		budgets:   budgets{},
		ready:     newReadyGroups(),
		isolated:  newReadyGroups(),
		closed:    newClosedGroups(),
		regrouped: map[string]struct{}{},
		limiter:   limiter,
		changed:   map[string]struct{}{},
		jitter:    func(d time.Duration) time.Duration { return wait.Jitter(d, 0.2) },
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
			q.noteChange(it, nil)
		} else {
			delete(old, action.Pod.UID)
			blocker := it.blocker()
			q.update(it, action, now)
			q.noteChange(it, blocker)
		}
		items[action.Pod.UID] = it
	}
	for uid, it := range old {
		switch it.state {
		case stateWaiting:
			q.dequeue(it)
		case stateInFlight:
			// The request cannot be taken back. Should the pod be wanted again in the
			// meantime, it must not be sent twice.
			it.cancelled = true
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
	it.cancelled = false
	before, blocker := it.action, it.blocker()
	moves := it.state == stateWaiting && !samePlace(&before, &action)
	if moves {
		q.dequeue(it)
	}
	it.action = action
	switch {
	case action.Method == Evict:
		it.deleted = nil
		if before.Pod.Pending != action.Pod.Pending || before.Pod.Ready != action.Pod.Ready {
			it.isolated = false
		}
	case before.Method == Evict:
		it.deleted, it.isolated = blocker, false
	}
	inVain := it.evictedAt.IsZero() || it.ignored != nil && before.Method == Evict && action.Method == Delete
	if moves || it.state == stateEvicted && (inVain || it.hasLessTime(now)) {
		q.enqueue(it)
	}
}

// samePlace reports whether two actions for one pod wait at the same place.
func samePlace(a, b *Action) bool {
	return a.Method == b.Method && a.Deadline.Equal(b.Deadline) &&
		a.Pod.Pending == b.Pod.Pending && a.Pod.Ready == b.Pod.Ready && maps.Equal(a.Pod.Labels, b.Pod.Labels)
}

// blockers returns the pods of an owner that could not be evicted so far, and why.
func (q *queue) blockers(owner string) map[types.UID]Blocker {
	blockers := map[types.UID]Blocker{}
	for uid, it := range q.items[owner] {
		if blocker := it.blocker(); blocker != nil && !it.cancelled {
			blockers[uid] = *blocker
		}
	}
	return blockers
}

// enqueue adds an item to the group where it belongs.
func (q *queue) enqueue(it *item) {
	it.state = stateWaiting
	key, budgets := q.groupOf(it)
	it.group = q.groups[key]
	if it.group == nil {
		it.group = &group{key: key}
		q.groups[key] = it.group
	}
	q.touch(it.group)
	it.group.budgets = budgets
	it.group.add(it)
}

// groupOf returns where an item belongs. Budgets do not keep pods that are deleted, or
// that have not run yet.
func (q *queue) groupOf(it *item) (groupKey, []*budget) {
	pod := &it.action.Pod
	if it.isolated {
		return groupKey{pod: pod.UID}, nil
	}
	key := groupKey{namespace: pod.Namespace}
	if it.action.Method == Delete || pod.Pending {
		return key, nil
	}
	budgets := q.budgets.selecting(pod)
	key.ready = pod.Ready && len(budgets) > 0
	key.budgets = budgetsKey(budgets)
	return key, budgets
}

// budgetsKey returns the names of budgets in one string.
func budgetsKey(budgets []*budget) string {
	var key strings.Builder
	for _, budget := range budgets {
		key.WriteString(budget.name)
		key.WriteByte(',') // not in any name
	}
	return key.String()
}

// dequeue takes a waiting item away from its group.
func (q *queue) dequeue(it *item) {
	q.touch(it.group)
	it.group.remove(it)
	q.removeIfEmpty(it.group)
}

// removeIfEmpty removes a group that has no item left.
func (q *queue) removeIfEmpty(g *group) {
	if len(g.waiting) == 0 && g.inFlight == 0 {
		delete(q.groups, g.key)
	}
}

// next takes the item with the nearest deadline of all that may be sent now. If
// there is none, it returns when there will be by the passing of time alone; zero:
// never.
func (q *queue) next(now time.Time) (*item, time.Time) {
	if q.inFlight >= q.limiter.limit {
		return nil, time.Time{}
	}
	if now.Before(q.pausedUntil) {
		return nil, q.pausedUntil
	}
	q.regroup()
	q.placeTouched(now)
	best := q.ready.first()
	if g := q.isolated.first(); g != nil && q.isolatedInFlight < max(1, q.limiter.limit/4) && (best == nil || q.ready.before(g, best)) {
		best = g
	}
	if best == nil {
		q.limiter.onIdle()
		if g := q.closed.first(); g != nil {
			return nil, g.closedUntil
		}
		return nil, time.Time{}
	}
	q.touch(best)
	it := best.waiting[0]
	best.remove(it)
	it.state, it.sent, it.number = stateInFlight, it.action, q.limiter.onSend()
	q.addInFlight(best, 1)
	return it, time.Time{}
}

// touch takes a group out of its heap until next sees where it belongs. It is called before anything of a
// group changes.
func (q *queue) touch(g *group) {
	if g.heap != nil {
		g.heap.remove(g)
	}
	if !g.touched {
		g.touched = true
		q.touched = append(q.touched, g)
	}
}

// placeTouched puts the groups that were changed, and those that were closed until now, where they belong.
func (q *queue) placeTouched(now time.Time) {
	for g := q.closed.first(); g != nil && !now.Before(g.closedUntil); g = q.closed.first() {
		q.touch(g)
	}
	for _, g := range q.touched {
		g.touched = false
		q.place(g, now)
	}
	clear(q.touched)
	q.touched = q.touched[:0]
}

// place adds a group to the heap where it belongs. One without room belongs to none until it is touched.
func (q *queue) place(g *group, now time.Time) {
	if len(g.waiting) == 0 {
		return
	}
	if g.backoff == 0 && g.inFlight == 0 {
		q.closeIfBlocked(g, now)
	}
	switch {
	case now.Before(g.closedUntil):
		q.closed.add(g)
	case g.room() <= 0:
	case g.key.pod != "":
		q.isolated.add(g)
	default:
		q.ready.add(g)
	}
}

// addInFlight counts the requests in flight.
func (q *queue) addInFlight(g *group, change int) {
	q.inFlight += change
	g.inFlight += change
	if g.key.pod != "" {
		q.isolatedInFlight += change
	}
}

// closeIfBlocked closes a group whose pods would all be refused. The change of its budget
// opens it again; that it is tried after a long while is for changes that were missed.
func (q *queue) closeIfBlocked(g *group, now time.Time) {
	if reason := g.blockReason(); reason != "" {
		g.close(now, lastBackoff, q.jitter)
		q.setBlocker(g, newBlocker(BlockedByBudget, reason))
	}
}

// setBlocker records why a group is closed, nil that it is not any more.
func (q *queue) setBlocker(g *group, blocker *Blocker) {
	before := g.blocker
	g.blocker = blocker
	if ptr.Equal(before, blocker) {
		return
	}
	for _, it := range g.waiting {
		q.changed[it.owner] = struct{}{}
	}
}

// noteChange records an item's owner as changed if the item's blocker is another than before.
func (q *queue) noteChange(it *item, before *Blocker) {
	if !ptr.Equal(before, it.blocker()) {
		q.changed[it.owner] = struct{}{}
	}
}

// setBudget records a budget as it is now.
func (q *queue) setBudget(pdb *policyv1.PodDisruptionBudget, now time.Time) {
	known, selects := q.budgets.set(pdb)
	if selects {
		q.regrouped[pdb.Namespace] = struct{}{}
	}
	for _, ready := range []bool{true, false} {
		g := q.groups[groupKey{namespace: pdb.Namespace, budgets: budgetsKey([]*budget{known}), ready: ready}]
		if g == nil {
			continue
		}
		q.touch(g)
		if g.backoff == 0 {
			continue
		}
		if reason := g.blockReason(); reason == "" {
			// One may try; the blocker stands until that has succeeded.
			g.backoff, g.closedUntil = laggingBackoff, time.Time{}
		} else if g.inFlight == 0 {
			q.closeIfBlocked(g, now)
		}
	}
}

// removeBudget forgets a budget.
func (q *queue) removeBudget(namespace, name string) {
	if q.budgets.remove(namespace, name) != nil {
		q.regrouped[namespace] = struct{}{}
	}
}

// regroup moves the waiting items of namespaces whose budgets have changed to the groups where they belong now.
func (q *queue) regroup() {
	if len(q.regrouped) == 0 {
		return
	}
	for _, items := range q.items {
		for _, it := range items {
			if _, changed := q.regrouped[it.action.Pod.Namespace]; !changed || it.state != stateWaiting {
				continue
			}
			blocker := it.blocker()
			it.isolated = false
			q.dequeue(it)
			q.enqueue(it)
			q.noteChange(it, blocker)
		}
	}
	clear(q.regrouped)
}
