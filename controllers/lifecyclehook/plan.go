// SPDX-License-Identifier: Apache-2.0

// Package lifecyclehook decides about the lifecycle hooks at which Auto Scaling groups
// wait for their instances: until when a group is kept waiting, which calls are due, and
// what their answers mean. Decisions are pure functions of events, statuses, policy and
// time; whoever plans makes the calls.
//
//	track.go      which hooks there are, and which of them are this operator's
//	deadline.go   until when a group is kept waiting
//	calls.go      which call is due
//	record.go     what the answer to a call means
//	condition.go  what a NodeTermination says of its hooks
//
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
package lifecyclehook

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// Input is what is known of the termination of one instance.
type Input struct {
	// Events are those that are active.
	Events []v1alpha1.Event
	// Hooks are the statuses so far. They are not changed.
	Hooks []v1alpha1.HookStatus
	// Policy governs the node. Nil: none does, and Ungoverned is why.
	Policy     *v1alpha1.NodeTerminationPolicy
	Ungoverned string
	// Forbidden is why nothing may be done about the instance. Empty: it may.
	Forbidden string
	// NodeMissing: no node runs on the instance now, but one may register yet. NodeGone: none
	// will.
	NodeMissing, NodeGone bool
	// Unreachable is why the node's pods are not waited for: it does not answer any more.
	// Empty: they are.
	Unreachable string
	// PodsGoneSince is when the node had been drained. Zero: it has not been.
	PodsGoneSince time.Time
	// Finished: the termination has ended. If the pods are not gone the drain was given up.
	Finished bool
	// Suspended: nothing is to be completed for now, but heartbeats go on.
	Suspended bool
	// LastAsked is when Auto Scaling last had no answer to a question about the instance.
	// Zero: it was not asked.
	LastAsked time.Time
	// Answered: it has said after the termination's end that the instance waits at no hook.
	Answered bool
	// Listed: it has listed the instance before.
	Listed bool
	// Busy is how many plans in a row could not send a call.
	Busy int
	// Now is the time.
	Now time.Time
}

// Plan is what to do about the hooks now. The first of Calls is made and its answer
// given to Record, or it is put off with Hold or Restart; each of them brings Calls up
// to date. Once there are none the plan is carried out.
type Plan struct {
	// Hooks are the statuses. Nil: there are none.
	Hooks []v1alpha1.HookStatus
	// Calls are due now, in this order; at most one for each hook.
	Calls []Call
	// NextLook is when to plan again, though nothing has changed. Zero: no need.
	NextLook time.Time
	// LastAsked, Answered, Listed and Busy are what to plan with the next time.
	LastAsked time.Time
	Answered  bool
	Listed    bool
	Busy      int

	in Input
	// current is the hook whose call is made next, step is how far that hook is.
	current int
	step    step
	// found: Auto Scaling answered Find. findErr is why it did not.
	found   bool
	findErr error
	// concluded: it is known how it stands with the hooks, so that the condition can say it.
	concluded bool
}

// Call is a call to Auto Scaling.
type Call struct {
	Method Method
	// Hook is the index in Plan.Hooks of the hook that the call is about. 0 for Find.
	Hook int
	// Result is for Complete.
	Result awsapi.Result
}

// Method says what is called.
type Method string

const (
	// Find asks for the group in which the instance waits at a termination hook, and for that group's hooks.
	Find Method = "Find"
	// Describe asks for the hooks of the hook's group, to learn the timeouts.
	Describe Method = "Describe"
	// Heartbeat makes the group wait on.
	Heartbeat Method = "Heartbeat"
	// Complete ends the group's wait.
	Complete Method = "Complete"
)

// Answer is what came of a call.
type Answer struct {
	// Err is nil if the call succeeded; awsapi.ErrBusy if nothing was sent;
	// awsapi.ErrNoAction if there is no such action.
	Err error
	// Instance is the instance in its group: the answer to Find, and what was asked after
	// awsapi.ErrNoAction. The zero value: Auto Scaling lists none, or has not said.
	Instance awsapi.GroupInstance
	// Hooks answer Find and Describe: all those of the group.
	Hooks []awsapi.Hook
}

// Manages reports whether calls are made about the hooks of nodes that a policy governs:
// not in mode DryRun, nor for nil.
func Manages(policy *v1alpha1.NodeTerminationPolicy) bool {
	return policy != nil && !policy.Spec.DryRun()
}

// Track returns a plan without calls: it takes note of the hooks that the events name,
// so that their deadlines count, and finds which of them are this operator's. Without a
// policy they are released to their own timeouts.
func Track(in Input) *Plan {
	p := &Plan{LastAsked: in.LastAsked, Answered: in.Answered && in.Finished, Listed: in.Listed, in: in}
	for i := range in.Hooks {
		p.Hooks = append(p.Hooks, *in.Hooks[i].DeepCopy())
	}
	for _, hook := range latestHooks(in.Events) {
		p.track(hook)
	}
	if in.Policy == nil {
		p.release()
		p.concluded = true
		return p
	}
	for i := range p.Hooks {
		p.update(&p.Hooks[i])
	}
	return p
}

// NewPlan returns what Track does and the calls that are due; none unless the policy
// Manages hooks.
func NewPlan(in Input) *Plan {
	p := Track(in)
	if !Manages(in.Policy) {
		return p
	}
	p.concluded = true
	if p.seeks() && p.mayAsk() {
		p.Calls = []Call{{Method: Find}}
		return p
	}
	p.planCalls()
	return p
}

// lookAgain has the next plan made at a time, if none is due earlier.
func (p *Plan) lookAgain(at time.Time) {
	if !at.IsZero() && (p.NextLook.IsZero() || at.Before(p.NextLook)) {
		p.NextLook = at
	}
}

// podsGone reports whether the node was drained.
func (p *Plan) podsGone() bool {
	return !p.in.PodsGoneSince.IsZero()
}
