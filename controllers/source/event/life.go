// SPDX-License-Identifier: Apache-2.0

package event

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Node is what the life of an event depends on of the node that runs on the instance.
type Node struct {
	// BootID is another after every boot. Empty: the node does not report one.
	BootID string
	// Created is when the Node object was created.
	Created time.Time
	// Ready reports whether the node is Ready, and ReadySince since when.
	Ready      bool
	ReadySince time.Time
}

// NodeOf returns what the life of events depends on of a Node; nil for nil.
func NodeOf(node *corev1.Node) *Node {
	if node == nil {
		return nil
	}
	n := &Node{BootID: node.Status.NodeInfo.BootID, Created: node.CreationTimestamp.Time}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			n.Ready, n.ReadySince = true, condition.LastTransitionTime.Time
		}
	}
	return n
}

// LifeInput is what is known of the events about one instance.
type LifeInput struct {
	// Events are all of them, Before is what they came to so far.
	Events []v1alpha1.Event
	Before []v1alpha1.EventStatus
	// Node runs on the instance. Nil: there is none, or not now.
	Node *Node
	// BootID stands for that of events that have none. Empty: it is not known.
	BootID string
	// UncordonAfter returns how long after an event of a kind its cordon is lifted; false
	// for never. Nil: never.
	UncordonAfter func(v1alpha1.EventKind) (time.Duration, bool)
	// Now is the time.
	Now time.Time
}

// Life is which events count.
type Life struct {
	// States are those of all events. A state belongs to the statement that has its time.
	States []v1alpha1.EventStatus
	// News: an event has begun to count, or announces something else than before. Stands: an
	// event that counted before still does.
	News, Stands bool
	// Overdue are maintenances that should have begun more than a day ago, and that nobody
	// has said to be over.
	Overdue []v1alpha1.Event
	// NextLook is when to plan again, though nothing has changed. Zero: no need.
	NextLook time.Time
}

// NewLife decides which events count. Each statement is judged until it is over, and what it
// came to is final for it; a later statement about the same thing is judged anew.
func NewLife(in LifeInput) Life {
	l := life{LifeInput: in}
	for _, e := range in.Events {
		before := statusOf(in.Before, e.ID)
		counted := before != nil && before.State == v1alpha1.EventActive
		status := v1alpha1.EventStatus{ID: e.ID, Time: e.Time.DeepCopy(), Plan: planOf(e)}
		if before != nil && !counted && isOf(before, e) {
			status.State, status.Message = before.State, before.Message
		} else {
			status.State = l.stateOf(e, counted)
		}
		if status.State == v1alpha1.EventActive {
			l.Stands = l.Stands || counted
			l.News = l.News || !counted || before.Time != nil && before.Plan != status.Plan
			l.watch(e)
		}
		l.States = append(l.States, status)
	}
	return l.Life
}

// Over reports whether an event that is received only now is over already, as far as the node
// alone tells. uncordonAfter is that of LifeInput.
func Over(e v1alpha1.Event, node *Node, uncordonAfter func(v1alpha1.EventKind) (time.Duration, bool), now time.Time) bool {
	l := life{LifeInput: LifeInput{Events: []v1alpha1.Event{e}, Node: node, UncordonAfter: uncordonAfter, Now: now}}
	return !EndsOthers(e) && l.over(e)
}

// life is a Life in the making.
type life struct {
	LifeInput
	Life
}

// stateOf decides about a statement. counted: an earlier look, or an earlier statement,
// found that the event counts.
func (l *life) stateOf(e v1alpha1.Event, counted bool) v1alpha1.EventState {
	switch {
	case isCancelled(e), l.closedByOther(e):
		return v1alpha1.EventCancelled
	case Resolves(e):
		return v1alpha1.EventResolved
	case !l.over(e):
		return v1alpha1.EventActive
	case counted:
		return v1alpha1.EventResolved
	default:
		return v1alpha1.EventStale
	}
}

// watch notes what is to be said of an event that counts.
func (l *life) watch(e v1alpha1.Event) {
	const tolerated = 24 * time.Hour
	if e.Kind == v1alpha1.ScheduledMaintenance && e.NotBefore != nil && e.NotAfter == nil && l.passed(e.NotBefore.Add(tolerated)) {
		l.Overdue = append(l.Overdue, e)
	}
}

// passed reports whether a time has passed, and has the next plan made then if it has not.
func (l *life) passed(at time.Time) bool {
	if !l.Now.Before(at) {
		return true
	}
	if l.NextLook.IsZero() || at.Before(l.NextLook) {
		l.NextLook = at
	}
	return false
}

// statusOf returns the status of an event; nil if it has none.
func statusOf(states []v1alpha1.EventStatus, id string) *v1alpha1.EventStatus {
	for i := range states {
		if states[i].ID == id {
			return &states[i]
		}
	}
	return nil
}

// isOf reports whether a status is that of the statement, and not of an earlier one. An earlier
// version wrote no time, and left cancelled out of what it stored.
func isOf(status *v1alpha1.EventStatus, e v1alpha1.Event) bool {
	if status.Time == nil {
		return e.Cancelled == nil || *e.Cancelled
	}
	return status.Time.Equal(&e.Time)
}

// isTime reports whether two times that may be unset are set and the same.
func isTime(a, b *metav1.Time) bool {
	return a != nil && b != nil && a.Equal(b)
}
