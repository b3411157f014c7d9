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

// scope is what the phases of one reconcile share: what was read at its start,
// what they decided, and the status that is written at its end.
type scope struct {
	now time.Time
	// nt is a copy: phases write its status only.
	nt *v1alpha1.NodeTermination
	// node is nil once the node this is about is gone.
	node *corev1.Node
	// replaced is whether another node has the name of the one that is gone.
	replaced bool
	policies []v1alpha1.NodeTerminationPolicy
	// policy governs the node; nil before one is chosen.
	policy   *v1alpha1.NodeTerminationPolicy
	decision decision
	// forbids is why nothing may be done about the instance, lifecycle hooks included.
	forbids string

	// state, and message in a sentence, become the Ready condition.
	state, message string
	// dead is whether the instance has stopped and its kubelet does not answer.
	dead bool
	// begins is whether the drain may begin, or go on.
	begins bool
	// waits is what keeps the drain from beginning, where it is somebody else's.
	waits string
	// ending is whether the pods are gone, so that the termination ends as soon as no
	// lifecycle hook waits any more.
	ending bool
	// endedAt is when the pods had gone, if that was before another event was heard.
	endedAt *metav1.Time
	// draining is whether the drain goes on after this reconcile.
	draining bool
	// unsettled is whether more will be known in a moment, so that the status is
	// not worth a write yet.
	unsettled bool
	// next is when to look again; zero leaves it to changes.
	next time.Time
}

// settle says how this reconcile leaves the termination.
func (s *scope) settle(state, message string) {
	s.state, s.message = state, message
}

// lookAgain asks for another reconcile at a time, if none is due earlier.
func (s *scope) lookAgain(at time.Time) {
	if !at.IsZero() && (s.next.IsZero() || at.Before(s.next)) {
		s.next = at
	}
}

// suspended is whether nothing is to be changed for now.
func (s *scope) suspended() bool {
	return ptr.Deref(s.nt.Spec.Suspend, false)
}

// was is whether the last reconcile left the termination in this state.
func (s *scope) was(state string) bool {
	return stateIn(&s.nt.Status) == state
}

// stateIn is the state that a status tells; empty before the first.
func stateIn(status *v1alpha1.NodeTerminationStatus) string {
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// finished is whether the termination has ended, well or not.
func (s *scope) finished() bool {
	return s.nt.Status.CompletionTime != nil
}
