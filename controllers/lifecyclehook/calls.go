// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// askInterval is how often Auto Scaling is asked at first for what it did not say.
	askInterval = 10 * time.Second
	// unknownTimeoutHeartbeat is the heartbeat interval at most while a hook's timeout is
	// not known, the least of which is 30 seconds.
	// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
	unknownTimeoutHeartbeat = 10 * time.Second
	// findFor is for how long the hook is looked for that a watcher's event is about.
	findFor = 10 * time.Minute
)

// step is how far a plan is with a hook.
type step int

const (
	// untouched: its timeouts may have to be asked for.
	untouched step = iota
	// described: that was done, now its own call is due.
	described
	// held: it is not to be completed now, but may need a heartbeat.
	held
	// called: nothing more is done about it by this plan.
	called
)

// planCalls finds the calls that are due, from the current hook on.
func (p *Plan) planCalls() {
	p.Calls = nil
	for i := p.current; i < len(p.Hooks); i++ {
		at := untouched
		if i == p.current {
			at = p.step
		}
		if p.Hooks[i].State != v1alpha1.HookWaiting || at == called {
			continue
		}
		if call, due := p.callFor(&p.Hooks[i], at); due {
			call.Hook = i
			p.Calls = append(p.Calls, call)
		}
	}
}

// callFor returns the one call about a hook that is due now.
func (p *Plan) callFor(hook *v1alpha1.HookStatus, at step) (call Call, due bool) {
	if at == untouched && hook.HeartbeatTimeoutSeconds == nil && p.mayAsk() {
		return Call{Method: Describe}, true
	}
	if hook.RetryTime != nil && p.in.Now.Before(hook.RetryTime.Time) {
		p.lookAgain(hook.RetryTime.Time)
		return Call{}, false
	}
	next := p.nextCall(hook)
	if at == held {
		next = p.nextHeartbeat(hook)
	}
	switch {
	case next.at.IsZero():
		return Call{}, false
	case p.in.Now.Before(next.at):
		p.lookAgain(next.at)
		return Call{}, false
	case next.result != "":
		return Call{Method: Complete, Result: next.result}, true
	default:
		return Call{Method: Heartbeat}, true
	}
}

// timedCall is a call about a hook and when it is due: its completion, or a heartbeat
// if there is no result. The zero value is none.
type timedCall struct {
	at     time.Time
	result awsapi.Result
}

// nextCall returns the call about a hook that is due next.
func (p *Plan) nextCall(hook *v1alpha1.HookStatus) timedCall {
	rules := p.in.Policy.Spec.LifecycleHook
	switch {
	case p.in.Suspended, p.in.NodeMissing:
		return p.nextHeartbeat(hook)
	case p.in.NodeGone, p.in.Unreachable != "" && !p.podsGone():
		return timedCall{p.in.Now, awsapi.Continue}
	case p.podsGone():
		completion := timedCall{p.in.PodsGoneSince.Add(rules.CompletionDelay()), awsapi.Continue}
		if completion.at.After(hook.Deadline.Time) {
			completion.at = hook.Deadline.Time
		}
		return earlier(completion, p.nextHeartbeat(hook))
	case p.overdue(hook):
		if rules.AtTimeout() == v1alpha1.OnTimeoutAbandon {
			return timedCall{p.in.Now, awsapi.Abandon}
		}
		return timedCall{p.in.Now, awsapi.Continue}
	}
	p.lookAgain(hook.Deadline.Time)
	return p.nextHeartbeat(hook)
}

// nextHeartbeat returns when the next heartbeat is due: never after the deadline, nor
// once the drain was given up.
func (p *Plan) nextHeartbeat(hook *v1alpha1.HookStatus) timedCall {
	interval := p.in.Policy.Spec.LifecycleHook.HeartbeatInterval(heartbeatTimeout(hook))
	if hook.HeartbeatTimeoutSeconds == nil {
		interval = min(interval, unknownTimeoutHeartbeat)
	}
	if interval == 0 || p.in.Finished && !p.podsGone() {
		return timedCall{}
	}
	at := ptr.Deref(hook.LastHeartbeatTime, p.waitsSince(hook)).Add(interval)
	if !p.podsGone() && hook.LastHeartbeatTime == nil && hook.HeartbeatTimeoutSeconds != nil && p.maxWait(hook) > heartbeatTimeout(hook) {
		at = p.in.Now // how much time the pods have depends on whether the group accepts it
	}
	if !at.Before(hook.Deadline.Time) || !p.in.Now.Before(hook.Deadline.Time) {
		return timedCall{}
	}
	return timedCall{at: at}
}

// earlier returns the call that is due first; a completion goes before a heartbeat.
func earlier(completion, heartbeat timedCall) timedCall {
	if heartbeat.at.IsZero() || !completion.at.After(heartbeat.at) {
		return completion
	}
	return heartbeat
}

// seeks reports whether a group may wait for the drain at a hook that no event has
// named: the metadata service, which watchers read, does not. Once the drain is over one
// answer more has to do.
func (p *Plan) seeks() bool {
	if p.in.Forbidden != "" || p.Answered || len(p.Hooks) > 0 ||
		p.in.Policy.Spec.ActionFor(v1alpha1.AutoScalingTermination) != v1alpha1.ActionCordonAndDrain {
		return false
	}
	return slices.ContainsFunc(p.in.Events, func(e v1alpha1.Event) bool {
		return e.Kind == v1alpha1.AutoScalingTermination && e.LifecycleHook == nil && !p.in.Now.After(e.Time.Add(findFor))
	})
}

// mayAsk reports whether Auto Scaling may be asked again.
func (p *Plan) mayAsk() bool {
	if due := p.LastAsked.Add(p.askDelay()); p.in.Now.Before(due) {
		p.lookAgain(due)
		return false
	}
	return true
}

// askDelay returns how long after a question without an answer Auto Scaling is asked again.
func (p *Plan) askDelay() time.Duration {
	since := p.in.Now
	for _, e := range p.in.Events {
		if e.Kind == v1alpha1.AutoScalingTermination && e.Time.Time.Before(since) {
			since = e.Time.Time
		}
	}
	return backOff(p.in.Now.Sub(since), askInterval)
}
