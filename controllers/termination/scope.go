// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// scope is what the phases of one reconcile share: the objects that were read, what was
// decided, and what is to be said.
type scope struct {
	now time.Time
	// before is the NodeTermination as it was read; nt is a copy of which phases write
	// the status.
	before, nt *v1alpha1.NodeTermination
	policies   []v1alpha1.NodeTerminationPolicy
	// node runs on the instance; nil if none does. successor then has the name of the one
	// that did, and runs on another instance; nil if none has.
	node, successor *corev1.Node
	// zone is that of the node's instance, empty if it is not known.
	zone string
	// gone: no node will run on the instance any more. It is known after endWithNode.
	gone bool
	// registeredAgain: the node was made anew since it was last seen.
	registeredAgain bool
	// policy governs the node; nil before one is chosen, and if none does: ungoverned is why.
	policy     *v1alpha1.NodeTerminationPolicy
	ungoverned string

	// unconfirmed: EC2 does not confirm that the instance stops, and has to. See confirm.
	unconfirmed bool
	// decision is what decide and requireTag come to.
	decision decision
	// held is why the drain is held, and until when at most; empty if it is not.
	held string
	// admission is what schedule comes to.
	admission admission
	// uncordonedByOthers: somebody else has made the node schedulable. It is cordoned again
	// from recordonAt on; zero is at once.
	uncordonedByOthers bool
	recordonAt         time.Time
	// returners is how many pods of the node have returned to it: see losses. evictsReturners:
	// some of them are evicted though the drain has ended.
	returners       int
	evictsReturners bool
	// warning is told in a Kubernetes event, once the status is written.
	warning warning
	// err is why act could not go on, nil if it could.
	err error

	// state, and message in a sentence, become the Ready condition. Empty: it stays as it is.
	state, message string
	// next is when to look again; zero leaves it to changes.
	next time.Time
}

// warning is that somebody or something works against the termination. The zero value is nothing.
type warning struct{ reason, message string }

// decision is what the active events and the policy come to.
type decision struct {
	action v1alpha1.EventAction
	// cause is the kind of event that decides: the strongest action, then the
	// nearest deadline.
	cause v1alpha1.EventKind
	// deadline is when AWS takes the instance; zero if no active event that drains says.
	deadline time.Time
	// announced is when AWS said so.
	announced time.Time
	// late: a maintenance has begun before the drain did, so that nobody knows how much
	// time is left.
	late bool
	// drainAt is when the eviction of the pods begins; zero is at once.
	drainAt time.Time
	// ignores is why nothing is done, where the action is Ignore.
	ignores string
	// forbidden is why nothing may be done about the instance, lifecycle hooks included;
	// empty if it may.
	forbidden string
}

// admission says whether a drain may begin, or go on. The zero value is one whose time
// has not come.
type admission struct {
	admitted bool
	// pending is what it waits for, where that is other drains.
	pending string
}

// setState says how this reconcile leaves the termination.
func (s *scope) setState(state, message string) {
	s.state, s.message = state, message
}

// lookAgain asks for another reconcile at a time, if none is due earlier.
func (s *scope) lookAgain(at time.Time) {
	if !at.IsZero() && (s.next.IsZero() || at.Before(s.next)) {
		s.next = at
	}
}

// condition sets one condition of the status.
func (s *scope) condition(kind string, holds bool, reason, message string) {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&s.nt.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.nt.Generation, LastTransitionTime: metav1.Time{Time: s.now},
	})
}

// finish ends the termination. One that went well ends only when no lifecycle hook waits
// any more: see complete.
func (s *scope) finish(state, message string) {
	s.setState(state, message)
	if state != v1alpha1.StateCompleted {
		s.nt.Status.CompletionTime = &metav1.Time{Time: s.now}
	}
}

// failed reports whether act could not go on.
func (s *scope) failed() bool {
	return s.err != nil
}

// finished reports whether the termination has ended, well or not.
func (s *scope) finished() bool {
	return s.nt.Status.CompletionTime != nil
}

// suspended reports whether nothing is to be changed for now.
func (s *scope) suspended() bool {
	return ptr.Deref(s.nt.Spec.Suspend, false) || s.policy != nil && s.policy.Spec.Suspended()
}

// drained returns the condition Drained if it holds: the pods are gone. Nil if it does not.
func (s *scope) drained() *metav1.Condition {
	if condition := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained); condition != nil && condition.Status == metav1.ConditionTrue {
		return condition
	}
	return nil
}

// was reports whether the last reconcile left the termination in this state.
func (s *scope) was(state string) bool {
	return stateIn(&s.nt.Status) == state
}

// stateIn returns the state that a status holds; empty before the first.
func stateIn(status *v1alpha1.NodeTerminationStatus) string {
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// active returns the events that count.
func (s *scope) active() []v1alpha1.Event {
	return activeEvents(s.nt)
}

// activeEvents returns the events of a termination that count.
func activeEvents(nt *v1alpha1.NodeTermination) []v1alpha1.Event {
	var active []v1alpha1.Event
	for _, e := range nt.Spec.Events {
		if stateOf(e, nt.Status.Events) == v1alpha1.EventActive {
			active = append(active, e)
		}
	}
	return active
}

// nearer reports whether a deadline comes before another; zero is no deadline.
func nearer(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// formatTime returns a time for people.
func formatTime(at time.Time) string {
	return at.UTC().Format(time.RFC3339)
}

const (
	// maxReason is how much of a reason a status holds, in bytes.
	maxReason = 500
	// maxOutcomes is how many pods a status tells of that were not evicted the ordinary way.
	maxOutcomes = 20
)
