// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
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
	// lastReturn is how long before a deadline a pod has to have come back to be evicted for it.
	lastReturn = 2*time.Minute + 15*time.Second
	// retryTime is how long after a refusal something may not have been tried again.
	retryTime = 10 * time.Second
)

// check looks at the world after the manager has done what it wanted.
func (w *world) check() {
	for _, m := range w.machines {
		if m.drains() {
			m.busy = w.now
		}
	}
	for _, m := range w.machines {
		w.judge(m)
		node := m.node()
		if node == nil {
			continue
		}
		_, applied := node.Annotations[v1alpha1.AnnotationApplied]
		m.cordon.observe(node.Spec.Unschedulable, applied, w.now)
		if state := m.terminationState(); m.cordon.drained.IsZero() && (state == v1alpha1.StateDraining || state == v1alpha1.StateCompleted) {
			m.cordon.drained = w.now
		}
		w.checkCordoned(m)
		w.checkClean(m)
		w.checkDrained(m)
		w.checkTurn(m)
		w.checkReturners(m)
		w.checkHooks(m)
	}
}

// inForce reports whether a statement has to be acted on.
func (s *statement) inForce() bool { return !s.cancelled && !s.doubtful && !s.void && !s.unknown }

// checkCordoned holds that the node is unschedulable while something is in force.
func (w *world) checkCordoned(m *machine) {
	refused := w.now.Before(w.refusedUntil.Add(retryTime))
	if m.node().Spec.Unschedulable || refused || m.cordon.mayWait(w.now) || w.mayBeSuspended(m) || !w.governed(m) {
		return
	}
	for _, s := range w.delivered {
		action, one := w.actionFor(s.kind)
		if s.instance == m.id && s.inForce() && one && action != v1alpha1.ActionIgnore && !w.waitsForTurn(m, s) {
			w.fail("the node is schedulable, and %s of %s is in force", s.kind, s.time.Format(time.RFC3339))
		}
	}
}

// checkClean holds that nothing of ours is on the node once everything is long over.
func (w *world) checkClean(m *machine) {
	node := m.node()
	if _, applied := node.Annotations[v1alpha1.AnnotationApplied]; !applied || w.now.Before(w.refusedUntil.Add(retryTime)) || w.mayBeSuspended(m) || !w.governed(m) {
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
	if w.mayBeSuspended(m) || !w.governed(m) || w.steadySince(m).After(steady) {
		return
	}
	for _, s := range w.delivered {
		if !w.drainsFor(s, m) || s.deadline.IsZero() || s.delivered.After(steady) || s.kind == v1alpha1.InstanceStateChange {
			continue
		}
		if until := s.deadline.Sub(w.now); until <= 0 || until > lastMoment {
			continue
		}
		for _, pod := range w.pods.toEvict(m) {
			late := pod.since.After(steady) || pod.Owner != "" && w.pastDeadline(m) || pod.Owner != "" && pod.since.After(s.deadline.Add(-lastReturn))
			if !pod.Terminating() && !late {
				w.fail("%s is not evicted %s before the deadline of %s", pod.Name, s.deadline.Sub(w.now), s.kind)
			}
		}
	}
}

// pastDeadline reports whether a machine was to be taken away by now: what comes back to it has
// had its last eviction.
func (w *world) pastDeadline(m *machine) bool {
	return slices.ContainsFunc(w.deadlines(m), func(n notice) bool { return !w.now.Before(n.deadline) })
}

// steadySince returns since when all is as it is that has a say in a machine's termination.
func (w *world) steadySince(m *machine) time.Time {
	return slices.MaxFunc([]time.Time{w.policiesSince, w.managerSince, m.suspendedSince, m.since}, time.Time.Compare)
}

// evicted holds that nothing is evicted unless something may be in force that drains.
func (w *world) evicted(instance string, pod *pod) {
	w.logf("  evict %s", pod.Name)
	if w.isSuspended(pod.m) {
		w.fail("%s is evicted in spite of the suspension", pod.Name)
	}
	w.checkReturnRate(pod)
	for _, s := range w.delivered {
		if w.mayDrainFor(s, instance) {
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
	if w.isSuspended(m) {
		w.fail("hook %s is completed in spite of the suspension", wait.hook)
	}
	deadline := wait.since.Add(min(wait.timeout, wait.global))
	pods := slices.DeleteFunc(w.pods.toEvict(m), (*pod).mayHaveReturned)
	if len(pods) > 0 && w.now.Before(deadline) && !w.isLost(m, 0) {
		w.fail("hook %s is completed %s before its deadline, and %s runs", wait.hook, deadline.Sub(w.now), pods[0].Name)
	}
}
