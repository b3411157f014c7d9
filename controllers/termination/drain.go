// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
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

// drain is the phase that makes the pods leave.
func (r *Reconciler) drain(ctx context.Context, s *scope) (bool, error) {
	switch {
	case s.finished():
	case s.decision.action == v1alpha1.ActionIgnore:
		s.settle(v1alpha1.StateIgnored, s.decision.ignores)
	case s.decision.action == v1alpha1.ActionCordon:
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonNotRequested, "no drain was asked for")
		s.settle(v1alpha1.StateCordoned, fmt.Sprintf("policy %s cordons for %s; the pods are left alone", s.policy.Name, s.decision.cause))
	case s.now.Before(s.decision.drainAt):
		message := "the drain begins at " + inClock(s.decision.drainAt)
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonScheduled, message)
		s.settle(v1alpha1.StateScheduled, message)
		s.lookAgain(s.decision.drainAt)
	case !s.begins:
		s.wait(s.waits)
	case s.podsGone() && s.was(v1alpha1.StateCompleting):
		s.finish(v1alpha1.StateCompleted, meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained).Message)
	case s.podsGone():
		return true, r.drainAgain(ctx, s)
	case s.now.Before(s.balanced()):
		s.wait("load balancers have until " + inClock(s.balanced()) + " to stop sending to the node")
		s.lookAgain(s.balanced())
	default:
		return true, r.evict(ctx, s)
	}
	return true, nil
}

// wait says what a drain that could begin waits for.
func (s *scope) wait(why string) {
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonWaiting, why)
	s.settle(v1alpha1.StateWaiting, why)
}

// balanced is when load balancers have had the time to pass the node over: the
// policy's delay after we told them, and half of the time before a hard deadline at most.
func (s *scope) balanced() time.Time {
	delay, _ := s.policy.Spec.ExcludesFromLoadBalancers()
	m, _ := marksOn(s.node)
	if m.ExcludedSince == 0 || s.was(v1alpha1.StateDraining) {
		return time.Time{}
	}
	since := time.Unix(m.ExcludedSince, 0)
	if !s.decision.deadline.IsZero() {
		delay = min(delay, s.decision.deadline.Sub(since)/2)
	}
	return since.Add(delay)
}

// inClock is a time for people.
func inClock(at time.Time) string {
	return at.UTC().Format(time.RFC3339)
}

// drainAgain is for a node that was drained before another event was heard. If it
// is still empty the record stays as it was.
func (r *Reconciler) drainAgain(ctx context.Context, s *scope) error {
	pods, err := r.Watches.List(ctx, s.node.Name)
	if err != nil {
		return err
	}
	plan, err := r.plan(s, pods)
	if err != nil {
		return err
	}
	if !plan.Done {
		return r.evict(ctx, s)
	}
	drained := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained)
	s.endedAt = drained.LastTransitionTime.DeepCopy()
	s.finish(v1alpha1.StateCompleted, drained.Message)
	return nil
}

// startDrain begins or goes on to drain, and is whether that is news to this process.
func (r *Reconciler) startDrain(s *scope) (news bool) {
	s.draining = true
	if s.nt.Status.DrainStartTime == nil || !s.was(v1alpha1.StateDraining) {
		// Also after a suspension or another end: the time that a drain may take begins anew.
		s.nt.Status.DrainStartTime = &metav1.Time{Time: s.now.Truncate(time.Second)} // as the API keeps it
	}
	s.settle(v1alpha1.StateDraining, "finding the pods of the node")
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonDraining, s.message)
	news = r.memory.follow(s.nt.Name, s.node.Name)
	r.Watches.Watch(s.node.Name)
	return news
}

// evict plans what to do about the pods now and hands it to the executor.
func (r *Reconciler) evict(ctx context.Context, s *scope) error {
	news := r.startDrain(s)
	pods, synced := r.Watches.Pods(s.node.Name)
	if !synced {
		s.unsettled = news
		s.lookAgain(s.now.Add(settleTime))
		return r.Watches.Err(s.node.Name)
	}
	if err := r.gather(s, pods); err != nil {
		return err
	}
	plan, err := r.plan(s, pods)
	if err != nil {
		return err
	}
	arriving := plan.Done && s.now.Before(s.lastArrival())
	if !arriving && (plan.TimedOut || plan.Lost || plan.Done && !r.Watches.SawDeletion(s.node.Name)) {
		// What is known may be older than the cordon: a drain is over, well or not, only
		// by pods that were seen to leave since, or a look at the API server itself.
		if pods, err = r.Watches.List(ctx, s.node.Name); err != nil {
			return err
		}
		if plan, err = r.plan(s, pods); err != nil {
			return err
		}
	}
	s.count(plan.Counts)
	s.recordUnblocked(plan.Unblocked)
	r.recordCutShort(s)
	s.nt.Status.Blocked = plan.Blocked
	switch {
	case plan.Done && !arriving:
		farewell := s.farewell()
		s.condition(v1alpha1.ConditionDrained, true, v1alpha1.ReasonPodsGone, farewell)
		s.finish(v1alpha1.StateCompleted, farewell)
	case plan.TimedOut:
		s.giveUp(plan)
	case plan.Lost && !s.policy.Spec.DeclaresOutOfService(): // else Kubernetes will soon delete them by force
		s.giveUp(plan)
	default:
		if err := r.handOver(ctx, &plan); err != nil {
			return err
		}
		r.Executor.Set(s.nt.Name, plan.Actions)
		s.lookAgain(plan.NextLook)
		s.lookAgain(s.now.Add(safetyLook))
		if arriving {
			s.lookAgain(s.lastArrival())
		}
		s.progress(plan.Counts)
	}
	return nil
}

// lastArrival is until when pods may arrive that the scheduler was binding when the
// node was cordoned.
func (s *scope) lastArrival() time.Time {
	return s.nt.Status.DrainStartTime.Add(arrivalTime)
}

// handOver keeps the plan from telling this very process to go, if another replica
// can take over and do that.
func (r *Reconciler) handOver(ctx context.Context, plan *drain.Plan) error {
	own := slices.IndexFunc(plan.Actions, func(action drain.Action) bool { return r.Replica.IsSelf(action.Pod.Namespace, action.Pod.Name) })
	if own < 0 {
		return nil
	}
	handedOver, err := r.Replica.HandOver(ctx)
	if handedOver {
		plan.Actions = slices.Delete(plan.Actions, own, own+1)
	}
	return err
}

func (r *Reconciler) plan(s *scope, pods []drain.Pod) (drain.Plan, error) {
	plan, err := drain.NewPlan(drain.Input{
		Pods: pods, Drain: s.rules(), Deadline: s.decision.deadline,
		Started: ptr.Deref(s.nt.Status.DrainStartTime, metav1.Time{}).Time, Now: s.now, Blockers: r.Executor.Blockers(s.nt.Name), Blocked: s.nt.Status.Blocked,
		Own: func(pod drain.Pod) bool { return r.Replica.IsReplica(pod.Namespace, pod.Labels) }, NodeDead: s.dead,
	})
	if err != nil {
		return plan, fmt.Errorf("policy %s: %w", s.policy.Name, err)
	}
	return plan, nil
}

// rules are the policy's way to drain; every default, should the policy be gone.
func (s *scope) rules() *v1alpha1.DrainSpec {
	if s.policy == nil {
		return nil
	}
	return s.policy.Spec.Drain
}

// stopDrain calls off what the executor was to do and stops following the pods.
func (r *Reconciler) stopDrain(name string) {
	node, was := r.memory.unfollow(name)
	if was {
		r.Executor.Set(name, nil)
	}
	if node != "" {
		r.Watches.Stop(node)
	}
}

// count counts on from what the status says already, as nothing else remembers
// the pods that are gone.
func (s *scope) count(now drain.Counts) {
	total := int32(now.Remaining)
	if before := s.nt.Status.Pods; before != nil {
		total = max(*before.Total, *before.Total-*before.Remaining+total)
	}
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

// progress says how far the drain is.
func (s *scope) progress(now drain.Counts) {
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
	s.condition(v1alpha1.ConditionDrained, false, reason, message)
	s.settle(v1alpha1.StateDraining, message)
}

// giveUp ends a drain that took too long.
func (s *scope) giveUp(plan drain.Plan) {
	reason, why := v1alpha1.ReasonTimeout, "drain.timeoutSeconds passed"
	switch {
	case s.dead:
		reason, why = v1alpha1.ReasonInstanceStopped, "the instance has stopped before the drain was finished,"
	case !s.decision.deadline.IsZero():
		reason, why = v1alpha1.ReasonDeadlineExceeded, "the instance's deadline passed and it is still there"
	}
	s.recordLeft(plan.Blocked)
	message := fmt.Sprintf("%s with %d of %d pods not gone", why, plan.Counts.Remaining, *s.nt.Status.Pods.Total)
	if len(plan.Blocked) > 0 {
		message += fmt.Sprintf("; the first is %s/%s: %s", plan.Blocked[0].Namespace, plan.Blocked[0].Name, plan.Blocked[0].Reason)
	}
	s.condition(v1alpha1.ConditionDrained, false, reason, message)
	s.finish(v1alpha1.StateFailed, message)
}

// farewell says how the drain went.
func (s *scope) farewell() string {
	message := fmt.Sprintf("%d pods gone in %s", *s.nt.Status.Pods.Total, s.now.Sub(s.nt.Status.DrainStartTime.Time).Round(time.Second))
	if s.decision.deadline.IsZero() {
		return message
	}
	if left := s.decision.deadline.Sub(s.now).Round(time.Second); left >= 0 {
		return message + fmt.Sprintf(", %s before the deadline", left)
	}
	return message + ", after the deadline"
}
