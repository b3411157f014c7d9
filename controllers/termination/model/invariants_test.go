// SPDX-License-Identifier: Apache-2.0

package model

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// overTime is how long after the evidence that everything is over something of ours may
	// still be on a node.
	overTime = 30 * time.Minute
	// lastMoment is how long before a deadline the pods have to be going, noticeTime how long
	// before that everything has to have been as it is.
	lastMoment, noticeTime = 5 * time.Second, 90 * time.Second
)

// check looks at the world after the manager has done what it wanted.
func (w *world) check() {
	for _, m := range w.machines {
		w.judge(m)
		if node := m.node(); node != nil {
			w.checkCordoned(m)
			w.checkClean(m)
			w.checkDrained(m)
		}
	}
}

// inForce reports whether a statement has to be acted on.
func (s *statement) inForce() bool { return !s.cancelled && !s.doubtful && !s.void && !s.unknown }

// checkCordoned holds that the node is unschedulable while something is in force.
func (w *world) checkCordoned(m *machine) {
	if m.node().Spec.Unschedulable || w.suspended || !w.governed(m) {
		return
	}
	for _, s := range w.delivered {
		action, one := w.actionFor(s.kind)
		if s.instance == m.id && s.inForce() && one && action != v1alpha1.ActionIgnore {
			w.fail("the node is schedulable, and %s of %s is in force", s.kind, s.time.Format(time.RFC3339))
		}
	}
}

// checkClean holds that nothing of ours is on the node once everything is long over.
func (w *world) checkClean(m *machine) {
	node := m.node()
	if _, applied := node.Annotations[v1alpha1.AnnotationApplied]; !applied || w.suspended || !w.governed(m) {
		return
	}
	var last *statement
	for _, s := range w.delivered {
		if s.instance != m.id || s.void && !s.unknown {
			continue
		}
		if s.unknown || s.ended.IsZero() || w.now.Before(s.ended.Add(overTime)) {
			return
		}
		last = s
	}
	if last == nil {
		w.fail("the node is not restored, and nothing is in force")
		return
	}
	w.fail("the node is not restored, and everything is over, such as %s since %s", last.kind, last.ended.Format(time.RFC3339))
}

// checkDrained holds that the pods are going before a deadline.
func (w *world) checkDrained(m *machine) {
	steady := w.now.Add(-noticeTime)
	if w.suspended || !w.governed(m) || w.policiesSince.After(steady) || w.managerSince.After(steady) || w.suspendedSince.After(steady) || m.since.After(steady) {
		return
	}
	for _, s := range w.delivered {
		action, one := w.actionFor(s.kind)
		if s.instance != m.id || !s.inForce() || !one || action != v1alpha1.ActionCordonAndDrain || s.deadline.IsZero() ||
			s.delivered.After(steady) || s.kind == v1alpha1.InstanceStateChange {
			continue
		}
		if until := s.deadline.Sub(w.now); until <= 0 || until > lastMoment {
			continue
		}
		for _, pod := range w.pods.toEvict(m) {
			if !pod.blocked && !pod.Terminating() && !pod.since.After(steady) {
				w.fail("%s is not evicted %s before the deadline of %s", pod.Name, s.deadline.Sub(w.now), s.kind)
			}
		}
	}
}

// evicted holds that nothing is evicted unless something may be in force that drains.
func (w *world) evicted(instance string, pod *pod) {
	w.logf("  evict %s", pod.Name)
	for _, s := range w.delivered {
		over := s.cancelled || !s.ended.IsZero() && !w.now.Before(s.ended.Add(overTime)) || s.void
		if s.instance == instance && (!over || s.unknown) && w.mayDrain(s.kind) {
			return
		}
	}
	w.fail("%s is evicted, and nothing is in force that drains", pod.Name)
}

// mayDrain reports whether any policy drains for a kind.
func (w *world) mayDrain(kind v1alpha1.EventKind) bool {
	for i := range w.api.policies {
		if p := &w.api.policies[i]; p.Spec.Mode != v1alpha1.ModeDryRun && actionOf(p, kind) == v1alpha1.ActionCordonAndDrain {
			return true
		}
	}
	return false
}

// completed holds that no hook is completed before its deadline with pods running.
func (w *world) completed(m *machine, wait *wait) {
	w.logf("  complete hook %s", wait.hook)
	if w.suspended {
		w.fail("hook %s is completed in spite of the suspension", wait.hook)
	}
	deadline := wait.since.Add(min(wait.timeout, wait.global))
	if pods := w.pods.toEvict(m); len(pods) > 0 && w.now.Before(deadline) {
		w.fail("hook %s is completed %s before its deadline, and %s runs", wait.hook, deadline.Sub(w.now), pods[0].Name)
	}
}
