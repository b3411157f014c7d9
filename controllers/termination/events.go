// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// classify says which events still count. A state other than
// Active is final: it is decided once and kept.
func (r *Reconciler) classify(_ context.Context, s *scope) (verdict, error) {
	before := eventStates(s.nt.Status.Events)
	after := make([]v1alpha1.EventStatus, 0, len(s.nt.Spec.Events))
	for _, e := range s.nt.Spec.Events {
		state, known := before[e.ID]
		if state == v1alpha1.EventActive || !known {
			state = stateOf(e, known, s)
		}
		after = append(after, v1alpha1.EventStatus{ID: e.ID, State: state})
	}
	if s.begin(before, eventStates(after)) {
		r.Local.update(s.nt.Name, func(known *localRecord) { known.completed = nil }) // a group may wait there once more
	}
	s.nt.Status.Events = after
	if s.node != nil && s.nt.Status.Node != nil {
		// A boot counts against the events that were due by then, once.
		s.nt.Status.Node.BootID = s.node.Status.NodeInfo.BootID
	}
	return proceed, nil
}

// begin opens a finished termination again when it receives a new active event, and
// reports whether it starts afresh.
// While an older event still stands it is the same termination and its record is
// kept; otherwise the instance has come back in between, and it starts afresh.
func (s *scope) begin(before, after map[string]v1alpha1.EventState) (afresh bool) {
	if !s.finished() {
		return false
	}
	news, stands := false, false
	for id, state := range after {
		if state != v1alpha1.EventActive {
			continue
		}
		if _, known := before[id]; known {
			stands = true
		} else {
			news = true
		}
	}
	switch {
	case !news:
	case stands:
		s.nt.Status.CompletionTime = nil
	default:
		s.nt.Status = v1alpha1.NodeTerminationStatus{ObservedGeneration: s.nt.Status.ObservedGeneration}
		if s.node != nil {
			s.nt.Status.Node = referenceTo(s.node)
		}
		return true
	}
	return false
}

// stateOf decides whether an event counts. seen: it counted before. A
// fact that was over when it was first received is stale, later it is resolved.
func stateOf(e v1alpha1.Event, seen bool, s *scope) v1alpha1.EventState {
	switch {
	case cancelled(e, s.nt.Spec.Events):
		return v1alpha1.EventCancelled
	case e.Kind == v1alpha1.Manual:
		return v1alpha1.EventActive // people mean it until they take it back, whatever the node does meanwhile
	case event.Resolves(e), resolvedByState(e, s.nt.Spec.Events):
		return v1alpha1.EventResolved
	case s.node == nil || !cameBack(e, s.nt.Status.Node, s.node, s.now):
		return v1alpha1.EventActive
	case seen:
		return v1alpha1.EventResolved
	default:
		return v1alpha1.EventStale
	}
}

// cancelled reports whether AWS has cancelled the event. A maintenance is received from
// several sources under several ids: cancelling it under one closes all that
// were planned for the same time.
func cancelled(e v1alpha1.Event, all []v1alpha1.Event) bool {
	if ptr.Deref(e.Cancelled, false) {
		return true
	}
	if e.Kind != v1alpha1.ScheduledMaintenance || e.NotBefore == nil {
		return false
	}
	for _, other := range all {
		if ptr.Deref(other.Cancelled, false) && other.Kind == e.Kind &&
			other.NotBefore != nil && other.NotBefore.Equal(e.NotBefore) {
			return true
		}
	}
	return false
}

// resolvedByState reports whether EC2 has said that the instance runs, after the
// event had come to pass.
func resolvedByState(e v1alpha1.Event, all []v1alpha1.Event) bool {
	for _, other := range all {
		if event.Resolves(other) && !other.Time.Time.Before(event.Over(e)) {
			return true
		}
	}
	return false
}

// cameBack reports whether the node is known to have started after the event had come
// to pass: it booted again, or became Ready later. An instance that its group
// terminates may well become NotReady and Ready while it waits at a hook, so for
// those only a boot counts.
func cameBack(e v1alpha1.Event, known *v1alpha1.NodeReference, node *corev1.Node, now time.Time) bool {
	over := event.Over(e)
	boot := node.Status.NodeInfo.BootID
	booted := known != nil && known.BootID != "" && boot != "" && known.BootID != boot
	if booted && now.After(over) {
		return true
	}
	if e.Kind == v1alpha1.AutoScalingTermination {
		return false
	}
	since, ready := ec2node.ReadySince(node)
	return ready && since.After(over)
}

// resolve marks an event as resolved.
func (s *scope) resolve(id string) {
	for i := range s.nt.Status.Events {
		if s.nt.Status.Events[i].ID == id {
			s.nt.Status.Events[i].State = v1alpha1.EventResolved
		}
	}
}
