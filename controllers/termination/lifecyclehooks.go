// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

// trackHooks takes note of the hooks that wait for the drain, so
// that their deadlines count. It makes no call: see callHooks.
func (r *Reconciler) trackHooks(_ context.Context, s *scope) (verdict, error) {
	plan := lifecyclehook.Track(r.hookInput(s))
	plan.WriteTo(s.nt)
	s.lookAgain(plan.NextLook)
	return proceed, nil
}

// callHooks makes the calls about lifecycle hooks that are due: it asks
// for what is not known of them, keeps the groups waiting, and completes the hooks. What
// fails is written in the status and holds up nothing else.
func (r *Reconciler) callHooks(ctx context.Context, s *scope) {
	if !lifecyclehook.Manages(s.policy) {
		return
	}
	in := r.hookInput(s)
	in.Unreachable = r.unreachable(ctx, s)
	plan := lifecyclehook.NewPlan(in)
	for len(plan.Calls) > 0 {
		call := plan.Calls[0]
		if call.Method == lifecyclehook.Complete && s.node != nil && s.drained() != nil {
			if blocked, restarted := r.completionBlockedBy(ctx, s, &plan.Hooks[call.Hook]); restarted {
				plan.Restart(blocked)
				continue
			} else if blocked != "" {
				plan.Hold(blocked)
				continue
			}
		}
		plan.Record(r.call(ctx, s, plan, call))
	}
	plan.WriteTo(s.nt)
	s.lookAgain(plan.NextLook)
	r.Local.update(s.nt.Name, func(known *localRecord) {
		known.asked, known.answered, known.listed, known.busy = plan.LastAsked, plan.Answered, plan.Listed, plan.Busy
	})
}

// complete ends a termination that went well, if no hook waits any more.
func (r *Reconciler) complete(_ context.Context, s *scope) {
	if s.state != v1alpha1.StateCompleted || s.finished() {
		return
	}
	waiting := lifecyclehook.Waiting(s.nt.Status.LifecycleHooks)
	if !lifecyclehook.Manages(s.policy) || len(waiting) == 0 {
		s.nt.Status.CompletionTime = s.completionTime()
		return
	}
	hook := waiting[0]
	message := fmt.Sprintf("%s; then hook %s of group %s is completed", s.message, hook.Name, hook.AutoScalingGroupName)
	if hook.Message != "" {
		message += ": " + hook.Message
	}
	s.setState(v1alpha1.StateCompleting, message)
}

// completionTime returns when a termination has ended that goes well: now, or when the pods
// were gone if that was before another event was received.
func (s *scope) completionTime() *metav1.Time {
	if drained := s.drained(); s.node != nil && drained != nil && !s.was(v1alpha1.StateCompleting) {
		return drained.LastTransitionTime.DeepCopy()
	}
	return &metav1.Time{Time: s.now}
}

// hookInput returns what a plan about hooks is made from.
func (r *Reconciler) hookInput(s *scope) lifecyclehook.Input {
	known := r.Local.get(s.nt.Name)
	in := lifecyclehook.Input{
		Events: s.active(), Hooks: s.nt.Status.LifecycleHooks, Policy: s.policy, Forbidden: s.decision.forbidden,
		Ungoverned: s.ungoverned, NodeMissing: s.node == nil && !s.gone, NodeGone: s.gone, Finished: s.finished(), Suspended: s.suspended(),
		LastAsked: known.asked, Answered: known.answered, Listed: known.listed, Busy: known.busy, Now: s.now,
	}
	if drained := s.drained(); drained != nil {
		in.PodsGoneSince = drained.LastTransitionTime.Time
	}
	return in
}

// call makes a call about a hook. A status that could not be written is no reason to
// complete the hook again.
func (r *Reconciler) call(ctx context.Context, s *scope, plan *lifecyclehook.Plan, call lifecyclehook.Call) (answer lifecyclehook.Answer) {
	if call.Method == lifecyclehook.Find {
		answer.Instance, answer.Err = r.AWS.GroupInstance(ctx, s.account(), s.nt.Spec.InstanceID)
		if answer.Err == nil && answer.Instance.WaitsToTerminate() {
			answer.Hooks, answer.Err = r.AWS.DescribeHooks(ctx, s.account(), answer.Instance.Group)
		}
		return answer
	}
	hook := &plan.Hooks[call.Hook]
	action := awsapi.Action{
		Account: s.account(), Group: hook.AutoScalingGroupName, Hook: hook.Name,
		Token: hook.Token, InstanceID: s.nt.Spec.InstanceID,
	}
	key := hookKey{hook.AutoScalingGroupName, hook.Name, hook.Token}
	switch call.Method {
	case lifecyclehook.Describe:
		answer.Hooks, answer.Err = r.AWS.DescribeHooks(ctx, s.account(), hook.AutoScalingGroupName)
	case lifecyclehook.Heartbeat:
		answer.Err = r.AWS.Heartbeat(ctx, action)
	case lifecyclehook.Complete:
		if r.Local.hasCompleted(s.nt.Name, key) {
			return answer
		}
		if answer.Err = r.AWS.Complete(ctx, action, call.Result); answer.Err == nil {
			r.Local.complete(s.nt.Name, key)
		}
	}
	if errors.Is(answer.Err, awsapi.ErrNoAction) {
		var err error
		if answer.Instance, err = r.AWS.GroupInstance(ctx, s.account(), s.nt.Spec.InstanceID); err != nil {
			r.logAbout(s.nt.Name, s.nt.Spec.NodeName).V(1).Info("it is not known whether the group still waits", "error", err.Error())
		}
	}
	return answer
}

// completionBlockedBy returns why a hook is not to be completed yet although the pods had
// gone; empty if it is. If that is pods that have come since, the drain is restarted.
func (r *Reconciler) completionBlockedBy(ctx context.Context, s *scope, hook *v1alpha1.HookStatus) (reason string, restarted bool) {
	pods, err := r.Watcher.List(ctx, s.node.Name)
	if err != nil {
		return fmt.Sprintf("it is not known whether pods have come since: %v", err), false
	}
	if plan := r.plan(s, pods, false); !plan.Done {
		return s.restartDrain(plan.Counts.Remaining), true
	}
	if reason = r.volumesAttached(ctx, s, hook, pods); reason == "" {
		r.evictReturners(s, pods, true) // nothing keeps the instance any more
	}
	return reason, false
}

// restartDrain has the node drained once more, as pods have come to it since, such as
// those that tolerate the cordon. It returns that in a sentence.
func (s *scope) restartDrain(pods int) string {
	message := fmt.Sprintf("%d pods have come to the node since it was drained", pods)
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonDraining, message)
	s.nt.Status.CompletionTime = nil
	s.nt.Status.DrainStartTime = s.drainStart()
	s.setState(v1alpha1.StateDraining, message)
	s.lookAgain(s.now)
	return message
}
