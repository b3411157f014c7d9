// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// minHookRetry and maxHookRetry bound the wait after a failed call about a hook,
	// which doubles.
	minHookRetry, maxHookRetry = time.Second, 30 * time.Second
	// askEvery is how often Auto Scaling is asked for what it did not say.
	askEvery = 10 * time.Second
	// blindHeartbeat is the interval at most while a hook's timeout is not known, the
	// least of which is 30 seconds.
	// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
	blindHeartbeat = 10 * time.Second
	// busyRetry is how soon a call is tried again that found too many under way.
	busyRetry = 200 * time.Millisecond
	// findHooksFor is for how long the hook is looked for that a watcher's event is about.
	findHooksFor = 10 * time.Minute
)

// attend makes the calls about lifecycle hooks that are due: it asks for what is
// not known of them, tells the group to go on waiting, and completes them. Its
// troubles are told in the status and hold up nothing else.
func (r *Reconciler) attend(ctx context.Context, s *scope) {
	if !s.attends() {
		return
	}
	r.findHooks(ctx, s)
	for i := range s.nt.Status.LifecycleHooks {
		hook := &s.nt.Status.LifecycleHooks[i]
		s.judgeHook(hook) // the drain may have come to an end since it was noticed
		if hook.State == v1alpha1.HookWaiting {
			r.describeHook(ctx, s, hook)
			r.attendHook(ctx, s, hook)
		}
	}
	s.sumUpHooks()
}

// attends is whether hooks are seen to: by a policy that is not in mode DryRun.
func (s *scope) attends() bool {
	return s.policy != nil && !s.policy.Spec.DryRun()
}

// attendHook makes the one call about a hook that is due.
func (r *Reconciler) attendHook(ctx context.Context, s *scope, hook *v1alpha1.HookStatus) {
	if hook.RetryTime != nil && s.now.Before(hook.RetryTime.Time) {
		s.lookAgain(hook.RetryTime.Time)
		return
	}
	next := s.nextCall(hook)
	if next.result != "" && !s.now.Before(next.at) {
		if keep := r.keeps(ctx, s, hook); keep != "" {
			hook.Message = truncate(keep, maxReason)
			s.lookAgain(s.now.Add(volumesLook))
			next = s.nextHeartbeat(hook)
		}
	}
	switch {
	case next.at.IsZero():
		return
	case s.now.Before(next.at):
		s.lookAgain(next.at)
	case next.result != "":
		r.completeHook(ctx, s, hook, next.result)
	default:
		r.heartbeat(ctx, s, hook)
	}
}

// keeps says why a hook is not to be completed yet although the pods had gone; empty if it is.
func (r *Reconciler) keeps(ctx context.Context, s *scope, hook *v1alpha1.HookStatus) string {
	if s.node == nil || !s.podsGone() {
		return ""
	}
	pods, err := r.Watches.List(ctx, s.node.Name)
	if err != nil {
		return fmt.Sprintf("it is not known whether pods have come since: %v", err)
	}
	plan, err := r.plan(s, pods)
	switch {
	case err != nil:
		return err.Error()
	case !plan.Done:
		return s.drainAnew(plan.Counts.Remaining)
	}
	return r.volumesKeep(ctx, s, hook, pods)
}

// drainAnew has the node drained once more, as pods have come to it since, such as
// those that tolerate the cordon.
func (s *scope) drainAnew(pods int) string {
	message := fmt.Sprintf("%d pods have come to the node since it was drained", pods)
	s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonDraining, message)
	s.nt.Status.CompletionTime, s.ending = nil, false
	s.nt.Status.DrainStartTime = &metav1.Time{Time: s.now.Truncate(time.Second)} // as the API keeps it
	s.settle(v1alpha1.StateDraining, message)
	s.lookAgain(s.now)
	return message
}

// hookCall is a call about a hook and when it is due: its completion, or a heartbeat
// if there is no result. The zero value is none.
type hookCall struct {
	at     time.Time
	result awsapi.Result
}

// nextCall is the call about a hook that is due next.
func (s *scope) nextCall(hook *v1alpha1.HookStatus) hookCall {
	switch {
	case s.suspended():
		return s.nextHeartbeat(hook)
	case s.node == nil:
		return hookCall{s.now, awsapi.Continue}
	case s.podsGone():
		drained := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained)
		completion := hookCall{drained.LastTransitionTime.Add(s.policy.Spec.LifecycleHook.CompletionDelay()), awsapi.Continue}
		if completion.at.After(hook.Deadline.Time) {
			completion.at = hook.Deadline.Time
		}
		return earlier(completion, s.nextHeartbeat(hook))
	case s.overdue(hook):
		if s.policy.Spec.LifecycleHook.AtTimeout() == v1alpha1.OnTimeoutAbandon {
			return hookCall{s.now, awsapi.Abandon}
		}
		return hookCall{s.now, awsapi.Continue}
	}
	s.lookAgain(hook.Deadline.Time)
	return s.nextHeartbeat(hook)
}

// nextHeartbeat is when the group is told next to go on waiting: never after the
// deadline, nor once the drain was given up.
func (s *scope) nextHeartbeat(hook *v1alpha1.HookStatus) hookCall {
	interval := s.policy.Spec.LifecycleHook.HeartbeatInterval(heartbeatTimeout(hook))
	if hook.HeartbeatTimeoutSeconds == nil {
		interval = min(interval, blindHeartbeat)
	}
	if interval == 0 || s.finished() && !s.podsGone() {
		return hookCall{}
	}
	at := ptr.Deref(hook.LastHeartbeatTime, s.waitsSince(hook)).Add(interval)
	if !at.Before(hook.Deadline.Time) || !s.now.Before(hook.Deadline.Time) {
		return hookCall{}
	}
	return hookCall{at: at}
}

// waitsSince is since when the group waits at a hook: what was said of it may have
// been on its way for a while.
func (s *scope) waitsSince(hook *v1alpha1.HookStatus) metav1.Time {
	for _, e := range s.active() {
		if at := e.LifecycleHook; at != nil && at.AutoScalingGroupName == hook.AutoScalingGroupName && at.Name == hook.Name &&
			at.Token == hook.Token && e.Time.Before(&hook.StartTime) {
			return e.Time
		}
	}
	return hook.StartTime
}

// earlier is the call that is due first; a completion goes before a heartbeat.
func earlier(completion, heartbeat hookCall) hookCall {
	if heartbeat.at.IsZero() || !completion.at.After(heartbeat.at) {
		return completion
	}
	return heartbeat
}

func (r *Reconciler) heartbeat(ctx context.Context, s *scope, hook *v1alpha1.HookStatus) {
	err := r.Cloud.Heartbeat(ctx, s.action(hook))
	if !s.called(hook, err) {
		return
	}
	hook.LastHeartbeatTime = &metav1.Time{Time: s.now}
	if next := s.nextHeartbeat(hook); !next.at.IsZero() {
		s.lookAgain(next.at)
	}
}

func (r *Reconciler) completeHook(ctx context.Context, s *scope, hook *v1alpha1.HookStatus, result awsapi.Result) {
	key := hookKey{hook.AutoScalingGroupName, hook.Name, hook.Token}
	// A status that could not be written is no reason to complete the hook again.
	if !r.memory.hasCompleted(s.nt.Name, key) {
		if !s.called(hook, r.Cloud.Complete(ctx, s.action(hook), result)) {
			return
		}
		r.memory.noteCompleted(s.nt.Name, key)
	}
	hook.State = v1alpha1.HookContinued
	if result == awsapi.Abandon {
		hook.State = v1alpha1.HookAbandoned
	}
}

// called notes in a hook's status how a call about it went, and is whether it went well.
func (s *scope) called(hook *v1alpha1.HookStatus, err error) bool {
	switch {
	case errors.Is(err, awsapi.ErrBusy):
		s.lookAgain(s.now.Add(busyRetry))
		return false
	case errors.Is(err, awsapi.ErrNoAction):
		s.ended(hook, "the group does not wait any more: somebody else completed the hook, or it timed out")
		return false
	case err != nil:
		failures := ptr.Deref(hook.Failures, 0) + 1
		hook.Failures, hook.Message = &failures, truncate(err.Error(), maxReason)
		hook.RetryTime = &metav1.Time{Time: s.now.Add(hookBackoff(failures))}
		s.lookAgain(hook.RetryTime.Time)
		return false
	}
	hook.Failures, hook.RetryTime, hook.Message = nil, nil, ""
	return true
}

func hookBackoff(failures int32) time.Duration {
	delay := minHookRetry
	for ; failures > 1 && delay < maxHookRetry; failures-- {
		delay *= 2
	}
	return min(wait.Jitter(delay, 0.5), maxHookRetry)
}

// action is the lifecycle action that waits at a hook.
func (s *scope) action(hook *v1alpha1.HookStatus) awsapi.Action {
	return awsapi.Action{
		Region: s.region(), Group: hook.AutoScalingGroupName, Hook: hook.Name,
		Token: hook.Token, InstanceID: s.nt.Spec.InstanceID,
	}
}

// region is the instance's; empty if nobody said.
func (s *scope) region() string {
	if s.nt.Status.Node != nil && s.nt.Status.Node.Zone != "" {
		return awsapi.RegionOf(s.nt.Status.Node.Zone)
	}
	if s.nt.Spec.Instance != nil {
		return s.nt.Spec.Instance.Region
	}
	return ""
}

// describeHook asks, until it is known, for how long the group waits at a hook.
func (r *Reconciler) describeHook(ctx context.Context, s *scope, hook *v1alpha1.HookStatus) {
	if hook.HeartbeatTimeoutSeconds != nil || !r.mayAsk(s) {
		return
	}
	hooks, err := r.Cloud.Hooks(ctx, s.region(), hook.AutoScalingGroupName)
	if r.askAgain(s, err) {
		if !errors.Is(err, awsapi.ErrBusy) {
			hook.Message = truncate(fmt.Sprintf("its timeout is not known, an hour is assumed: %v", err), maxReason)
		}
		return
	}
	i := slices.IndexFunc(hooks, func(described awsapi.Hook) bool { return described.Name == hook.Name })
	if i < 0 {
		r.memory.asked(s.nt.Name, s.now) // the group has no such hook any more, and says so to the next call
		return
	}
	hook.HeartbeatTimeoutSeconds = ptr.To(int32(cmp.Or(hooks[i].HeartbeatTimeout, assumedHeartbeatTimeout) / time.Second))
	if global := int32(hooks[i].GlobalTimeout / time.Second); global > 0 {
		hook.GlobalTimeoutSeconds = &global
	}
	hook.Message = ""
	hook.Deadline = metav1.Time{Time: s.hookDeadline(hook)}
	s.lookAgain(s.now) // the drain's deadline may be another
}

// findHooks finds the hooks that wait for an instance whose watcher heard that its
// group terminates it: the metadata service does not name them.
func (r *Reconciler) findHooks(ctx context.Context, s *scope) {
	if !s.seeksHooks() || !r.mayAsk(s) {
		return
	}
	group, err := r.Cloud.TerminatingIn(ctx, s.region(), s.nt.Spec.InstanceID)
	var hooks []awsapi.Hook
	if err == nil && group != "" {
		hooks, err = r.Cloud.Hooks(ctx, s.region(), group)
	}
	if r.askAgain(s, err) {
		if !errors.Is(err, awsapi.ErrBusy) {
			s.condition(v1alpha1.ConditionLifecycleHookCompleted, false, v1alpha1.ReasonHookFailing,
				fmt.Sprintf("cannot find the lifecycle hook that waits for the instance: %v", err))
		}
		return
	}
	if len(hooks) == 0 {
		s.lookAgain(s.now.Add(askEvery)) // it may come to wait yet
	}
	r.memory.asked(s.nt.Name, s.now)
	meta.RemoveStatusCondition(&s.nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
	for _, hook := range hooks {
		if !hook.Launching {
			s.noticeHook(v1alpha1.LifecycleHook{AutoScalingGroupName: group, Name: hook.Name})
		}
	}
}

// seeksHooks is whether a hook may wait for the drain that nobody has named.
func (s *scope) seeksHooks() bool {
	if s.forbids != "" || s.node == nil || len(s.nt.Status.LifecycleHooks) > 0 ||
		s.policy.Spec.ActionFor(v1alpha1.AutoScalingTermination) != v1alpha1.ActionCordonAndDrain {
		return false
	}
	return slices.ContainsFunc(s.active(), func(e v1alpha1.Event) bool {
		return e.Kind == v1alpha1.AutoScalingTermination && e.LifecycleHook == nil && !s.now.After(e.Time.Add(findHooksFor))
	})
}

// mayAsk is whether Auto Scaling may be asked about a termination again.
func (r *Reconciler) mayAsk(s *scope) bool {
	if due := r.memory.recall(s.nt.Name).asked.Add(askEvery); s.now.Before(due) {
		s.lookAgain(due)
		return false
	}
	return true
}

// askAgain is whether a question has to be asked again because it failed.
func (r *Reconciler) askAgain(s *scope, err error) bool {
	switch {
	case errors.Is(err, awsapi.ErrBusy):
		s.lookAgain(s.now.Add(busyRetry))
	case err != nil:
		r.memory.asked(s.nt.Name, s.now)
		s.lookAgain(s.now.Add(askEvery))
	}
	return err != nil
}
