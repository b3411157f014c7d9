// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// assumptions are what a forecast cannot know.
type assumptions struct {
	// kind is that of the event, and notice how long before its deadline it is received.
	kind   v1alpha1.EventKind
	notice time.Duration
	// readyAfter is how long after it was made a pod that replaces another one is ready.
	readyAfter time.Duration
	// now is when the event is received.
	now time.Time
}

// deadline returns when the nodes go away.
func (a *assumptions) deadline() time.Time { return a.now.Add(a.notice) }

// simulation lets the drains of some nodes run through, by drain.NewPlan, in a time of its own: evictions
// are answered as the disruption budgets would, pods take all of their grace period to shut down, and
// those that replace them become ready where there is room.
type simulation struct {
	*assumptions
	budgets *drain.Budgets
	places  *places
	// ready are the ready pods by owner.
	ready  map[string]int
	drains []*nodeDrain
	// due is what happens by itself.
	due []dueChange
	// changedReady is what is to be taken back in ready.
	changedReady map[string]int
}

// nodeDrain is the drain of one node.
type nodeDrain struct {
	node   *node
	input  drain.Input
	starts time.Time
	// left are the pods that have to go and are not gone.
	left []*pod
	// fates are those of the pods that have to go.
	fates map[*pod]*PodForecast
	// drains: its pods are evicted. Else they end with the node.
	drains bool
	// next is when to plan again. stale: at once, as a pod or a budget has changed.
	next  time.Time
	stale bool
}

// dueChange is something that happens at a time: a pod is gone, or its replacement is ready.
type dueChange struct {
	at    time.Time
	drain *nodeDrain
	pod   *pod
	ready bool
}

// run lets all drains run until the deadline.
func (s *simulation) run() {
	for now, more := s.firstTime(); more; now, more = s.nextTime(now) {
		s.apply(now)
		for _, d := range s.drains {
			if d.stale || !d.next.IsZero() && !now.Before(d.next) {
				s.step(d, now)
			}
		}
	}
	for _, d := range s.drains {
		for _, p := range d.left {
			s.remains(d, p)
		}
	}
	for owner, n := range s.changedReady {
		s.ready[owner] -= n
	}
	clear(s.changedReady)
	s.budgets.Reset()
}

// firstTime returns when the first drain starts; false: none does before the deadline.
func (s *simulation) firstTime() (time.Time, bool) {
	for _, d := range s.drains {
		if d.drains {
			d.next = d.starts
		}
	}
	return s.nextTime(s.now.Add(-time.Nanosecond))
}

// nextTime returns when something happens next; false: nothing does before the deadline.
func (s *simulation) nextTime(now time.Time) (time.Time, bool) {
	var next time.Time
	earlier := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, d := range s.drains {
		if d.stale {
			return now, true
		}
		earlier(d.next)
	}
	for i := range s.due {
		earlier(s.due[i].at)
	}
	return next, !next.IsZero() && next.Before(s.deadline())
}

// apply lets happen what is due.
func (s *simulation) apply(now time.Time) {
	waiting := s.due[:0]
	for _, change := range s.due {
		switch {
		case change.at.After(now):
			waiting = append(waiting, change)
		case change.ready:
			s.budgets.Add(&change.pod.Pod)
			s.addReady(change.pod, 1)
			for _, d := range s.drains {
				d.stale = d.stale || len(d.input.Blockers) > 0
			}
		default:
			change.drain.remove(change.pod)
		}
	}
	s.due = waiting
}

// addReady counts a ready pod of an owner.
func (s *simulation) addReady(p *pod, n int) {
	s.ready[p.Owner] += n
	s.changedReady[p.Owner] += n
}

// remove takes away a pod that has shut down.
func (d *nodeDrain) remove(gone *pod) {
	d.stale = d.drains
	for i, p := range d.left {
		if p == gone {
			d.left = append(d.left[:i], d.left[i+1:]...)
			break
		}
	}
}

// step plans one drain and does what the plan says.
func (s *simulation) step(d *nodeDrain, now time.Time) {
	d.stale, d.next = false, time.Time{}
	if now.Before(d.starts) {
		d.next = d.starts
		return
	}
	d.input.Now, d.input.Pods = now, d.input.Pods[:0]
	byUID := make(map[types.UID]*pod, len(d.left))
	for _, p := range d.left {
		d.input.Pods = append(d.input.Pods, p.Pod)
		byUID[p.UID] = p
	}
	plan := drain.NewPlan(d.input)
	for i := range plan.Actions {
		action := &plan.Actions[i]
		s.do(d, byUID[action.Pod.UID], action, now)
	}
	d.noteKept()
	d.next = plan.NextLook
}

// noteKept notes which pods an annotation keeps.
func (d *nodeDrain) noteKept() {
	for _, p := range d.left {
		if p.Terminating() {
			continue
		}
		small := p.Pod
		if !d.input.Drain.HonorsPodAnnotations() {
			small.Preferences = 0
		}
		if why := d.input.Kept(&small); why != "" {
			d.fates[p].add(BlockedByAnnotation, why)
		}
	}
}

// do evicts or deletes a pod as an action says.
func (s *simulation) do(d *nodeDrain, p *pod, action *drain.Action, now time.Time) {
	if action.Method == drain.Evict {
		if blocker := s.budgets.Evict(&p.Pod); blocker != nil {
			d.block(p, *blocker)
			return
		}
	} else if !p.Terminating() {
		s.budgets.Remove(&p.Pod)
	}
	fate := d.fates[p]
	given := action.Given(now)
	if why := action.CutShort(now); why != "" {
		fate.cutShort(action, given, now.Sub(s.now))
	}
	delete(d.input.Blockers, p.UID)
	first := !p.Terminating()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = now.Add(time.Duration(given)*time.Second), given
	fate.evicted(now.Sub(s.now), p.DeletionTimestamp.Sub(s.now), given)
	s.due = append(s.due, dueChange{at: p.DeletionTimestamp, drain: d, pod: p})
	if first {
		s.replace(d, p, now)
	}
}

// block notes that a budget refuses the eviction of a pod.
func (d *nodeDrain) block(p *pod, blocker drain.Blocker) {
	if _, known := d.input.Blockers[p.UID]; !known {
		d.stale = true // it may be time to delete it already, now that it is known to be blocked
	}
	d.input.Blockers[p.UID] = blocker
	d.fates[p].add(BlockedByBudget, blocker.Reason)
}

// replace lets the controller of a pod that was evicted make another one.
func (s *simulation) replace(d *nodeDrain, p *pod, now time.Time) {
	fate := d.fates[p]
	wasReady := p.Ready
	if wasReady {
		s.addReady(p, -1)
		if lacksReplica(p, s.ready) {
			fate.add(OnlyReadyReplica, onlyReplica(p))
		}
	}
	if why := s.findPlace(fate, p); why != "" || p.Owner == "" || !wasReady {
		return
	}
	at := now
	if p.ownerKind == "StatefulSet" {
		at = p.DeletionTimestamp // its name has to be free first
	}
	s.due = append(s.due, dueChange{at: at.Add(s.readyAfter), pod: p, ready: true})
}

// findPlace notes where a pod's replacement goes, if anywhere, and returns why it goes nowhere.
func (s *simulation) findPlace(fate *PodForecast, p *pod) string {
	if p.Owner == "" {
		return ""
	}
	if p.ToleratesCordon {
		fate.add(ComesBack, "tolerates the cordon: its controller may put it back on this node")
	}
	why := s.places.place(p.fit)
	if why != "" {
		fate.add(NowhereToGo, "nowhere to go: "+why)
	}
	return why
}

// lacksReplica reports whether no other pod of the same controller is ready. A Job's pods serve nobody.
func lacksReplica(p *pod, ready map[string]int) bool {
	return p.ownerKind != "Job" && (p.Owner == "" || ready[p.Owner] <= 0)
}

// onlyReplica returns what it means that a pod is the only ready one.
func onlyReplica(p *pod) string {
	if p.Owner == "" {
		return "no controller replaces it"
	}
	return "no other pod of its " + p.ownerKind + " is ready until it is replaced"
}

// remains notes what becomes of a pod that is still there when the node goes away.
func (s *simulation) remains(d *nodeDrain, p *pod) {
	fate := d.fates[p]
	switch {
	case p.Terminating() && !p.DeletionTimestamp.After(s.deadline()):
		return
	case p.Terminating():
		fate.Outcome = CutShort
		fate.Reason = "was terminating already, and is not done before the node goes"
		return
	}
	if !d.drains {
		fate.Outcome = NotDrained
		s.replace(d, p, s.deadline())
		return
	}
	fate.Outcome = Blocked
	fate.Reason = "still there when the node goes"
	if len(fate.Concerns) > 0 {
		fate.Reason += ": " + fate.Concerns[len(fate.Concerns)-1].Message
	}
	s.replace(d, p, s.deadline())
}
