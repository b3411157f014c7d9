// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// statement is the latest that was delivered about one thing from one source.
type statement struct {
	instance, id string
	kind         v1alpha1.EventKind
	source       v1alpha1.EventSource
	// time is its revision; zero where the metadata service gives none.
	time                          time.Time
	deadline, notBefore, notAfter time.Time
	action                        string
	// replaced is the notBefore of the plan that was cancelled: its own, or before it was moved.
	replaced  time.Time
	warmPool  bool
	token     string
	cancelled bool

	// delivered is when, and boot which boot the node reported then; wasReady: it was Ready in
	// that boot, which was the machine's.
	delivered time.Time
	boot      string
	wasReady  bool
	// listed is the latest boot in which a watcher has read it.
	listed string

	// ended is when the first evidence was delivered that it is over. Zero: there is none.
	ended time.Time
	// doubtful: there is some evidence of that, which may or may not be enough.
	doubtful bool
	// unknown: nobody can say any more what stands, as people have deleted the NodeTermination
	// and an earlier statement was received after that.
	unknown bool
	// void: people have deleted the NodeTermination since.
	void bool
	// forged: it is one of many state changes that did not happen.
	forged bool
}

// runningMessage is EC2's running, as it was delivered.
type runningMessage struct {
	instance        string
	time, delivered time.Time
	// nodeOlder: than the message.
	nodeOlder bool
	// kept: there was a NodeTermination that it changed.
	kept bool
}

// watcherTime is how long a watcher has after a boot to say what is still listed.
const watcherTime = 5 * time.Minute

// due returns when what a statement announces happens.
func (s *statement) due() time.Time {
	switch s.kind {
	case v1alpha1.SpotInterruption, v1alpha1.CapacityReservationInterruption:
		return s.deadline
	case v1alpha1.ScheduledMaintenance:
		return s.notBefore
	}
	return s.time
}

// deliveredFact takes note of what the queue has delivered.
func (w *world) deliveredFact(e v1alpha1.Event, instance string) {
	if e.InstanceAction == "running" && e.Kind == v1alpha1.InstanceStateChange {
		m := w.machine(instance)
		w.running = append(w.running, runningMessage{
			instance: instance, time: e.Time.Time, delivered: w.now, nodeOlder: m.since.Before(e.Time.Time), kept: w.api.terminations[instance] != nil,
		})
		return
	}
	s := statementOf(e, instance)
	s.forged = s.kind == v1alpha1.InstanceStateChange && slices.ContainsFunc(w.machine(instance).forged, s.time.Equal)
	w.deliver(s)
}

// deliveredStatement takes note of what a watcher has read and written.
func (w *world) deliveredStatement(e v1alpha1.Event, instance string) {
	if e.Kind == v1alpha1.AutoScalingTermination && ptr.Deref(e.Cancelled, false) {
		w.takenBack(instance)
	}
	w.deliver(statementOf(e, instance))
}

// takenBack takes note that a group has its instance in service, for sure.
func (w *world) takenBack(instance string) {
	m := w.machine(instance)
	for _, s := range w.delivered {
		if s.instance != instance || s.kind != v1alpha1.AutoScalingTermination || s.cancelled {
			continue
		}
		s.doubtful = true
		if len(m.waits) == 0 && !m.inPool {
			s.end(w.now)
		}
	}
}

func statementOf(e v1alpha1.Event, instance string) *statement {
	s := &statement{
		instance: instance, id: string(e.Source) + "/" + e.ID, kind: e.Kind, source: e.Source, time: e.Time.Time, action: e.InstanceAction,
		cancelled: ptr.Deref(e.Cancelled, false),
	}
	if e.Deadline != nil {
		s.deadline = e.Deadline.Time
	}
	if e.NotBefore != nil {
		s.notBefore = e.NotBefore.Time
	}
	if e.NotAfter != nil {
		s.notAfter = e.NotAfter.Time
	}
	if hook := e.LifecycleHook; hook != nil {
		s.warmPool, s.token = hook.Destination == "WarmPool", hook.Token
	}
	if s.action == "stop" && e.Kind == v1alpha1.AutoScalingTermination {
		s.warmPool = true
	}
	return s
}

// deliver takes note of a statement.
func (w *world) deliver(s *statement) {
	s.delivered = w.now
	m := w.machine(s.instance)
	if node := m.node(); node != nil {
		s.boot = node.Status.NodeInfo.BootID
	}
	ready, _ := m.ready()
	s.wasReady = ready && s.boot == m.bootID()
	// Of a node that reports its boot before, a watcher's word of the next one looks like one of the boot before.
	s.doubtful = s.doubtful || s.source == v1alpha1.SourceIMDS && s.boot != m.bootID()
	// Whoever has uncordoned the node since AWS said so has lifted that too.
	s.doubtful = s.doubtful || s.kind == v1alpha1.RebalanceRecommendation && s.time.Before(m.cordon.lifted)
	if s.cancelled {
		s.end(w.now)
	}
	s.listed = m.bootID()
	for i, before := range w.delivered {
		if before.id != s.id || before.instance != s.instance {
			continue
		}
		switch {
		case s.isLater(before):
			if w.delivered[i] = s; !before.cancelled {
				s.replaced = before.notBefore
			} else {
				s.replaced = before.replaced
			}
		case s.time.Equal(before.time) && !s.time.IsZero() && !before.void && s.action != before.action:
			before.doubtful = true // two of the same second
		case s.source == v1alpha1.SourceIMDS && !before.void:
			before.listed = s.listed
		case before.void && s.time.Equal(before.time) && !s.time.IsZero():
			s.doubtful = true // it may have come back
			w.delivered[i] = s
		case before.void:
			before.unknown = true
		}
		return
	}
	if s.cancelled && s.source == v1alpha1.SourceIMDS && !w.anyCloses(s) {
		return // history
	}
	w.delivered = append(w.delivered, s)
}

// anyCloses reports whether a cancellation ends anything that was delivered.
func (w *world) anyCloses(s *statement) bool {
	return slices.ContainsFunc(w.delivered, s.closes)
}

// isLater reports whether a statement takes the place of another one about the same thing.
func (s *statement) isLater(before *statement) bool {
	states := []string{"stopping", "stopped", "shutting-down", "terminated"}
	switch {
	case s.source == v1alpha1.SourceIMDS && s.time.IsZero():
		return s.cancelled != before.cancelled || s.action != before.action || !s.notBefore.Equal(before.notBefore) || !s.notAfter.Equal(before.notAfter)
	case !s.time.Equal(before.time):
		return s.time.After(before.time)
	case s.cancelled != before.cancelled:
		return s.cancelled
	case s.kind == v1alpha1.InstanceStateChange:
		return strings.Index(strings.Join(states, " "), s.action) > strings.Index(strings.Join(states, " "), before.action)
	}
	return false
}

// closes reports whether a cancellation ends what another source has planned.
func (s *statement) closes(other *statement) bool {
	return s.cancelled && s.instance == other.instance && s.kind == v1alpha1.ScheduledMaintenance && other.kind == s.kind && s.source != other.source &&
		s.notBefore.Equal(other.notBefore) && (s.action == "" || other.action == "" || s.action == other.action)
}

// end notes the first evidence that the statement is over.
func (s *statement) end(at time.Time) {
	s.doubtful = true
	if s.ended.IsZero() {
		s.ended = at
	}
}

// nodeDeleted takes note that a Node object was deleted, with its annotations.
func (w *world) nodeDeleted(m *machine) {
	for _, s := range w.delivered {
		if s.instance == m.id && s.kind == v1alpha1.Manual {
			s.end(w.now)
		}
	}
}

// unlisted takes note that a watcher has compared boots: what it does not list is over.
func (w *world) unlisted(m *machine) {
	for _, s := range w.delivered {
		if s.instance != m.id || s.source != v1alpha1.SourceIMDS || s.kind != v1alpha1.ScheduledMaintenance || s.boot == m.bootID() {
			continue
		}
		listed := false
		for _, other := range m.metadata.maintenance {
			listed = listed || !other.over && strings.HasSuffix(s.id, other.eventID())
		}
		if !listed {
			s.end(w.now)
		}
	}
}

// deleted takes note that people have deleted a NodeTermination.
func (w *world) deleted(instance string) {
	w.machine(instance).cordon.since = w.now // one that takes its place begins afresh
	for _, s := range w.delivered {
		switch {
		case s.instance != instance:
		case s.kind == v1alpha1.Manual:
			s.doubtful = true // the annotation is still there
		default:
			s.void, s.unknown = true, false
		}
	}
}

// renamed takes note that a machine's node has another name: what a watcher alone has said
// under the old one before the manager had looked counts as forged, until it is said again.
func (w *world) renamed(m *machine) {
	nt := w.api.terminations[m.id]
	if nt == nil || nt.Status.Node != nil || slices.ContainsFunc(nt.Spec.Events, func(e v1alpha1.Event) bool { return e.Source != v1alpha1.SourceIMDS }) {
		return
	}
	w.delivered = slices.DeleteFunc(w.delivered, func(s *statement) bool { return s.source == v1alpha1.SourceIMDS })
}

// expired takes note that the manager has deleted a NodeTermination: rightly if there was no
// node any more.
func (w *world) expired(instance string) {
	m := w.machine(instance)
	m.suspended, m.suspendedSince = false, w.now
	for _, s := range w.delivered {
		if s.instance == instance && m.node() == nil {
			s.doubtful = true
		}
	}
	// Read again by a watcher that is restarted, it would begin anew, also after a boot.
	m.metadata.rebalance, m.metadata.maintenance = time.Time{}, nil
}

// judge looks for evidence that statements are over.
func (w *world) judge(m *machine) {
	ready, since := m.ready()
	node := m.node()
	for _, s := range w.delivered {
		if s.instance != m.id || s.cancelled {
			continue
		}
		for _, other := range w.delivered {
			if other.cancelled && other.kind == s.kind && other.source != s.source && other.replaced.Equal(s.notBefore) && !s.notBefore.IsZero() {
				s.doubtful = true
			}
			if other.closes(s) {
				s.doubtful = true
				if !other.delivered.Before(s.delivered) || other.source == v1alpha1.SourceSQS {
					s.end(w.now)
				}
			}
		}
		w.judgeRunning(s)
		s.doubtful = s.doubtful || s.kind == v1alpha1.AutoScalingTermination && m.inService() // the manager may have asked
		if node == nil {
			continue
		}
		booted := node.Status.NodeInfo.BootID != s.boot && ready && since.After(s.due())
		due := s.due()
		switch s.kind {
		case v1alpha1.SpotInterruption, v1alpha1.CapacityReservationInterruption:
			s.judge(w, booted, s.wasReady)
			s.judge(w, !w.now.Before(due.Add(10*time.Minute)), ready)
		case v1alpha1.InstanceStateChange:
			s.judge(w, ready && since.After(due.Add(30*time.Second)), true)
			s.judge(w, !w.now.Before(due.Add(5*time.Minute)), ready)
		case v1alpha1.RebalanceRecommendation:
			s.judge(w, booted, s.wasReady)
			action, one := w.actionFor(s.kind)
			s.judge(w, !w.now.Before(due.Add(time.Hour)), one && action == v1alpha1.ActionCordon && w.governed(m))
		case v1alpha1.ScheduledMaintenance:
			listing, listed := w.listedByWatcher(s), ""
			if listing != nil {
				listed = listing.listed
				s.doubtful = s.doubtful || booted && listing != s && listing.doubtful // that may be over itself
			}
			s.judge(w, booted && (listed == "" || listed != s.boot && listed != node.Status.NodeInfo.BootID || !w.now.Before(since.Add(watcherTime)) && listed != node.Status.NodeInfo.BootID),
				s.wasReady && s.source == v1alpha1.SourceSQS && listed == "")
			s.judge(w, !s.notAfter.IsZero() && !w.now.Before(s.notAfter), ready)
		}
	}
}

// judge takes note of a reason to believe that a statement is over, which may be sure.
func (s *statement) judge(w *world, reason, sure bool) {
	if reason && sure {
		s.end(w.now)
	}
	s.doubtful = s.doubtful || reason
}

// judgeRunning looks whether EC2 has said that the instance runs.
func (w *world) judgeRunning(s *statement) {
	after := s.due()
	if s.kind == v1alpha1.ScheduledMaintenance {
		after = s.time
	}
	ends := s.kind != v1alpha1.Manual && (s.kind != v1alpha1.AutoScalingTermination || s.warmPool)
	for _, r := range w.running {
		if !ends || r.instance != s.instance || !s.time.IsZero() && !r.time.After(after) {
			continue
		}
		s.judge(w, true, r.nodeOlder && r.kept && r.delivered.After(s.delivered) && !s.time.IsZero())
	}
}

// listedByWatcher returns the latest boot in which a watcher has read that a maintenance is
// scheduled, in the same words or others; empty if none has.
func (w *world) listedByWatcher(s *statement) *statement {
	for _, other := range w.delivered {
		if other.source == v1alpha1.SourceIMDS && other.kind == s.kind && other.instance == s.instance && !other.cancelled && !other.void &&
			(other == s || other.notBefore.Equal(s.notBefore)) {
			return other
		}
	}
	return nil
}

// governed reports whether an Enforce policy selects the node.
func (w *world) governed(m *machine) bool {
	node := m.node()
	for i := range w.api.policies {
		if p := &w.api.policies[i]; node != nil && p.Spec.Mode != v1alpha1.ModeDryRun && string(p.Spec.NodeSelector.MatchLabels["role"]) == node.Labels["role"] {
			return true
		}
	}
	return false
}
