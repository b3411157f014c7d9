// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// cordon is what becomes of the cordon of a node.
type cordon struct {
	// since is when it was cordoned last; zero: it is not.
	since time.Time
	// lifted is when somebody else uncordoned it; zero: nobody did, or it was cordoned again:
	// as often, and then the last time.
	lifted time.Time
	again  int
	last   time.Time
	// drained is when it was first seen that the node is drained since it was cordoned.
	drained time.Time
}

// observe looks how the cordon stands.
func (c *cordon) observe(cordoned, applied bool, now time.Time) {
	if !applied {
		c.lifted = time.Time{}
	}
	switch {
	case !cordoned:
		c.since = time.Time{}
		return
	case !c.lifted.IsZero():
		if now.Sub(c.last) >= time.Hour {
			c.again = 0
		}
		c.again, c.last, c.lifted = c.again+1, now, time.Time{}
	}
	if c.since.IsZero() {
		c.since, c.drained = now, time.Time{}
	}
}

// mayWait reports whether a node that others have uncordoned need not be cordoned yet: it is
// at once the first time.
func (c *cordon) mayWait(now time.Time) bool {
	if c.lifted.IsZero() || c.again == 0 {
		return false
	}
	delay := time.Minute << min(c.again-1, 10)
	return now.Before(c.last.Add(min(delay, 30*time.Minute) + time.Second))
}

// uncordoned takes note that somebody else has uncordoned the node: that cancels the cordons
// that have no deadline, where only such stand.
func (w *world) uncordoned(m *machine) {
	only := true
	var cordons []*statement
	for _, s := range w.delivered {
		if s.instance != m.id || s.cancelled || s.void && !s.unknown {
			continue
		}
		action, one := w.actionFor(s.kind)
		switch {
		case s.kind == v1alpha1.RebalanceRecommendation && (!one || action == v1alpha1.ActionCordon):
			cordons = append(cordons, s)
			only = only && one
		case !one || action != v1alpha1.ActionIgnore:
			only = only && !s.ended.IsZero() && !w.now.Before(s.ended.Add(overTime))
		}
	}
	for _, s := range cordons {
		s.doubtful = true
		if only && !w.down() && !w.mayBeSuspended(m) && w.governed(m) {
			s.end(w.now)
		}
	}
}

// isSuspended reports whether nothing may be done about a machine.
func (w *world) isSuspended(m *machine) bool {
	enforcing, suspended := w.suspendedPolicies()
	return m.suspended || enforcing > 0 && enforcing == suspended
}

// mayBeSuspended reports whether nothing may be done about a machine, perhaps.
func (w *world) mayBeSuspended(m *machine) bool {
	_, suspended := w.suspendedPolicies()
	return m.suspended || suspended > 0
}

// suspendedPolicies returns how many policies enforce, and how many of these are suspended.
func (w *world) suspendedPolicies() (enforcing, suspended int) {
	for i := range w.api.policies {
		if spec := &w.api.policies[i].Spec; spec.Mode != v1alpha1.ModeDryRun {
			enforcing++
			if spec.Suspended() {
				suspended++
			}
		}
	}
	return enforcing, suspended
}

// terminationState returns what the status of a machine's NodeTermination says; empty if there is none.
func (m *machine) terminationState() string {
	if nt := m.w.api.terminations[m.id]; nt != nil {
		for _, c := range nt.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady {
				return c.Reason
			}
		}
	}
	return ""
}

// drains reports whether a machine takes a place in a budget, by its state.
func (m *machine) drains() bool {
	switch m.terminationState() {
	case v1alpha1.StateDraining, v1alpha1.StateCordoned, v1alpha1.StateCompleting:
		return true
	}
	return false
}

// waitsForTurn reports whether a machine's node may wait for that of another one instead of
// being cordoned.
func (w *world) waitsForTurn(m *machine, s *statement) bool {
	if !s.deadline.IsZero() || !ec2node.HasTaint(m.node(), &ec2node.WaitingTaint) || !w.limited() {
		return false
	}
	for _, other := range w.machines {
		if other != m && w.now.Sub(other.busy) <= 15*time.Second {
			return true
		}
	}
	return false
}

// limited reports whether a policy limits how many nodes are drained at one time.
func (w *world) limited() bool {
	for i := range w.api.policies {
		if _, limited := w.api.policies[i].Spec.Drain.MaxNodes(1); limited {
			return true
		}
	}
	return false
}

// checkTurn holds that no node is drained while another one is, where one may be at one time
// and neither has a deadline.
func (w *world) checkTurn(m *machine) {
	if len(w.api.policies) != 1 || !w.limited() || w.hasHadDeadline(m) || m.terminationState() != v1alpha1.StateDraining {
		return
	}
	for _, other := range w.machines {
		if other != m && other.terminationState() == v1alpha1.StateDraining && other.node() != nil && !w.hasHadDeadline(other) &&
			w.policiesSince.Before(m.drainStart()) && w.policiesSince.Before(other.drainStart()) {
			w.fail("%s and %s are drained at a time", m.nodeName, other.nodeName)
		}
	}
}

// hasHadDeadline reports whether something with a deadline was ever said of a machine.
func (w *world) hasHadDeadline(m *machine) bool {
	for _, s := range w.delivered {
		if s.instance == m.id && (!s.deadline.IsZero() || s.kind == v1alpha1.AutoScalingTermination) {
			return true
		}
	}
	return false
}

// drainStart returns when a machine's drain began; zero: it has not.
func (m *machine) drainStart() time.Time {
	if nt := m.w.api.terminations[m.id]; nt != nil && nt.Status.DrainStartTime != nil {
		return nt.Status.DrainStartTime.Time
	}
	return time.Time{}
}

// mayDrainFor reports whether the pods of an instance may have to go because of a statement.
func (w *world) mayDrainFor(s *statement, instance string) bool {
	over := s.cancelled || !s.ended.IsZero() && !w.now.Before(s.ended.Add(overTime)) || s.void
	return s.instance == instance && (!over || s.unknown) && w.mayDrain(s.kind)
}

// drainsFor reports whether the pods of a machine have to go because of a statement, for sure.
func (w *world) drainsFor(s *statement, m *machine) bool {
	action, one := w.actionFor(s.kind)
	return s.instance == m.id && s.inForce() && one && action == v1alpha1.ActionCordonAndDrain
}

// isForged reports whether a statement is one of many that EC2 contradicts.
func (w *world) isForged(s *statement) bool {
	return s.forged && w.policiesSince.Before(s.time) && w.machine(s.instance).state == "running"
}

// deadlines returns when a machine may be taken away and since when that is known, at the
// earliest: by what may be in force, and what the status says of lifecycle hooks.
func (w *world) deadlines(m *machine) []notice {
	var notices []notice
	for _, s := range w.delivered {
		if !w.mayDrainFor(s, m.id) || s.deadline.IsZero() || w.isForged(s) {
			continue
		}
		since := s.time
		if since.IsZero() {
			since = s.delivered
		}
		if dayBefore := s.deadline.Add(-24 * time.Hour); s.kind == v1alpha1.ScheduledMaintenance && since.Before(dayBefore) {
			since = dayBefore
		}
		notices = append(notices, notice{since, s.deadline, s.kind})
	}
	for _, wait := range m.waits { // until a heartbeat has succeeded
		notices = append(notices, notice{wait.since, wait.since.Add(wait.timeout), v1alpha1.AutoScalingTermination})
	}
	if nt := w.api.terminations[m.id]; nt != nil {
		for _, hook := range nt.Status.LifecycleHooks {
			notices = append(notices, notice{hook.StartTime.Time, hook.Deadline.Time, v1alpha1.AutoScalingTermination})
		}
	}
	return notices
}

// notice is a deadline, and since when it is known.
type notice struct {
	since, deadline time.Time
	kind            v1alpha1.EventKind
}

// checkGrace holds that only a deadline ahead shortens the time that a pod has to shut down,
// and that no pod has longer than that, unless another deadline has passed.
func (w *world) checkGrace(pod *pod, given int64) {
	m := pod.m
	if ready, _ := m.ready(); !ready || !m.answers() {
		return // nothing runs there that could use the time
	}
	seconds := func(until time.Time) int64 { return max(1, int64(until.Sub(w.now)/time.Second)) }
	least, passed := pod.GracePeriodSeconds, false
	for _, n := range w.deadlines(m) {
		if passed = passed || !n.deadline.After(w.now); n.deadline.After(w.now) {
			least = min(least, seconds(n.deadline.Add(-3*time.Second)))
		}
	}
	if given < least {
		w.fail("%s has %d s to shut down, and is given %d s", pod.Name, pod.GracePeriodSeconds, given)
	}
	for _, s := range w.delivered {
		switch {
		case !w.drainsFor(s, m) || !w.governed(m):
		case s.kind == v1alpha1.InstanceStateChange && pod.Terminating() && len(m.forged) == 0:
			w.fail("the shutdown of %s is shortened, and the instance is shutting down", pod.Name)
		case s.kind != v1alpha1.InstanceStateChange && !passed && s.deadline.After(w.now) && given > seconds(s.deadline):
			w.fail("%s is given %d s to shut down, %s before the deadline of %s", pod.Name, given, s.deadline.Sub(w.now), s.kind)
		}
	}
}

// checkBudget holds that a pod that a budget blocks is not deleted in the first half of the
// notice, unless the instance is shutting down.
func (w *world) checkBudget(pod *pod, method drain.Method) {
	if method != drain.Delete || !pod.blocked || pod.Terminating() {
		return
	}
	for _, s := range w.delivered {
		if s.kind == v1alpha1.InstanceStateChange && w.mayDrainFor(s, pod.m.id) && !w.isForged(s) {
			return
		}
	}
	began := pod.m.drainStart()
	for _, n := range w.deadlines(pod.m) {
		if began.Before(n.since) {
			n.since = began
		}
		from := n.since.Add(n.deadline.Sub(n.since) / 2)
		if n.kind == v1alpha1.ScheduledMaintenance && !began.Before(n.deadline) {
			from = began.Add(2 * time.Minute)
		}
		if !w.now.Before(from.Add(-time.Second)) {
			return
		}
	}
	w.fail("%s is deleted past its budget, and there is time", pod.Name)
}

// hasReturned reports whether a pod has come back to a node since that was cordoned.
func (p *pod) hasReturned() bool {
	return p.returned && !p.m.cordon.since.IsZero() && p.Created.After(p.m.cordon.since)
}

// mayHaveReturned reports whether a manager may take a pod for one that has come back: one that
// was restarted in the middle does not know whose pods were evicted before.
func (p *pod) mayHaveReturned() bool {
	c := p.m.cordon
	return p.returned || p.ToleratesCordon && p.Created.After(c.since) && !c.drained.IsZero() && !p.m.w.managerSince.Before(c.drained)
}

// checkReturners holds that a drain, and lifecycle hooks, wait for no pods that have come back.
func (w *world) checkReturners(m *machine) {
	pods := w.pods.toEvict(m)
	awaited := slices.ContainsFunc(pods, func(pod *pod) bool { return !pod.hasReturned() })
	state := m.terminationState()
	switch {
	case awaited || len(pods) == 0 || w.steadySince(m).After(w.now.Add(-noticeTime)):
		m.held = time.Time{}
	case state == v1alpha1.StateFailed && w.api.terminations[m.id].Status.CompletionTime.Equal(&metav1.Time{Time: w.now}):
		w.fail("the drain of %s has failed by pods that have come back", m.nodeName)
	case state != v1alpha1.StateDraining && state != v1alpha1.StateCompleting:
		m.held = time.Time{}
	case m.held.IsZero():
		m.held = w.now
	case w.now.Sub(m.held) > noticeTime+2*time.Minute: // and the longest shutdown, of those that an earlier drain took for such
		w.fail("%s is %s since %s, and only pods that have come back are there", m.nodeName, state, m.held.Format(time.RFC3339))
	}
}

// checkReturnRate holds that pods that come back are not evicted as fast as they come: ten in a
// minute.
func (w *world) checkReturnRate(pod *pod) {
	if !pod.hasReturned() || pod.Terminating() {
		return
	}
	m := pod.m
	m.returns = slices.DeleteFunc(append(m.returns, w.now), func(at time.Time) bool {
		return w.now.Sub(at) >= time.Minute || !at.After(m.cordon.since) || !at.After(w.managerSince) || !at.After(m.since)
	})
	last := slices.ContainsFunc(w.deadlines(m), func(n notice) bool { return !w.now.Before(n.deadline.Add(-2 * time.Minute)) })
	if most := 10; len(m.returns) > most && !last && len(m.waits) == 0 {
		w.fail("more than %d pods that have come back to %s are evicted in a minute", most, m.nodeName)
	}
}

// isLost reports whether nobody can say of a machine's pods whether they have ended, for some
// time longer than it takes to give it up.
func (w *world) isLost(m *machine, longer time.Duration) bool {
	since, unknown := m.unknown()
	return unknown && !w.now.Before(since.Add(5*time.Minute+longer)) && !slices.ContainsFunc(w.pods.toEvict(m), func(pod *pod) bool {
		return !pod.Terminating() || w.now.Before(pod.DeletionTimestamp.Add(time.Minute+longer))
	})
}

// checkHooks holds that a node that does not answer holds no lifecycle hook.
func (w *world) checkHooks(m *machine) {
	nt := w.api.terminations[m.id]
	if m.waiting() == nil || nt == nil || w.steadySince(m).After(w.now.Add(-noticeTime)) || w.mayBeSuspended(m) || !w.governed(m) || !w.isLost(m, noticeTime) {
		return
	}
	for _, hook := range nt.Status.LifecycleHooks {
		if hook.State == v1alpha1.HookWaiting {
			w.fail("hook %s is held by a node that does not answer", hook.Name)
		}
	}
}
