// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

func TestTrack(t *testing.T) {
	const now = 10 * time.Second
	again := func(name, token string) v1alpha1.HookStatus {
		hook := newHookStatus(v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: name, Token: token}, start.Add(now))
		hook.Deadline = after(now + time.Hour)
		return hook
	}
	latest := again("drain", "b")
	later := terminating("drain", "b")
	later.Time = after(5 * time.Second)
	spot := v1alpha1.Event{ID: "s", Kind: v1alpha1.SpotInterruption, Time: after(0)}
	for name, test := range map[string]struct {
		events []v1alpha1.Event
		hooks  []v1alpha1.HookStatus
		want   []v1alpha1.HookStatus
	}{
		"none":                          {events: []v1alpha1.Event{spot, terminating("", "")}},
		"each that an event names":      {events: []v1alpha1.Event{terminating("a", "1"), terminating("b", "2")}, want: []v1alpha1.HookStatus{again("a", "1"), again("b", "2")}},
		"the latest wait at one":        {events: []v1alpha1.Event{later, terminating("drain", "a")}, want: []v1alpha1.HookStatus{latest}},
		"the latest wait at one, later": {events: []v1alpha1.Event{terminating("drain", "a"), later}, want: []v1alpha1.HookStatus{latest}},
		"one that is known": {
			events: []v1alpha1.Event{terminating("drain", "a")}, hooks: []v1alpha1.HookStatus{waiting("drain", "a")}, want: []v1alpha1.HookStatus{waiting("drain", "a")},
		},
		"one that was found without its token": {
			events: []v1alpha1.Event{terminating("drain", "a")}, hooks: []v1alpha1.HookStatus{waiting("drain", "")}, want: []v1alpha1.HookStatus{waiting("drain", "a")},
		},
		"an event without a token is about the known wait": {
			events: []v1alpha1.Event{terminating("drain", "")}, hooks: []v1alpha1.HookStatus{waiting("drain", "a")}, want: []v1alpha1.HookStatus{waiting("drain", "a")},
		},
		"another token means that the group waits once more": {
			events: []v1alpha1.Event{terminating("drain", "b")},
			hooks:  []v1alpha1.HookStatus{func() v1alpha1.HookStatus { h := waiting("drain", "a"); h.State = v1alpha1.HookContinued; return h }()},
			want:   []v1alpha1.HookStatus{again("drain", "b")},
		},
		"what has ended stays": {
			events: []v1alpha1.Event{terminating("drain", "a")},
			hooks:  []v1alpha1.HookStatus{func() v1alpha1.HookStatus { h := waiting("drain", "a"); h.State = v1alpha1.HookEnded; return h }()},
			want:   []v1alpha1.HookStatus{func() v1alpha1.HookStatus { h := waiting("drain", "a"); h.State = v1alpha1.HookEnded; return h }()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Track(Input{Events: test.events, Hooks: test.hooks, Policy: policy(nil), Now: start.Add(now)})
			if diff := cmp.Diff(test.want, plan.Hooks); diff != "" {
				t.Errorf("hooks (-want +got):\n%s", diff)
			}
			if plan.Calls != nil || plan.Condition() != nil {
				t.Errorf("calls %v, condition %v; want that nothing else is done yet", plan.Calls, plan.Condition())
			}
		})
	}
}

func TestStatusHoldsSoManyHooks(t *testing.T) {
	in := Input{Policy: policy(nil), Now: start}
	for i := range maxHooks + 2 {
		in.Events = append(in.Events, terminating(fmt.Sprintf("h%d", i), "a"))
	}
	plan := Track(in)
	if len(plan.Hooks) != maxHooks || plan.Hooks[maxHooks-1].Name != "h15" {
		t.Errorf("%d hooks, want the first %d", len(plan.Hooks), maxHooks)
	}
}

func TestHooksOfOthersAreIgnored(t *testing.T) {
	for name, test := range map[string]struct {
		hook   string
		now    time.Duration
		change func(*Input)
		want   string // in the message; empty: it waits
	}{
		"any other hook is completed": {hook: "drain"},
		"a managed node group's":      {hook: "Terminate-LC-Hook", want: "policy workers ignores hooks of this name"},
		"one the policy ignores": {
			hook: "theirs", change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{Ignore: []string{"theirs"}}) },
			want: "policy workers ignores hooks of this name",
		},
		"a managed node group's, if the policy ignores others": {
			hook: "Terminate-LC-Hook", change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{Ignore: []string{"theirs"}}) },
		},
		"one that the policy names": {
			hook: "drain", change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{Names: []string{"other", "drain"}}) },
		},
		"one that the policy does not name": {
			hook: "copy-logs", change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{Names: []string{"drain"}}) },
			want: "it is not in lifecycleHook.names of policy workers",
		},
		"a managed node group's, which the policy names": {
			hook: "Terminate-LC-Hook", change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{Names: []string{"Terminate-LC-Hook"}}) },
		},
		"where the policy only cordons": {
			hook: "drain", change: func(in *Input) { in.Policy.Spec.Events = cordons },
			want: "policy workers does not drain for AutoScalingTermination",
		},
		"where the policy ignores the event": {
			hook: "drain",
			change: func(in *Input) {
				in.Policy.Spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.AutoScalingTermination, Action: v1alpha1.ActionIgnore}}
			},
			want: "policy workers does not drain for AutoScalingTermination",
		},
		"where nothing may be done about the instance": {
			hook: "drain", change: func(in *Input) { in.Forbidden = "the instance does not have the tag" }, want: "the instance does not have the tag",
		},
		"whose event does not count any more": {hook: "drain", change: func(in *Input) { in.Events = nil }, want: "no event that counts asks for it any more"},
		"which another hook's event does not mean": {
			hook: "drain", change: func(in *Input) { in.Events = []v1alpha1.Event{terminating("other", "b")} }, want: "no event that counts asks for it any more",
		},
		"which a watcher's event may mean": {hook: "drain", change: func(in *Input) { in.Events = []v1alpha1.Event{terminating("", "")} }},
		"whose deadline has come": {
			hook: "drain", now: 300 * time.Second, change: func(in *Input) { in.Policy = policy(&v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutNone}) },
			want: "pods were still there at its deadline",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(nil, test.now)
			in.Hooks[0].Name, in.Events[0].LifecycleHook.Name = test.hook, test.hook
			in.Hooks[0].Failures, in.Hooks[0].RetryTime, in.Hooks[0].Message = ptr.To[int32](1), ptr.To(after(test.now)), "denied"
			if test.change != nil {
				test.change(&in)
			}
			plan := NewPlan(in)
			hook := plan.Hooks[0]
			if test.want == "" {
				if hook.State != v1alpha1.HookWaiting || hook.Message != "denied" {
					t.Errorf("hook %+v, want it as it was", hook)
				}
				return
			}
			if hook.State != v1alpha1.HookIgnored || !strings.Contains(hook.Message, test.want) || hook.Failures != nil || hook.RetryTime != nil ||
				slices.ContainsFunc(plan.Calls, func(call Call) bool { return call.Hook == 0 }) {
				t.Errorf("hook %+v, calls %v; want it ignored, as %s", hook, plan.Calls, test.want)
			}
		})
	}
}

// What was ignored is completed once the reason is gone.
func TestIgnoredHookWaitsAgain(t *testing.T) {
	in := oneHook(nil, time.Second)
	in.Forbidden = "no tag"
	in.Hooks = NewPlan(in).Hooks
	in.Forbidden = ""
	if hook := NewPlan(in).Hooks[0]; hook.State != v1alpha1.HookWaiting || hook.Message != "" {
		t.Errorf("hook %+v, want it waiting", hook)
	}
	in.Hooks[0].State = v1alpha1.HookContinued
	in.Forbidden = "no tag"
	if hook := NewPlan(in).Hooks[0]; hook.State != v1alpha1.HookContinued {
		t.Errorf("hook %+v, want what was completed to stay so", hook)
	}
}

func TestHooksAreReleasedWithoutAPolicy(t *testing.T) {
	in := oneHook(nil, 20*time.Second)
	in.Hooks = append(in.Hooks, waiting("done", "b"))
	in.Hooks[1].State = v1alpha1.HookContinued
	in.Hooks[0].Failures = ptr.To[int32](1)
	in.Events = append(in.Events, terminating("new", "c"))
	in.Policy, in.Ungoverned, in.PodsGoneSince = nil, "policy workers was deleted", start
	plan := NewPlan(in)
	if hook := plan.Hooks[0]; hook.State != v1alpha1.HookIgnored || hook.Message != "policy workers was deleted" || hook.Failures != nil {
		t.Errorf("hook %+v, want it left to its own timeout", hook)
	}
	if plan.Hooks[1].State != v1alpha1.HookContinued || plan.Calls != nil {
		t.Errorf("hook %+v, calls %v; want nothing done about it", plan.Hooks[1], plan.Calls)
	}
	if hook := plan.Hooks[2]; hook.Name != "new" || hook.State != v1alpha1.HookIgnored {
		t.Errorf("hook %+v, want also what is received now left to its own timeout", hook)
	}
	if condition := plan.Condition(); condition == nil || condition.Reason != v1alpha1.ReasonHookIgnored {
		t.Errorf("condition %+v", condition)
	}
	in.Hooks, in.Policy = plan.Hooks, policy(nil)
	for _, i := range []int{0, 2} {
		if hook := Track(in).Hooks[i]; hook.State != v1alpha1.HookWaiting || hook.Message != "" {
			t.Errorf("hook %+v, want it to wait again for the policy that governs now", hook)
		}
	}
}

// A node that is missing may register again: the group is kept waiting, and nothing is completed.
func TestHooksOfAMissingNode(t *testing.T) {
	none := &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutNone}
	complete := []Call{{Method: Complete, Result: awsapi.Continue}}
	for name, test := range map[string]struct {
		now    time.Duration
		rules  *v1alpha1.LifecycleHookSpec
		change func(*Input)
		calls  []Call
	}{
		"heartbeats only":                         {now: 100 * time.Second, change: func(in *Input) { in.NodeMissing = true }, calls: []Call{{Method: Heartbeat}}},
		"also if its pods are gone":               {now: 100 * time.Second, change: func(in *Input) { in.NodeMissing, in.PodsGoneSince = true, start }, calls: []Call{{Method: Heartbeat}}},
		"nothing at the deadline":                 {now: 300 * time.Second, change: func(in *Input) { in.NodeMissing = true }},
		"nor is it left to its own timeout there": {now: 300 * time.Second, rules: none, change: func(in *Input) { in.NodeMissing = true }},
		"completed once the node is gone":         {now: 10 * time.Second, change: func(in *Input) { in.NodeGone = true }, calls: complete},
		"also at the deadline":                    {now: 300 * time.Second, rules: none, change: func(in *Input) { in.NodeGone = true }, calls: complete},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(test.rules, test.now)
			test.change(&in)
			plan := NewPlan(in)
			if diff := cmp.Diff(test.calls, plan.Calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if state := plan.Hooks[0].State; state != v1alpha1.HookWaiting {
				t.Errorf("the hook is %s, want it waiting", state)
			}
		})
	}
}

// The group does not wait longer than its timeout, and a minute for the clocks.
func TestHookThatCannotBeCompletedEnds(t *testing.T) {
	for now, want := range map[time.Duration]v1alpha1.HookState{
		360 * time.Second: v1alpha1.HookWaiting,
		361 * time.Second: v1alpha1.HookEnded,
	} {
		in := oneHook(&v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800)}, now)
		in.Hooks[0].Failures, in.Hooks[0].Message = ptr.To[int32](7), "denied"
		plan := Track(in)
		hook := plan.Hooks[0]
		if hook.State != want {
			t.Errorf("after %s it is %s, want %s", now, hook.State, want)
		}
		if want == v1alpha1.HookEnded && (hook.Message != "it could not be completed before its own timeout: denied" || hook.Failures != nil ||
			!hook.Deadline.Time.Equal(start.Add(300*time.Second))) {
			t.Errorf("hook %+v; want that the pods have no more time since the group stopped to wait", hook)
		}
		in.Hooks[0].Failures = nil
		if hook := Track(in).Hooks[0]; hook.State != v1alpha1.HookWaiting {
			t.Errorf("after %s it is %s although no call has failed", now, hook.State)
		}
	}
}
