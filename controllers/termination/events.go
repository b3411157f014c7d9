// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// classify says which events still count. It is event.NewLife that decides.
func (r *Reconciler) classify(_ context.Context, s *scope) (verdict, error) {
	in := event.LifeInput{Events: s.nt.Spec.Events, Before: s.nt.Status.Events, Node: event.NodeOf(s.node), Now: s.now}
	if policy := s.governing(); policy != nil {
		in.UncordonAfter = policy.Spec.UncordonAfter
	}
	if known := s.nt.Status.Node; known != nil {
		in.BootID = known.BootID
	}
	life := event.NewLife(in)
	if s.begin(life.News, life.Stands) {
		r.Local.update(s.nt.Name, func(known *localRecord) { known.completed = nil }) // a group may wait there once more
	}
	s.nt.Status.Events = life.States
	s.noteOverdue(life.Overdue)
	s.lookAgain(life.NextLook)
	return proceed, nil
}

// governing returns the policy that govern is going to find, as it is needed before: when
// cordons are lifted is the policy's to say. Nil if none governs.
func (s *scope) governing() *v1alpha1.NodeTerminationPolicy {
	if ref := s.nt.Status.PolicyRef; ref != nil {
		if chosen := policyOf(ref, s.policies); chosen != nil {
			return chosen
		}
	}
	if s.node == nil {
		return nil
	}
	return ec2node.Governing(s.policies, s.node)
}

// begin opens a finished termination again if there is news, and reports whether it starts
// afresh. While an event still stands it is the same termination: its record is kept and
// the node looked at once more. Otherwise the instance has come back in between.
func (s *scope) begin(news, stands bool) (afresh bool) {
	switch {
	case !s.finished(), !news:
		return false
	case stands:
		s.nt.Status.CompletionTime = nil
		return false
	}
	// The node stays, as it may be missing: since when is known there.
	s.nt.Status = v1alpha1.NodeTerminationStatus{ObservedGeneration: s.nt.Status.ObservedGeneration, Node: s.nt.Status.Node}
	if s.node != nil {
		s.nt.Status.Node = s.reference()
	}
	return true
}

// noteOverdue says in a condition that a maintenance should have begun long ago. It may have
// been done, or be late: nobody but the user can find out, so the node stays as it is.
func (s *scope) noteOverdue(overdue []v1alpha1.Event) {
	known := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionMaintenanceOverdue)
	switch {
	case len(overdue) > 0 && s.node != nil:
		s.condition(v1alpha1.ConditionMaintenanceOverdue, true, v1alpha1.ReasonMaintenanceOverdue, fmt.Sprintf(
			"a maintenance was to begin at %s or later, and AWS has not said that it is over: look in AWS Health what has become of it; if it is over, delete this NodeTermination to uncordon the node",
			formatTime(overdue[0].NotBefore.Time)))
	case known != nil:
		s.condition(v1alpha1.ConditionMaintenanceOverdue, false, v1alpha1.ReasonMaintenanceOver, "no maintenance is overdue any more")
	}
}

// noteTombstone ends a termination that began with a cancellation: what it cancels may be
// received yet and must not begin then. Nothing was done, so nobody is notified.
func (r *Reconciler) noteTombstone(_ context.Context, s *scope) (verdict, error) {
	until := keepUntil(s.nt.Spec.Events)
	if stateIn(&s.before.Status) != "" || len(s.active()) > 0 || until.IsZero() {
		return proceed, nil
	}
	s.finish(v1alpha1.StateCancelled, fmt.Sprintf(
		"AWS cancelled a maintenance that was not received before; nothing is done if it is received yet, and this is remembered until %s", formatTime(until)))
	return ended, nil
}

// keepUntil returns until when the cancellations among the events have to be kept; zero if
// they need not.
func keepUntil(events []v1alpha1.Event) time.Time {
	var last time.Time
	for _, e := range events {
		if until := event.KeepUntil(e); until.After(last) {
			last = until
		}
	}
	return last
}

// stateOf returns the state of an event; empty if its latest statement has not been
// judged yet.
func stateOf(e v1alpha1.Event, states []v1alpha1.EventStatus) v1alpha1.EventState {
	i := slices.IndexFunc(states, func(status v1alpha1.EventStatus) bool { return status.ID == e.ID })
	if i < 0 || states[i].Time != nil && !states[i].Time.Equal(&e.Time) {
		return ""
	}
	return states[i].State
}
