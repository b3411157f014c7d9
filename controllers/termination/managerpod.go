// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

const (
	// quietTime is for how long nothing may be due in other drains when the manager evicts its
	// own pod: nobody acts until its replacement has been scheduled, pulled and started.
	quietTime = 2 * time.Minute
	// selfMargin is how long before the end of its own drain the manager goes at the latest.
	selfMargin = 5 * time.Second
)

// spareSelf keeps the plan from evicting this very process: if another replica can take over
// that one does it, and otherwise it is done when it harms the least, and then alone, as nothing
// else of the plan would be carried out.
func (r *Reconciler) spareSelf(ctx context.Context, s *scope, plan *drain.Plan) error {
	own := slices.IndexFunc(plan.Actions, func(action drain.Action) bool { return r.Replica.IsSelf(action.Pod.Namespace, action.Pod.Name) })
	if own < 0 {
		return nil
	}
	handedOver, err := r.Replica.HandOver(ctx)
	if err != nil {
		return err
	}
	if handedOver {
		plan.Actions = slices.Delete(plan.Actions, own, own+1)
		return nil
	}
	dues, err := r.dueElsewhere(ctx, s)
	if err != nil {
		return err
	}
	if at := evictSelfAt(s.now, s.drainEnd(), dues, len(plan.Actions) == 1); s.now.Before(at) {
		plan.Actions = slices.Delete(plan.Actions, own, own+1)
		s.lookAgain(at)
		return nil
	}
	plan.Actions = plan.Actions[own : own+1]
	return nil
}

// evictSelfAt returns when the manager evicts its own pod: once it is alone in the plan and
// nothing is due elsewhere for some time, and seconds before the end of the drain in any case.
func evictSelfAt(now, end time.Time, dues []time.Time, alone bool) time.Time {
	last := end.Add(-selfMargin)
	if !alone {
		return last
	}
	at := now
	for _, due := range dues {
		if !due.Before(now) && due.Before(now.Add(quietTime)) && due.After(at) {
			at = due
		}
	}
	if at.After(now) {
		at = at.Add(time.Second) // for what is due then to be done
	}
	return earliest(at, last)
}

// drainEnd returns when the drain is over for the manager's own pod.
func (s *scope) drainEnd() time.Time {
	if !s.decision.deadline.IsZero() {
		return s.decision.deadline
	}
	return ptr.Deref(s.nt.Status.DrainStartTime, metav1.Time{Time: s.now}).Add(s.rules().Timeout())
}

// dueElsewhere returns when something has to be done about the pods of other nodes.
func (r *Reconciler) dueElsewhere(ctx context.Context, s *scope) ([]time.Time, error) {
	var list v1alpha1.NodeTerminationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list NodeTerminations: %w", err)
	}
	var dues []time.Time
	for i := range list.Items {
		nt := &list.Items[i]
		if nt.Name == s.nt.Name || nt.Status.CompletionTime != nil {
			continue
		}
		var rules *v1alpha1.DrainSpec
		if ref := nt.Status.PolicyRef; ref != nil {
			if policy := policyOf(ref, s.policies); policy != nil {
				rules = policy.Spec.Drain
			}
		}
		deadline := nearestDeadline(nt)
		if known := nt.Status.Deadline; known != nil && nearer(known.Time, deadline) {
			deadline = known.Time
		}
		dues = append(dues, dueTimes(deadline, rules)...)
	}
	return dues, nil
}

// dueTimes returns when a drain with a deadline has something to do: then, when a wave begins at
// the latest, and when blocked pods are deleted if the policy says when. Zero has none.
func dueTimes(deadline time.Time, rules *v1alpha1.DrainSpec) []time.Time {
	if deadline.IsZero() {
		return nil
	}
	dues := []time.Time{deadline}
	for _, wave := range rules.WaveList() {
		if reserve := wave.Reserve(); reserve > 0 {
			dues = append(dues, deadline.Add(-reserve))
		}
	}
	if rules != nil && rules.BlockedPods != nil && rules.BlockedPods.BeforeSeconds != nil {
		dues = append(dues, deadline.Add(-time.Duration(*rules.BlockedPods.BeforeSeconds)*time.Second))
	}
	return dues
}
