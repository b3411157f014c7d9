// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

// decide turns the active events into one decision.
func (r *Reconciler) decide(ctx context.Context, s *scope) (verdict, error) {
	if s.policy == nil {
		return proceed, nil
	}
	events := s.believed()
	held, err := r.unhealthyHold(ctx, s)
	if err != nil {
		return ended, err
	}
	if held != "" {
		events = slices.DeleteFunc(events, isStatusCheck)
	}
	s.decision = s.decisionFor(events)
	if held != "" && s.decision.action == v1alpha1.ActionIgnore {
		s.decision.cause, s.decision.ignores = v1alpha1.InstanceStatusCheckFailed, held
	}
	if len(s.active()) == 0 {
		return proceed, nil // cause and deadline stay as a record
	}
	s.nt.Status.Cause = s.decision.cause
	s.nt.Status.Deadline = nil
	if !s.decision.deadline.IsZero() {
		s.nt.Status.Deadline = &metav1.Time{Time: s.decision.deadline}
	}
	return proceed, nil
}

// drainBegan returns when the drain began: now, if it has not begun yet.
func (s *scope) drainBegan() time.Time {
	return ptr.Deref(s.nt.Status.DrainStartTime, metav1.Time{Time: s.now}).Time
}

// decisionFor returns what the policy makes of a set of events. A drain under way goes on
// when the window closes in which it began.
func (s *scope) decisionFor(events []v1alpha1.Event) decision {
	began, from := s.drainBegan(), s.now
	if s.was(v1alpha1.StateDraining) {
		from = began
	}
	return decisionFor(events, s.nt.Status.LifecycleHooks, s.policy, began, from)
}

// decisionFor returns what a policy makes of a set of events and the hooks that wait, for a
// drain that began, or begins, at a time, or, where the policy has windows, in one that is open
// from another time on. Only what drains has a deadline; once it has passed
// it stays, but a drain that begins only after the start of a maintenance has none.
func decisionFor(events []v1alpha1.Event, hooks []v1alpha1.HookStatus, policy *v1alpha1.NodeTerminationPolicy, began, from time.Time) decision {
	d := decision{action: v1alpha1.ActionIgnore}
	var causeDeadline time.Time
	drains := false
	for _, e := range events {
		action := policy.Spec.ActionFor(e.Kind)
		if action == v1alpha1.ActionIgnore {
			if d.cause == "" {
				d.cause = e.Kind
			}
			continue
		}
		deadline := lifecyclehook.EventDeadline(e, hooks)
		late := e.Kind == v1alpha1.ScheduledMaintenance && !deadline.IsZero() && !began.Before(deadline)
		if late || action != v1alpha1.ActionCordonAndDrain {
			deadline = time.Time{}
		}
		if strength(action) > strength(d.action) || strength(action) == strength(d.action) && nearer(deadline, causeDeadline) {
			d.action, d.cause, causeDeadline = action, e.Kind, deadline
		}
		if nearer(deadline, d.deadline) {
			d.deadline, d.announced = deadline, e.Time.Time
		}
		if action == v1alpha1.ActionCordonAndDrain {
			if at := drainTime(e, deadline, policy, from); !drains || at.Before(d.drainAt) {
				d.drainAt = at
			}
			drains, d.late = true, d.late || late
		}
	}
	if d.action == v1alpha1.ActionIgnore && d.cause != "" {
		d.ignores = fmt.Sprintf("policy %s ignores %s", policy.Name, d.cause)
	}
	return d
}

// drainTime returns when the drain for an event begins: at once (zero, and not the
// event's time, which a clock that is behind AWS's takes for the future), unless the
// policy has it begin some time before the deadline, or in a window. Windows are looked for from a
// time on. If none opens while the drain still fits before the deadline it begins outside.
func drainTime(e v1alpha1.Event, deadline time.Time, policy *v1alpha1.NodeTerminationPolicy, from time.Time) time.Time {
	at := time.Time{}
	if e.Kind == v1alpha1.ScheduledMaintenance && e.NotBefore != nil {
		deadline = e.NotBefore.Time // also once it has passed
	}
	if lead, found := policy.Spec.StartBefore(e.Kind); found && !deadline.IsZero() {
		at = deadline.Add(-lead)
	}
	windows := policy.Spec.WindowsFor(e.Kind)
	if len(windows) == 0 {
		return at
	}
	opens := nextWindow(windows, later(from, at))
	if !deadline.IsZero() {
		opens = earliest(opens, later(deadline.Add(-policy.Spec.Drain.Timeout()), at))
	}
	return opens
}

// strength orders actions.
func strength(action v1alpha1.EventAction) int {
	switch action {
	case v1alpha1.ActionCordonAndDrain:
		return 2
	case v1alpha1.ActionCordon:
		return 1
	default:
		return 0
	}
}
