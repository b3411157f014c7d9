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
	"github.com/nodetermination/operator/controllers/drain"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// safetyLook is when a drain is looked at again though nothing is known to have
// changed, should a wake-up ever be lost.
const safetyLook = time.Minute

// arrivalTime is how long after the beginning of a drain, which follows the cordon,
// pods may yet arrive that the scheduler was binding. The beginning is kept in whole
// seconds, so that half of it is what it comes to at least.
const arrivalTime = 2 * time.Second

// settleTime is how long the first status of a drain waits for the pods to be
// known, which is usually a matter of milliseconds and saves a write for each node.
const settleTime = time.Second

// drain has the pods evicted.
func (r *Reconciler) drain(ctx context.Context, s *scope) (verdict, error) {
	switch {
	case s.finished():
		return r.evictNewcomers(ctx, s)
	case s.decision.action == v1alpha1.ActionIgnore:
		s.setState(v1alpha1.StateIgnored, s.decision.ignores)
	case s.admission.pending != "":
		s.wait(s.admission.pending)
	case s.decision.action == v1alpha1.ActionCordon:
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonNotRequested, "no drain was asked for")
		s.setState(v1alpha1.StateCordoned, fmt.Sprintf("policy %s cordons for %s; the pods are left alone", s.policy.Name, s.decision.cause))
	case s.now.Before(s.decision.drainAt):
		message := "the drain begins at " + formatTime(s.decision.drainAt)
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonScheduled, message)
		s.setState(v1alpha1.StateScheduled, message)
		s.lookAgain(s.decision.drainAt)
	case s.held != "":
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonHeld, s.held)
		s.setState(v1alpha1.StateHeld, s.held)
	case s.drained() != nil && s.was(v1alpha1.StateCompleting):
		s.finish(v1alpha1.StateCompleted, s.drained().Message)
	case s.drained() != nil:
		return r.verifyDrained(ctx, s)
	case s.now.Before(s.excludedUntil()):
		s.wait("load balancers have until " + formatTime(s.excludedUntil()) + " to stop sending to the node")
		s.lookAgain(s.excludedUntil())
	default:
		return r.evict(ctx, s)
	}
	return ended, nil
}

// wait says what a drain that could begin waits for.
func (s *scope) wait(reason string) {
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonWaiting, reason)
	s.setState(v1alpha1.StateWaiting, reason)
}

// excludedUntil returns until when load balancers have the time to exclude the node: the
// policy's delay after the node was labelled, and half of the time before a hard deadline at most.
func (s *scope) excludedUntil() time.Time {
	delay, _ := s.policy.Spec.ExcludesFromLoadBalancers()
	applied, _ := ec2node.AppliedOn(s.node)
	if applied.ExcludedSince == 0 || s.was(v1alpha1.StateDraining) && !s.registeredAgain {
		return time.Time{}
	}
	since := time.Unix(applied.ExcludedSince, 0)
	if since.After(s.now) {
		return time.Time{} // this operator has not written that
	}
	if !s.decision.deadline.IsZero() {
		delay = s.policy.Spec.LoadBalancerWait(s.decision.deadline.Sub(since))
	}
	return since.Add(delay)
}

// verifyDrained looks at a node that was drained before another event was received. If it
// is still empty the record stays as it was.
func (r *Reconciler) verifyDrained(ctx context.Context, s *scope) (verdict, error) {
	pods, err := r.Watcher.List(ctx, s.node.Name)
	if err != nil {
		return ended, err
	}
	if plan := r.plan(s, pods, false); !plan.Done {
		return r.evict(ctx, s)
	}
	s.finish(v1alpha1.StateCompleted, s.drained().Message)
	return ended, nil
}

// startDrain begins or goes on to drain, and returns since when this process follows the pods.
func (r *Reconciler) startDrain(s *scope) (since time.Time) {
	if s.nt.Status.DrainStartTime == nil {
		r.Local.beginLosses(s.nt.Name) // another process may have cordoned the node, and evicted none
	}
	if s.nt.Status.DrainStartTime == nil || !s.was(v1alpha1.StateDraining) {
		// Also after a suspension or another end: the time that a drain may take begins anew.
		s.nt.Status.DrainStartTime = s.drainStart()
	}
	s.setState(v1alpha1.StateDraining, "finding the pods of the node")
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonDraining, s.message)
	since = r.Local.startDrain(s.nt.Name, s.node.Name, s.now)
	r.Watcher.Watch(s.node.Name)
	return since
}

// drainStart returns the time of a drain that begins now, as the API keeps it.
func (s *scope) drainStart() *metav1.Time {
	return &metav1.Time{Time: s.now.Truncate(time.Second)}
}

// evict plans what to do about the pods now and hands it to the executor.
func (r *Reconciler) evict(ctx context.Context, s *scope) (verdict, error) {
	settled := r.startDrain(s).Add(settleTime)
	pods, synced := r.Watcher.Pods(s.node.Name)
	if !synced {
		s.lookAgain(s.now.Add(backOff(s.now.Sub(s.nt.Status.DrainStartTime.Time), settleTime)))
		if s.now.Before(settled) {
			s.lookAgain(settled)
			return postponed, r.Watcher.Err(s.node.Name)
		}
		return ended, r.Watcher.Err(s.node.Name)
	}
	r.notePods(s, pods)
	r.noteLosses(s, pods)
	dead := r.dead(s)
	plan, err := r.planLatest(ctx, s, pods, dead)
	if err != nil {
		return ended, err
	}
	r.recordPlan(s, &plan)
	returners := r.findReturners(s, pods)
	arriving := s.arriving(&plan)
	switch {
	case plan.Done && !arriving:
		message := s.drainedMessage()
		s.condition(v1alpha1.ConditionDrained, true, v1alpha1.ReasonPodsGone, message)
		s.finish(v1alpha1.StateCompleted, message)
	case plan.TimedOut, plan.Lost && !s.policy.Spec.DeclaresOutOfService(): // else Kubernetes will soon delete the lost ones by force
		s.failDrain(&plan, dead)
	default:
		if err := r.spareSelf(ctx, s, &plan); err != nil {
			return ended, err
		}
		returning := r.planReturners(s, returners, false)
		r.Executor.Set(s.nt.Name, append(plan.Actions, returning...))
		s.lookAgain(plan.NextLook)
		s.lookAgain(s.now.Add(safetyLook))
		if arriving {
			s.lookAgain(s.lastArrival())
		}
		s.reportProgress(plan.Counts)
	}
	return ended, nil
}

// planLatest plans with the pods as they are known. If that would end the drain, they are
// listed anew: what is known may be older than the cordon, and a drain is over, well or
// not, only by pods that were seen to be deleted since, or a list of the API server itself.
func (r *Reconciler) planLatest(ctx context.Context, s *scope, pods []drain.Pod, dead bool) (drain.Plan, error) {
	plan := r.plan(s, pods, dead)
	done := plan.Done && !r.Watcher.SawDeletion(s.node.Name)
	if s.arriving(&plan) || !plan.TimedOut && !plan.Lost && !done {
		return plan, nil
	}
	pods, err := r.Watcher.List(ctx, s.node.Name)
	if err != nil {
		return plan, err
	}
	return r.plan(s, pods, dead), nil
}

// arriving reports whether no pod is left, but one may arrive yet that the scheduler was
// binding when the node was cordoned.
func (s *scope) arriving(plan *drain.Plan) bool {
	return plan.Done && s.now.Before(s.lastArrival())
}

// lastArrival returns until when pods may arrive that the scheduler was binding when the
// node was cordoned.
func (s *scope) lastArrival() time.Time {
	return s.nt.Status.DrainStartTime.Add(arrivalTime)
}

// plan plans the drain of a node with these pods, but for the returners among them. dead:
// see Reconciler.dead.
func (r *Reconciler) plan(s *scope, pods []drain.Pod, dead bool) drain.Plan {
	losses := r.losses(s)
	awaited, _ := losses.part(pods)
	in := r.planInput(s, awaited, dead)
	in.Gone, _ = losses.part(r.Watcher.Gone(s.nt.Spec.NodeName))
	return drain.NewPlan(in)
}

// planInput returns what the plan for some pods of the node is made from.
func (r *Reconciler) planInput(s *scope, pods []drain.Pod, dead bool) drain.Input {
	in := drain.Input{
		Pods: pods, Drain: s.rules(), Deadline: s.decision.deadline, Earliest: s.couldBegin(),
		Started: ptr.Deref(s.nt.Status.DrainStartTime, metav1.Time{}).Time, Now: s.now, Blockers: r.Executor.Blockers(s.nt.Name), Blocked: s.nt.Status.Blocked,
		Own: func(pod drain.Pod) bool { return r.Replica.IsReplica(pod.Namespace, pod.Labels) }, ShuttingDown: s.shuttingDown(), NodeDead: dead,
	}
	if s.late() {
		in.BudgetsUntil = s.drainBegan().Add(s.rules().Timeout())
	}
	return in
}

// couldBegin returns when the drain could have begun at the earliest for the deadline that
// it has: budgets or a suspension may have held it up.
func (s *scope) couldBegin() time.Time {
	at := s.decision.announced
	if s.decision.drainAt.After(at) {
		at = s.decision.drainAt
	}
	return earliest(at, s.drainBegan())
}

// late reports whether the drain began after the maintenance that it is for, so that nobody
// knows how much time is left.
func (s *scope) late() bool {
	return s.decision.late && s.decision.deadline.IsZero()
}

// shuttingDown reports whether EC2 has said that the instance stops or terminates, and the
// policy drains for that.
func (s *scope) shuttingDown() bool {
	return s.policy != nil && !s.unconfirmed && s.policy.Spec.ActionFor(v1alpha1.InstanceStateChange) == v1alpha1.ActionCordonAndDrain &&
		slices.ContainsFunc(s.active(), func(e v1alpha1.Event) bool { return e.Kind == v1alpha1.InstanceStateChange })
}

// rules returns the policy's way to drain; every default, should the policy be gone.
func (s *scope) rules() *v1alpha1.DrainSpec {
	if s.policy == nil {
		return nil
	}
	return s.policy.Spec.Drain
}

// notePods notes which pods are to be evicted, when they are first known, for webhooks,
// and what to say in Kubernetes events on them.
func (r *Reconciler) notePods(s *scope, pods []drain.Pod) {
	if r.podsKnown(s) {
		return
	}
	var names []string
	if len(s.policy.Spec.Webhooks) > 0 {
		for _, pod := range drain.PodsToEvict(pods, s.policy.Spec.Drain) {
			names = append(names, pod.Name)
		}
	}
	r.Local.update(s.nt.Name, func(known *localRecord) {
		known.podsSince, known.pods, known.events = s.nt.Status.DrainStartTime.Time, names, s.eventPolicy()
	})
}

// podsKnown reports whether it is known which pods this drain has to evict.
func (r *Reconciler) podsKnown(s *scope) bool {
	return r.Local.get(s.nt.Name).podsSince.Equal(s.nt.Status.DrainStartTime.Time)
}

// stopIdleDrain stops a drain that does not go on.
func (r *Reconciler) stopIdleDrain(_ context.Context, s *scope) {
	if s.err == nil && s.state != v1alpha1.StateDraining && !s.evictsReturners {
		r.stopDrain(s.nt.Name)
	}
}

// stopDrain cancels what the executor was to do and stops following the pods.
func (r *Reconciler) stopDrain(name string) {
	node, was := r.Local.stopDrain(name)
	if was {
		r.Executor.Set(name, nil)
	}
	if node != "" {
		r.Watcher.Stop(node)
	}
}

// count counts on from what the status says already, as nothing else remembers the pods that
// were gone before this process began; those that it saw go may not be in the status.
func (s *scope) count(now drain.Counts) {
	total := int32(now.Remaining)
	if before := s.nt.Status.Pods; before != nil {
		total = max(*before.Total, *before.Total-*before.Remaining+total)
	}
	total = max(total, int32(now.Gone+now.Remaining))
	remaining, terminating := int32(now.Remaining), int32(now.Terminating)
	s.nt.Status.Pods = &v1alpha1.PodCounts{
		Total:       &total,
		Evicted:     ptr.To(total - remaining + terminating),
		Terminating: &terminating,
		Blocked:     ptr.To(int32(now.Blocked)),
		Remaining:   &remaining,
		Summary:     fmt.Sprintf("%d/%d", total-remaining, total),
	}
}

// reportProgress writes down how far the drain is.
func (s *scope) reportProgress(now drain.Counts) {
	reason := v1alpha1.ReasonDraining
	message := fmt.Sprintf("%s pods are gone, %d are shutting down", s.nt.Status.Pods.Summary, now.Terminating)
	if now.Waiting > 0 {
		message += fmt.Sprintf(", %d wait for the wave before them", now.Waiting)
	}
	if now.Blocked > 0 {
		message += fmt.Sprintf(", %d are blocked", now.Blocked)
		if blocked := s.nt.Status.Blocked; len(blocked) > 0 {
			message += fmt.Sprintf(", the first is %s/%s: %s", blocked[0].Namespace, blocked[0].Name, blocked[0].Reason)
		}
		if now.Blocked == now.Remaining {
			reason = v1alpha1.ReasonBlocked
		}
	}
	message += s.returnersMessage()
	s.condition(v1alpha1.ConditionDrained, false, reason, message)
	s.setState(v1alpha1.StateDraining, message)
}

// returnersMessage returns how many pods have returned, to add to a sentence; empty if none has.
func (s *scope) returnersMessage() string {
	if s.returners == 0 {
		return ""
	}
	return fmt.Sprintf(", %d have come back and are not waited for", s.returners)
}

// failDrain ends a drain that took too long.
func (s *scope) failDrain(plan *drain.Plan, dead bool) {
	reason, why := v1alpha1.ReasonTimeout, "drain.timeoutSeconds passed"
	switch {
	case dead:
		reason, why = v1alpha1.ReasonInstanceStopped, "the instance has stopped before the drain was finished,"
	case !s.decision.deadline.IsZero():
		reason, why = v1alpha1.ReasonDeadlineExceeded, "the instance's deadline passed and it is still there"
	case s.late():
		why = "drain.timeoutSeconds passed, and again without disruption budgets,"
	}
	for _, pod := range plan.Blocked {
		s.recordOutcome(pod.Namespace, pod.Name, v1alpha1.PodRemaining, pod.Reason)
	}
	message := fmt.Sprintf("%s with %d of %d pods not gone", why, plan.Counts.Remaining, *s.nt.Status.Pods.Total)
	if len(plan.Blocked) > 0 {
		message += fmt.Sprintf("; the first is %s/%s: %s", plan.Blocked[0].Namespace, plan.Blocked[0].Name, plan.Blocked[0].Reason)
	}
	s.condition(v1alpha1.ConditionDrained, false, reason, message)
	s.finish(v1alpha1.StateFailed, message)
}

// drainedMessage returns how the drain went.
func (s *scope) drainedMessage() string {
	message := fmt.Sprintf("%d pods gone in %s", *s.nt.Status.Pods.Total, s.now.Sub(s.nt.Status.DrainStartTime.Time).Round(time.Second)) + s.returnersMessage()
	if s.decision.deadline.IsZero() {
		return message
	}
	if left := s.decision.deadline.Sub(s.now).Round(time.Second); left >= 0 {
		return message + fmt.Sprintf(", %s before the deadline", left)
	}
	return message + ", after the deadline"
}
