// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// holdLook is when a drain is looked at again that a ConfigMap may hold: nobody wakes it.
	holdLook = 10 * time.Second
	// maxHoldReason is how much is told of why, in bytes.
	maxHoldReason = 200
)

// hold finds out whether somebody has asked a drain to wait that can wait, also one under way.
// It holds for so long as the policy allows, and not once a deadline is near.
func (r *Reconciler) hold(ctx context.Context, s *scope) (verdict, error) {
	if !s.canBeHeld() {
		return proceed, nil
	}
	if s.policy.Spec.Drain.HoldReference() != nil {
		s.lookAgain(s.now.Add(holdLook))
	}
	by := r.holder(ctx, s)
	if by == "" {
		return proceed, nil
	}
	if s.nt.Status.HoldStartTime == nil {
		s.nt.Status.HoldStartTime = &metav1.Time{Time: s.now}
	}
	until := s.heldUntil()
	if !s.now.Before(until) {
		return proceed, nil
	}
	s.held = fmt.Sprintf("%s; it is held until %s at most", by, formatTime(until))
	s.lookAgain(until)
	return proceed, nil
}

// canBeHeld reports whether there are pods to be evicted now, and time to wait.
func (s *scope) canBeHeld() bool {
	drains := s.node != nil && s.decision.action == v1alpha1.ActionCordonAndDrain && !s.finished() && s.drained() == nil
	return drains && !s.now.Before(s.decision.drainAt) && !s.late() && !s.urgent()
}

// heldUntil returns until when the drain is held at most.
func (s *scope) heldUntil() time.Time {
	if s.decision.deadline.IsZero() {
		return s.nt.Status.HoldStartTime.Add(s.policy.Spec.Drain.HoldLimit())
	}
	return s.urgentFrom()
}

// holder returns who holds the drain, and why; empty if nobody does. A ConfigMap that
// cannot be read holds nothing, as the policy's status says.
func (r *Reconciler) holder(ctx context.Context, s *scope) string {
	if reason, found := s.nt.Annotations[v1alpha1.AnnotationHold]; found {
		return "held by the annotation " + v1alpha1.AnnotationHold + " of the NodeTermination" + because(reason)
	}
	if reason, found := s.node.Annotations[v1alpha1.AnnotationHold]; found {
		return "held by the annotation " + v1alpha1.AnnotationHold + " of the node" + because(reason)
	}
	ref := s.policy.Spec.Drain.HoldReference()
	if ref == nil {
		return ""
	}
	if reason, err := r.Webhooks.ConfigMapKey(ctx, *ref); err == nil && strings.TrimSpace(reason) != "" {
		return fmt.Sprintf("held by key %s of config map %s", ref.Key, ref.Name) + because(reason)
	}
	return ""
}

// because returns a reason that somebody gave, in one line.
func because(reason string) string {
	line := strings.Join(strings.Fields(reason), " ")
	if line == "" {
		return ""
	}
	return ": " + v1alpha1.TruncateMessage(line, maxHoldReason)
}
