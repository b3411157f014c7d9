// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// crowdInterval: a crowd shares some three such writes a second, as the pods come first.
	progressShare = 300 * time.Millisecond
	crowdInterval = time.Minute
	// blockedInterval is the same where pods begin or cease to be blocked, which is
	// worth a write sooner.
	blockedInterval = time.Second
)

// outlook is what a state means for Ready, Reconciling and Stalled.
type outlook struct{ ready, reconciling, stalled bool }

var outlooks = map[string]outlook{
	v1alpha1.StateReceived:   {reconciling: true},
	v1alpha1.StateScheduled:  {reconciling: true},
	v1alpha1.StateWaiting:    {reconciling: true},
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

// finish ends the termination, but one that went well only when no lifecycle hook
// waits any more.
func (s *scope) finish(state, message string) {
	s.draining = false
	s.settle(state, message)
	if state == v1alpha1.StateCompleted {
		s.ending = true
		return
	}
	s.nt.Status.CompletionTime = &metav1.Time{Time: s.now}
}

// conclude ends a termination that went well if no hook waits any more.
func (s *scope) conclude() {
	if !s.ending {
		return
	}
	if waiting := s.waitingHooks(); s.attends() && len(waiting) > 0 {
		hook := waiting[0]
		message := fmt.Sprintf("%s; then hook %s of group %s is completed", s.message, hook.Name, hook.AutoScalingGroupName)
		if hook.Message != "" {
			message += ": " + hook.Message
		}
		s.settle(v1alpha1.StateCompleting, message)
		return
	}
	s.nt.Status.CompletionTime = s.endedAt
	if s.endedAt == nil {
		s.nt.Status.CompletionTime = &metav1.Time{Time: s.now}
	}
}

// sumUp turns the state into the conditions that everybody reads. An error
// keeps the state and takes the message's place, so that it shows in kubectl.
func (s *scope) sumUp(err error) {
	ready := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionReady)
	if s.state == "" {
		s.settle(v1alpha1.StateReceived, "events were heard")
		if ready != nil {
			s.settle(ready.Reason, ready.Message)
		}
	}
	var trouble string
	switch {
	case err == nil:
	case s.finished():
		trouble = err.Error() // the record of how it ended stays
	default:
		s.message = err.Error()
	}
	o := outlooks[s.state]
	s.condition(v1alpha1.ConditionReady, o.ready && err == nil, s.state, s.message)
	s.condition(v1alpha1.ConditionReconciling, o.reconciling || err != nil, s.state, trouble)
	s.condition(v1alpha1.ConditionStalled, o.stalled && err == nil, s.state, "")
	slices.SortStableFunc(s.nt.Status.Conditions, func(a, b metav1.Condition) int {
		return slices.Index(story, a.Type) - slices.Index(story, b.Type)
	})
	s.nt.Status.ObservedGeneration = s.nt.Generation
}

// story is the order of the conditions: what happened, one after the other, and
// then what it comes to.
var story = []string{
	v1alpha1.ConditionCordoned, v1alpha1.ConditionDrained, v1alpha1.ConditionLifecycleHookCompleted, v1alpha1.ConditionNotified,
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
}

// writeStatus is the one write at the end of a reconcile. It is left out if
// nothing changed, and put off if more will be known in a moment, or if only
// counts changed and the last write is fresh.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope, before *v1alpha1.NodeTermination) error {
	if s.unsettled || equality.Semantic.DeepEqual(before.Status, s.nt.Status) {
		return nil
	}
	if due := r.memory.recall(s.nt.Name).written.Add(writeInterval(&before.Status, &s.nt.Status, r.memory.drainCount())); s.now.Before(due) {
		s.lookAgain(due)
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, s.nt, patch); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // deleted meanwhile, which brings us back
		}
		return fmt.Errorf("cannot write the status of NodeTermination %s: %w", s.nt.Name, err)
	}
	r.memory.wrote(s.nt.Name, s.now, s.finished())
	r.announce(s, before)
	s.measure(before, r.Clock.Now())
	if stateIn(&before.Status) != s.state {
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination is "+s.state, "message", s.message)
	}
	return nil
}

// writeInterval is how long after the last write a changed status may be written.
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
