// SPDX-License-Identifier: Apache-2.0

package event

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// interruptionTolerance is how long after its deadline an instance that is still Ready,
	// or is again, is taken not to be interrupted.
	interruptionTolerance = 10 * time.Minute
	// stateTolerance is the same after a state that ends an instance, and readyTolerance how
	// much later than that state a node has to turn Ready to prove that it runs again: while
	// an operating system shuts down its node may flap.
	stateTolerance, readyTolerance = 5 * time.Minute, 30 * time.Second
	// watcherTime is how long a node's watcher has after a boot to say whether a
	// maintenance is still listed.
	watcherTime = 5 * time.Minute
)

// due returns when what a statement announces happens; its own time if it announces none.
func due(e v1alpha1.Event) time.Time {
	switch e.Kind {
	case v1alpha1.SpotInterruption, v1alpha1.CapacityReservationInterruption:
		if e.Deadline != nil {
			return e.Deadline.Time
		}
	case v1alpha1.ScheduledMaintenance:
		if e.NotBefore != nil {
			return e.NotBefore.Time
		}
	}
	return e.Time.Time
}

// over reports whether an event is over by what has become of the instance. That a node was
// NotReady and is Ready again proves nothing else than is said here.
func (l *life) over(e v1alpha1.Event) bool {
	if e.Kind == v1alpha1.Manual {
		return false // people mean it until they take it back, whatever the node does meanwhile
	}
	if l.cordonLifted(e) || isDrill(e) && l.passed(e.Deadline.Time) {
		return true
	}
	if l.Node == nil {
		return false
	}
	at := due(e)
	switch e.Kind {
	case v1alpha1.SpotInterruption, v1alpha1.CapacityReservationInterruption:
		return l.booted(e, at) || l.runs(at) || l.passed(at.Add(interruptionTolerance)) && l.Node.Ready
	case v1alpha1.InstanceStateChange:
		return l.runs(at) || l.Node.Ready && (l.Node.ReadySince.After(at.Add(readyTolerance)) || l.passed(at.Add(stateTolerance)))
	case v1alpha1.RebalanceRecommendation:
		return l.booted(e, at) || l.runs(at)
	case v1alpha1.ScheduledMaintenance:
		// A stop and a start move the instance away from what is maintained, also before.
		return l.runs(e.Time.Time) || l.booted(e, at) && !l.mayBeListed(e) ||
			e.NotAfter != nil && l.passed(e.NotAfter.Time) && l.Node.Ready
	case v1alpha1.AutoScalingTermination:
		return isWarmPool(e) && l.runs(at) // never by a boot: the group's mind is not changed by it
	}
	return false
}

// isDrill reports whether people made the event up, as "kubectl nt test" does: nothing happens at its deadline,
// so that it is over then.
func isDrill(e v1alpha1.Event) bool {
	return e.Source == v1alpha1.SourceManual && e.Kind != v1alpha1.Manual && e.Deadline != nil
}

// cordonLifted reports whether the time has passed after which the policy lifts the cordon for
// the event, counted from when it was due.
func (l *life) cordonLifted(e v1alpha1.Event) bool {
	if l.UncordonAfter == nil {
		return false
	}
	after, lifts := l.UncordonAfter(e.Kind)
	return lifts && l.passed(later(e.Time.Time, due(e)).Add(after))
}

// booted reports whether the node has booted since the statement and turned Ready after a time.
func (l *life) booted(e v1alpha1.Event, at time.Time) bool {
	before := e.BootID
	if before == "" {
		before = l.BootID
	}
	return before != "" && l.Node.BootID != "" && l.Node.BootID != before && l.Node.Ready && l.Node.ReadySince.After(at)
}

// runs reports whether EC2 has said, later than a time, that the instance runs. Of a Node
// that is younger than that it was the first boot, which proves nothing.
func (l *life) runs(at time.Time) bool {
	for _, e := range l.Events {
		if Resolves(e) && e.Time.After(at) && l.Node.Created.Before(e.Time.Time) {
			return true
		}
	}
	return false
}

// mayBeListed reports whether the metadata service still lists a maintenance in the boot
// after it was due, so that this boot was another's doing. The watcher says so by the boot
// ID, or cancels it; until it has had the time to, it may.
func (l *life) mayBeListed(e v1alpha1.Event) bool {
	for _, other := range l.Events {
		if !relists(other) || isCancelled(other) || other.ID != e.ID && !isSameMaintenance(e, other) {
			continue
		}
		if other.BootID == l.Node.BootID || !l.passed(l.Node.ReadySince.Add(watcherTime)) {
			return true
		}
	}
	return false
}

// closedByOther reports whether a statement under another id has ended what the event plans.
func (l *life) closedByOther(e v1alpha1.Event) bool {
	for _, other := range l.Events {
		if closes(other, e) {
			return true
		}
	}
	return false
}

// closes reports whether a cancellation closes what is planned under another id: a
// maintenance that the other source knows too, or every termination before a group took
// the instance back.
func closes(cancellation, e v1alpha1.Event) bool {
	if !isCancelled(cancellation) || cancellation.ID == e.ID || cancellation.Kind != e.Kind {
		return false
	}
	switch e.Kind {
	case v1alpha1.ScheduledMaintenance:
		return cancellation.Source != e.Source && isSameMaintenance(cancellation, e)
	case v1alpha1.AutoScalingTermination:
		return cancellation.LifecycleHook == nil && cancellation.Time.After(e.Time.Time)
	}
	return false
}

// isSameMaintenance reports whether two sources mean the same maintenance: it begins at the
// same time and, where both say so, does the same.
func isSameMaintenance(a, b v1alpha1.Event) bool {
	return isTime(a.NotBefore, b.NotBefore) &&
		(a.InstanceAction == "" || b.InstanceAction == "" || a.InstanceAction == b.InstanceAction)
}

// isWarmPool reports whether a group moves the instance to its warm pool, from which it
// comes back, rather than terminating it.
func isWarmPool(e v1alpha1.Event) bool {
	return e.LifecycleHook != nil && e.LifecycleHook.Destination == WarmPool || e.InstanceAction == "stop" || e.InstanceAction == "hibernate"
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
