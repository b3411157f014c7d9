// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// maxRetryDelay bounds the wait after a failed call about a hook, and between the looks
	// at what somebody else has to do first.
	maxRetryDelay = 30 * time.Second
	// busyRetry is how soon a call is tried again that was not sent, as too many were under
	// way. It doubles while that lasts.
	busyRetry = 200 * time.Millisecond
	// noActionRetry is how soon a call is made again to which Auto Scaling knew no lifecycle action.
	noActionRetry = 5 * time.Second
	// holdInterval is how soon a completion that was held is looked at again, at first: each
	// time the node's pods are listed.
	holdInterval = 2 * time.Second
)

// Record folds the answer to the first of Calls into the plan.
func (p *Plan) Record(answer Answer) {
	call := p.Calls[0]
	if call.Method == Find {
		p.recordFound(answer)
		p.planCalls()
		return
	}
	hook := &p.Hooks[call.Hook]
	p.current, p.step = call.Hook, called
	switch call.Method {
	case Describe:
		p.recordDescribed(hook, answer)
		p.step = described
	case Heartbeat:
		p.recordHeartbeat(hook, answer)
	case Complete:
		if p.succeeded(hook, answer) {
			hook.State = v1alpha1.HookContinued
			if call.Result == awsapi.Abandon {
				hook.State = v1alpha1.HookAbandoned
			}
			if !p.podsGone() {
				hook.Message = p.in.Unreachable
			}
		}
	}
	p.planCalls()
}

// Hold puts the completion off that is the first of Calls, for a reason that the hook's
// status then says. The group is kept waiting meanwhile, with heartbeats until the deadline.
func (p *Plan) Hold(reason string) {
	p.current, p.step = p.Calls[0].Hook, held
	p.Hooks[p.current].Message = v1alpha1.TruncateMessage(reason, maxMessage)
	held := time.Duration(0)
	if p.podsGone() {
		held = p.in.Now.Sub(p.in.PodsGoneSince)
	}
	p.lookAgain(p.in.Now.Add(backOff(held, holdInterval)))
	p.planCalls()
}

// Restart holds a completion where pods have come to the node since it was drained, so that it is
// drained once more: the hooks that follow wait for that, too.
func (p *Plan) Restart(reason string) {
	p.in.PodsGoneSince, p.in.Finished = time.Time{}, false
	for i := p.Calls[0].Hook + 1; i < len(p.Hooks); i++ {
		p.update(&p.Hooks[i])
	}
	p.Hold(reason)
}

// errNotListed is that Auto Scaling has never listed the instance although its metadata service
// says that a group terminates it.
var errNotListed = errors.New("no Auto Scaling group of the AWS account and region that was asked has the instance: if the group is another account's, set lifecycleHook.roleARN to a role of that account")

// recordFound takes note of the hooks of the group in which the instance was found to wait.
func (p *Plan) recordFound(answer Answer) {
	if p.unanswered(answer.Err) {
		if !errors.Is(answer.Err, awsapi.ErrBusy) {
			p.findErr = answer.Err
		}
		return
	}
	p.LastAsked = p.in.Now
	if p.Listed = p.Listed || answer.Instance.Listed(); !p.Listed {
		p.findErr = errNotListed
		p.lookAgain(p.in.Now.Add(p.askDelay()))
		return
	}
	p.Answered, p.found = p.in.Finished, true
	for _, hook := range answer.Hooks {
		if !hook.Launching {
			p.track(v1alpha1.LifecycleHook{AutoScalingGroupName: answer.Instance.Group, Name: hook.Name})
		}
	}
	for i := range p.Hooks {
		setTimeouts(&p.Hooks[i], answer.Hooks)
		p.update(&p.Hooks[i])
	}
	switch {
	case len(p.Hooks) > 0:
		p.lookAgain(p.in.Now) // the drain's deadline is theirs
	case p.seeks():
		p.lookAgain(p.in.Now.Add(p.askDelay())) // it may come to wait yet
	}
}

// setTimeouts writes down for how long the group waits at a hook, and reports whether the
// hook is one of those that Auto Scaling has described.
func setTimeouts(hook *v1alpha1.HookStatus, described []awsapi.Hook) bool {
	i := slices.IndexFunc(described, func(d awsapi.Hook) bool { return d.Name == hook.Name })
	if i < 0 {
		return false
	}
	hook.HeartbeatTimeoutSeconds = ptr.To(int32(cmp.Or(described[i].HeartbeatTimeout, assumedHeartbeatTimeout) / time.Second))
	if global := int32(described[i].GlobalTimeout / time.Second); global > 0 {
		hook.GlobalTimeoutSeconds = &global
	}
	return true
}

// recordDescribed takes note of for how long the group waits at a hook.
func (p *Plan) recordDescribed(hook *v1alpha1.HookStatus, answer Answer) {
	if p.unanswered(answer.Err) {
		if !errors.Is(answer.Err, awsapi.ErrBusy) {
			hook.Message = v1alpha1.TruncateMessage(fmt.Sprintf("its timeout is not known, an hour is assumed: %v", answer.Err), maxMessage)
		}
		return
	}
	if !setTimeouts(hook, answer.Hooks) {
		p.LastAsked = p.in.Now // the group has no such hook any more, and says so to the next call
		return
	}
	hook.Message = ""
	hook.Deadline = metav1.Time{Time: p.deadline(hook)}
	p.lookAgain(p.in.Now) // the drain's deadline may be another
}

// unanswered reports whether a question has to be asked again because it failed.
func (p *Plan) unanswered(err error) bool {
	switch {
	case errors.Is(err, awsapi.ErrBusy):
		p.busy()
	case err != nil:
		p.LastAsked = p.in.Now
		p.lookAgain(p.in.Now.Add(p.askDelay()))
	}
	return err != nil
}

// recordHeartbeat takes note of a heartbeat.
func (p *Plan) recordHeartbeat(hook *v1alpha1.HookStatus, answer Answer) {
	if !p.succeeded(hook, answer) {
		return
	}
	hook.LastHeartbeatTime = &metav1.Time{Time: p.in.Now}
	if deadline := p.deadline(hook); !deadline.Equal(hook.Deadline.Time) {
		hook.Deadline = metav1.Time{Time: deadline}
		p.lookAgain(p.in.Now) // the drain's deadline is another
	}
	p.lookAgain(p.nextHeartbeat(hook).at)
}

// succeeded takes note of how a call about a hook went, and reports whether it went well.
func (p *Plan) succeeded(hook *v1alpha1.HookStatus, answer Answer) bool {
	switch err := answer.Err; {
	case errors.Is(err, awsapi.ErrBusy):
		p.busy()
		return false
	case errors.Is(err, awsapi.ErrNoAction):
		p.recordNoAction(hook, answer.Instance)
		return false
	case err != nil:
		failures := ptr.Deref(hook.Failures, 0) + 1
		hook.Failures, hook.Message = &failures, v1alpha1.TruncateMessage(err.Error(), maxMessage)
		hook.RetryTime = &metav1.Time{Time: p.in.Now.Add(retryDelay(failures))}
		p.lookAgain(hook.RetryTime.Time)
		return false
	}
	hook.Failures, hook.RetryTime, hook.NoActionTime, hook.Message = nil, nil, nil, ""
	return true
}

// recordNoAction takes note that Auto Scaling knows no such lifecycle action. The group has
// stopped to wait if it lists the instance in a state in which it does not wait, and then pods that
// are still there have no more time. Else it may have begun to wait this moment, or be another
// account's: the call is made once more before the hook counts as ended, and what time the pods
// have is left to them.
func (p *Plan) recordNoAction(hook *v1alpha1.HookStatus, in awsapi.GroupInstance) {
	switch {
	case in.Listed() && !in.WaitsToTerminate():
		p.end(hook, "the group does not wait any more: somebody else completed the hook, or it timed out")
		p.endTime(hook)
	case hook.NoActionTime != nil && !p.in.Now.Before(hook.NoActionTime.Add(noActionRetry)):
		p.end(hook, "Auto Scaling knows no such lifecycle action, also when asked again: somebody else completed the hook, it timed out, or the group is another account's")
	default:
		if hook.NoActionTime == nil {
			hook.NoActionTime = &metav1.Time{Time: p.in.Now}
		}
		hook.Message = "Auto Scaling knows no such lifecycle action, and is asked again"
		hook.RetryTime = &metav1.Time{Time: hook.NoActionTime.Add(noActionRetry)}
		p.lookAgain(hook.RetryTime.Time)
	}
}

// busy takes note that a call was not sent.
func (p *Plan) busy() {
	p.Busy = p.in.Busy + 1
	p.lookAgain(p.in.Now.Add(delayAfter(p.Busy, wait.Backoff{Duration: busyRetry, Factor: 2, Steps: 9, Cap: maxRetryDelay})))
}

// backOff returns how long to wait before another look at what has waited for a time: half
// of that time, but not less than the least, nor more than half a minute.
func backOff(waited, least time.Duration) time.Duration {
	return min(max(waited/2, least), maxRetryDelay)
}

// retryDelay returns how long to wait after so many failed calls in a row: a second,
// which doubles, and up to half of it more.
func retryDelay(failures int32) time.Duration {
	backoff := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.5, Steps: 6, Cap: maxRetryDelay}
	return min(delayAfter(int(failures), backoff), maxRetryDelay)
}

// delayAfter returns the delay after so many failures in a row. It does not grow any more
// after the backoff's steps.
func delayAfter(failures int, backoff wait.Backoff) (delay time.Duration) {
	for range min(failures, backoff.Steps) {
		delay = backoff.Step()
	}
	return delay
}
