// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// start is when the groups in these tests begin to wait.
var start = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

func after(d time.Duration) metav1.Time { return metav1.Time{Time: start.Add(d)} }

// terminating returns an event that says that a group waits at a hook; without a name it
// is a watcher's.
func terminating(name, token string) v1alpha1.Event {
	e := v1alpha1.Event{ID: "h-" + name + token, Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceSQS, Time: after(0)}
	if name == "" {
		e.Source = v1alpha1.SourceIMDS
		return e
	}
	e.LifecycleHook = &v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: name, Token: token}
	return e
}

// waiting returns the status of a hook with a timeout of five minutes, at which the group
// waits since the start.
func waiting(name, token string) v1alpha1.HookStatus {
	hook := newHookStatus(v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: name, Token: token}, start)
	hook.HeartbeatTimeoutSeconds, hook.Deadline = ptr.To[int32](300), after(300*time.Second)
	return hook
}

// policy returns one with these rules about hooks.
func policy(rules *v1alpha1.LifecycleHookSpec) *v1alpha1.NodeTerminationPolicy {
	p := &v1alpha1.NodeTerminationPolicy{}
	p.Name = "workers"
	p.Spec.LifecycleHook = rules
	return p
}

// oneHook returns what is known of an instance that waits at one hook, some time after the
// start. The policy has it wait for one timeout unless the rules say otherwise.
func oneHook(rules *v1alpha1.LifecycleHookSpec, now time.Duration) Input {
	rules = ptr.To(ptr.Deref(rules, v1alpha1.LifecycleHookSpec{}))
	if rules.MaxWaitSeconds == nil {
		rules.MaxWaitSeconds = ptr.To[int32](300)
	}
	return Input{
		Events: []v1alpha1.Event{terminating("drain", "a")}, Hooks: []v1alpha1.HookStatus{waiting("drain", "a")},
		Policy: policy(rules), Now: start.Add(now),
	}
}

func TestNextCall(t *testing.T) {
	never := &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}
	for name, test := range map[string]struct {
		rules  *v1alpha1.LifecycleHookSpec
		now    time.Duration
		change func(*Input)
		// calls are due now; look is when to plan again, after the start. Zero: not at all.
		calls []Call
		look  time.Duration
	}{
		"a heartbeat after a third of the timeout": {look: 100 * time.Second},
		"which is then due":                        {now: 100 * time.Second, calls: []Call{{Method: Heartbeat}}, look: 300 * time.Second},
		"a third after the last": {
			now:    101 * time.Second,
			change: func(in *Input) { in.Hooks[0].LastHeartbeatTime = ptr.To(after(100 * time.Second)) },
			look:   200 * time.Second,
		},
		"as often as the policy says": {
			rules: &v1alpha1.LifecycleHookSpec{Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)}},
			look:  10 * time.Second,
		},
		"no heartbeats if the policy wants none": {rules: &v1alpha1.LifecycleHookSpec{Heartbeat: never}, look: 300 * time.Second},
		"at once, if the group has waited for long": {
			now:    20 * time.Second,
			change: func(in *Input) { in.Events[0].Time = after(-90 * time.Second) },
			calls:  []Call{{Method: Heartbeat}}, look: 210 * time.Second, // when the group stops to wait
		},
		"at once, if the pods' time depends on it": {
			rules: &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800)},
			now:   time.Second, calls: []Call{{Method: Heartbeat}}, look: answerTime,
		},
		"then after a third": {
			rules: &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800)},
			now:   time.Second, change: func(in *Input) { in.Hooks[0].LastHeartbeatTime = ptr.To(after(0)) }, look: 100 * time.Second,
		},
		"not for pods that are gone": {
			rules: &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800), CompletionDelaySeconds: ptr.To[int32](200)},
			now:   20 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(10 * time.Second) },
			look: 100 * time.Second,
		},
		"an unreachable node is not waited for": {
			now: 20 * time.Second, change: func(in *Input) { in.Unreachable = "the node does not answer" },
			calls: []Call{{Method: Complete, Result: awsapi.Continue}},
		},
		"unless suspended": {
			now: 20 * time.Second, change: func(in *Input) { in.Unreachable, in.Suspended = "the node does not answer", true },
			look: 100 * time.Second,
		},
		"often while the timeout is not known": {
			now:    answerTime,
			change: func(in *Input) { in.Hooks[0].HeartbeatTimeoutSeconds, in.LastAsked = nil, start },
			look:   10 * time.Second,
		},
		"and the timeout is asked for again": {
			now:    10 * time.Second,
			change: func(in *Input) { in.Hooks[0].HeartbeatTimeoutSeconds, in.LastAsked = nil, start },
			calls:  []Call{{Method: Describe}},
		},
		"no heartbeat that would be due after the deadline": {
			now:    299 * time.Second,
			change: func(in *Input) { in.Hooks[0].LastHeartbeatTime = ptr.To(after(290 * time.Second)) },
			look:   300 * time.Second,
		},
		"completed when the pods are gone": {
			now: 20 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(10 * time.Second) },
			calls: []Call{{Method: Complete, Result: awsapi.Continue}},
		},
		"some time after that, if the policy says so": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](60)},
			now:   20 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(10 * time.Second) },
			look: 70 * time.Second,
		},
		"with heartbeats in between": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](200)},
			now:   20 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(10 * time.Second) },
			look: 100 * time.Second,
		},
		"not after the deadline, whatever the delay": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](7200), Heartbeat: never},
			now:   20 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(10 * time.Second) },
			look: 300 * time.Second,
		},
		"continued at the deadline": {now: 300 * time.Second, calls: []Call{{Method: Complete, Result: awsapi.Continue}}},
		"abandoned if the policy wants": {
			rules: &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutAbandon},
			now:   300 * time.Second, calls: []Call{{Method: Complete, Result: awsapi.Abandon}},
		},
		"continued, not abandoned, if the pods are gone by then": {
			rules: &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutAbandon},
			now:   301 * time.Second, change: func(in *Input) { in.PodsGoneSince = start.Add(299 * time.Second) },
			calls: []Call{{Method: Complete, Result: awsapi.Continue}},
		},
		"ignored at the deadline if the policy wants": {
			rules: &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutNone}, now: 300 * time.Second,
		},
		"suspended: the group goes on waiting": {
			now:    20 * time.Second,
			change: func(in *Input) { in.PodsGoneSince, in.Suspended = start.Add(10*time.Second), true },
			look:   100 * time.Second,
		},
		"suspended at the deadline: nothing": {now: 300 * time.Second, change: func(in *Input) { in.Suspended = true }},
		"the drain was given up: nothing before the deadline": {
			now: 120 * time.Second, change: func(in *Input) { in.Finished = true }, look: 300 * time.Second,
		},
		"the drain was given up, and now the deadline has come": {
			now: 300 * time.Second, change: func(in *Input) { in.Finished = true },
			calls: []Call{{Method: Complete, Result: awsapi.Continue}},
		},
		"the node is gone": {
			now: 20 * time.Second, change: func(in *Input) { in.NodeGone = true },
			calls: []Call{{Method: Complete, Result: awsapi.Continue}},
		},
		"nothing before a failed call is tried again": {
			now: 120 * time.Second,
			change: func(in *Input) {
				in.Hooks[0].Failures, in.Hooks[0].RetryTime = ptr.To[int32](1), ptr.To(after(121*time.Second))
			},
			look: 121 * time.Second,
		},
		"mode DryRun calls nobody": {
			now:    300 * time.Second,
			change: func(in *Input) { in.Policy.Spec.Mode = v1alpha1.ModeDryRun },
		},
		"nor does anybody without a policy": {now: 300 * time.Second, change: func(in *Input) { in.Policy = nil }},
		"every hook has its call": {
			now: 100 * time.Second,
			change: func(in *Input) {
				in.Events = append(in.Events, terminating("other", "b"), terminating("third", "c"))
				in.Hooks = append(in.Hooks, waiting("other", "b"), waiting("third", "c"))
				in.Hooks[1].State, in.Hooks[2].HeartbeatTimeoutSeconds = v1alpha1.HookEnded, nil
			},
			calls: []Call{{Method: Heartbeat}, {Method: Describe, Hook: 2}}, look: 300 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(test.rules, test.now)
			if test.change != nil {
				test.change(&in)
			}
			plan := NewPlan(in)
			if diff := cmp.Diff(test.calls, plan.Calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			var look time.Time
			if test.look != 0 {
				look = start.Add(test.look)
			}
			if !plan.NextLook.Equal(look) {
				t.Errorf("next look %s, want %s", plan.NextLook, look)
			}
		})
	}
}

func TestHooksOfAWatchersEventAreFound(t *testing.T) {
	find := []Call{{Method: Find}}
	for name, test := range map[string]struct {
		now    time.Duration
		change func(*Input)
		calls  []Call
	}{
		"a watcher's event names no hook":  {calls: find},
		"the search goes on for a while":   {now: 10 * time.Minute, calls: find},
		"and then ends":                    {now: 10*time.Minute + time.Second},
		"not too often":                    {change: func(in *Input) { in.LastAsked = start.Add(-time.Second) }},
		"not if a hook is known":           {change: func(in *Input) { in.Hooks, in.Finished = []v1alpha1.HookStatus{waiting("drain", "a")}, true }},
		"not if nothing may be done":       {change: func(in *Input) { in.Forbidden = "no tag" }},
		"also if the node is missing":      {change: func(in *Input) { in.NodeMissing = true }, calls: find},
		"also if the node is gone":         {change: func(in *Input) { in.NodeGone = true }, calls: find},
		"also after the end":               {change: func(in *Input) { in.Finished = true }, calls: find},
		"but not once that is answered":    {change: func(in *Input) { in.Finished, in.Answered = true, true }},
		"unless it has begun once more":    {change: func(in *Input) { in.Answered = true }, calls: find},
		"not in mode DryRun":               {change: func(in *Input) { in.Policy.Spec.Mode = v1alpha1.ModeDryRun }},
		"not for another kind of event":    {change: func(in *Input) { in.Events[0].Kind = v1alpha1.SpotInterruption }},
		"not if the policy does not drain": {change: func(in *Input) { in.Policy.Spec.Events = cordons }},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Events: []v1alpha1.Event{terminating("", "")}, Policy: policy(nil), Now: start.Add(test.now)}
			if test.change != nil {
				test.change(&in)
			}
			if diff := cmp.Diff(test.calls, NewPlan(in).Calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// cordons is what a policy says that does not drain for its group.
var cordons = []v1alpha1.EventRule{{Kind: v1alpha1.AutoScalingTermination, Action: v1alpha1.ActionCordon}}

// The group is kept waiting, until the deadline.
func TestBlockedDrainKeepsTheGroupWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		onTimeout v1alpha1.OnTimeout
		state     v1alpha1.HookState
		result    awsapi.Result
	}{
		"and continues at the deadline": {"", v1alpha1.HookContinued, awsapi.Continue},
		"or abandons":                   {v1alpha1.OnTimeoutAbandon, v1alpha1.HookAbandoned, awsapi.Abandon},
		"or ignores it":                 {v1alpha1.OnTimeoutNone, v1alpha1.HookIgnored, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{
				Events: []v1alpha1.Event{terminating("drain", "a")}, Now: start,
				Policy: policy(&v1alpha1.LifecycleHookSpec{
					MaxWaitSeconds: ptr.To[int32](30), OnTimeout: test.onTimeout,
					Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)},
				}),
			}
			sent := map[Method][]time.Duration{}
			var result awsapi.Result
			for {
				plan := NewPlan(in)
				for len(plan.Calls) > 0 {
					call := plan.Calls[0]
					sent[call.Method] = append(sent[call.Method], in.Now.Sub(start))
					result = call.Result
					plan.Record(Answer{Hooks: []awsapi.Hook{{Name: "drain", HeartbeatTimeout: 2 * time.Minute}}})
				}
				in.Hooks, in.LastAsked = plan.Hooks, plan.LastAsked
				if plan.NextLook.IsZero() {
					break
				}
				in.Now = plan.NextLook
			}
			want := map[Method][]time.Duration{Describe: {0}, Heartbeat: {10 * time.Second, 20 * time.Second}}
			if test.result != "" {
				want[Complete] = []time.Duration{30 * time.Second}
			}
			if diff := cmp.Diff(want, sent); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if hook := in.Hooks[0]; hook.State != test.state || result != test.result {
				t.Errorf("hook %+v, result %q, want %s and %q", hook, result, test.state, test.result)
			}
		})
	}
}

func TestInputIsNotChanged(t *testing.T) {
	in := oneHook(nil, 100*time.Second)
	in.Hooks[0].HeartbeatTimeoutSeconds, in.Hooks[0].Failures = nil, ptr.To[int32](2)
	in.Events = append(in.Events, terminating("other", "b"))
	before := append([]v1alpha1.HookStatus{}, *in.Hooks[0].DeepCopy())
	plan := NewPlan(in)
	for len(plan.Calls) > 0 {
		plan.Record(Answer{Hooks: []awsapi.Hook{{Name: "drain", HeartbeatTimeout: time.Minute}}})
	}
	if diff := cmp.Diff(before, in.Hooks); diff != "" {
		t.Errorf("the input was changed (-before +after):\n%s", diff)
	}
}
