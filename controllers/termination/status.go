// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// progressInterval is the least time between two writes of a status of which
	// only the pod counts have changed: people cannot read faster, and a node of
	// thirty pods would otherwise cost the API server as many writes as evictions.
	progressInterval = 5 * time.Second
	// progressShare is what each drain under way adds to that interval, up to
	// crowdInterval: a crowd shares one such write a second, as the pods come first.
	progressShare = time.Second
	crowdInterval = time.Minute
	// blockedInterval is the same where pods begin or cease to be blocked, which is
	// worth a write sooner.
	blockedInterval = time.Second
)

// readiness is what a state means for the conditions Ready, Reconciling and Stalled.
type readiness struct{ ready, reconciling, stalled bool }

// readinessOf holds every state.
var readinessOf = map[string]readiness{
	v1alpha1.StateReceived:   {reconciling: true},
	v1alpha1.StateScheduled:  {reconciling: true},
	v1alpha1.StateWaiting:    {reconciling: true},
	v1alpha1.StateHeld:       {reconciling: true},
	v1alpha1.StateDraining:   {reconciling: true},
	v1alpha1.StateCompleting: {reconciling: true},
	v1alpha1.StateCordoned:   {ready: true},
	v1alpha1.StateIgnored:    {ready: true},
	v1alpha1.StateDryRun:     {ready: true},
	v1alpha1.StateCompleted:  {ready: true},
	v1alpha1.StateCancelled:  {ready: true},
	v1alpha1.StateFailed:     {stalled: true},
	v1alpha1.StateSuspended:  {stalled: true},
	v1alpha1.StateNoPolicy:   {stalled: true},
	v1alpha1.StatePolicyGone: {stalled: true},
	v1alpha1.StateRefused:    {stalled: true},
}

// summarize turns the state into the conditions that everybody reads. An
// error keeps the state and takes the message's place, so that it shows in kubectl.
func (r *Reconciler) summarize(_ context.Context, s *scope) {
	if ready := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionReady); s.state == "" && ready != nil {
		s.setState(ready.Reason, ready.Message)
	} else if s.state == "" {
		s.setState(v1alpha1.StateReceived, "events were received")
	}
	var trouble string
	switch {
	case s.err == nil:
	case s.finished():
		trouble = s.err.Error() // the record of how it ended stays
	default:
		s.message = s.err.Error()
	}
	is := readinessOf[s.state]
	s.condition(v1alpha1.ConditionReady, is.ready && s.err == nil, s.state, s.message)
	s.condition(v1alpha1.ConditionReconciling, is.reconciling || s.err != nil, s.state, trouble)
	s.condition(v1alpha1.ConditionStalled, is.stalled && s.err == nil, s.state, "")
	slices.SortStableFunc(s.nt.Status.Conditions, func(a, b metav1.Condition) int {
		return slices.Index(conditionOrder, a.Type) - slices.Index(conditionOrder, b.Type)
	})
	s.nt.Status.ObservedGeneration = s.nt.Generation
}

// conditionOrder is the order of the conditions: what happened, one after the other, and
// then what it comes to.
var conditionOrder = []string{
	v1alpha1.ConditionCordoned, v1alpha1.ConditionDrained, v1alpha1.ConditionMaintenanceOverdue, v1alpha1.ConditionInstanceStateConfirmed,
	v1alpha1.ConditionLifecycleHookCompleted, v1alpha1.ConditionNotified,
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
}

// writeStatus makes the one write of a reconcile. It is left out if nothing changed, and put
// off if only counts changed and the last write is fresh.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.before.Status, s.nt.Status) {
		return nil
	}
	if due := r.Local.get(s.nt.Name).written.Add(writeInterval(&s.before.Status, &s.nt.Status, r.Local.drainCount())); s.now.Before(due) {
		s.lookAgain(due)
		return nil
	}
	patch := client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, s.nt, patch); err != nil {
		return fmt.Errorf("cannot write the status of NodeTermination %s: %w", s.nt.Name, err)
	}
	r.Local.wrote(s.nt.Name, s.now, s.finished())
	return nil
}

// writeInterval returns how long after the last write a changed status may be written.
// Where more has changed than the counts of pods and the sentences that repeat
// them, that is at once. A new total is more: later counts go on from it.
func writeInterval(before, after *v1alpha1.NodeTerminationStatus, drains int) time.Duration {
	if before.Pods == nil || after.Pods == nil || *before.Pods.Total != *after.Pods.Total {
		return 0
	}
	a, b := before.DeepCopy(), after.DeepCopy()
	for _, status := range []*v1alpha1.NodeTerminationStatus{a, b} {
		status.Pods, status.Blocked, status.PodOutcomes = nil, nil, nil
		for i := range status.Conditions {
			status.Conditions[i].Message = ""
		}
	}
	switch {
	case !equality.Semantic.DeepEqual(a, b):
		return 0
	case (len(before.Blocked) == 0) != (len(after.Blocked) == 0):
		return blockedInterval
	default:
		return min(max(progressInterval, time.Duration(drains)*progressShare), crowdInterval)
	}
}
