// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

var (
	errDenied   = errors.New("AccessDenied: autoscaling:CompleteLifecycleAction")
	errBusy     = fmt.Errorf("call: %w", awsapi.ErrBusy)
	errNoAction = fmt.Errorf("call: %w", awsapi.ErrNoAction)
)

func TestCompletion(t *testing.T) {
	const now = 20 * time.Second
	gone, waits := awsapi.GroupInstance{Group: "g", State: "Terminating:Proceed"}, awsapi.GroupInstance{Group: "g", State: "Terminating:Wait"}
	asked := func(at time.Duration) func(*Input) {
		return func(in *Input) {
			in.Hooks[0].NoActionTime, in.Hooks[0].RetryTime = ptr.To(after(at)), ptr.To(after(at+noActionRetry))
		}
	}
	unclear := func(at time.Duration) func(*v1alpha1.HookStatus) {
		return func(hook *v1alpha1.HookStatus) {
			hook.NoActionTime, hook.RetryTime = ptr.To(after(at)), ptr.To(after(at+noActionRetry))
			hook.Message = "Auto Scaling knows no such lifecycle action, and is asked again"
		}
	}
	failed := func(hook *v1alpha1.HookStatus) {
		hook.Failures, hook.RetryTime, hook.Message = ptr.To[int32](2), ptr.To(after(now)), "denied"
	}
	for name, test := range map[string]struct {
		rules  *v1alpha1.LifecycleHookSpec
		now    time.Duration
		change func(*Input)
		err    error
		in     awsapi.GroupInstance
		want   func(*v1alpha1.HookStatus)
		look   time.Duration // after now; zero: none
	}{
		"continued": {now: now, want: func(hook *v1alpha1.HookStatus) { hook.State = v1alpha1.HookContinued }},
		"continued after failures": {
			now: now, change: func(in *Input) { failed(&in.Hooks[0]) },
			want: func(hook *v1alpha1.HookStatus) { hook.State = v1alpha1.HookContinued },
		},
		"abandoned": {
			rules: &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutAbandon}, now: 300 * time.Second,
			change: func(in *Input) { in.PodsGoneSince = time.Time{} },
			want:   func(hook *v1alpha1.HookStatus) { hook.State = v1alpha1.HookAbandoned },
		},
		"not sent": {now: now, err: errBusy, want: func(*v1alpha1.HookStatus) {}, look: 200 * time.Millisecond},
		"not sent once more, after failures": {
			now: now, change: func(in *Input) { failed(&in.Hooks[0]) }, err: errBusy, want: failed, look: 200 * time.Millisecond,
		},
		"the group does not wait": {
			now: now, err: errNoAction, in: gone,
			want: func(hook *v1alpha1.HookStatus) {
				hook.State, hook.Message = v1alpha1.HookEnded, "the group does not wait any more: somebody else completed the hook, or it timed out"
			},
		},
		// The instance goes now, whatever the policy would have waited.
		"the group does not wait although pods are there": {
			now: 20 * time.Second, change: func(in *Input) { in.PodsGoneSince, in.Events[0].Time = time.Time{}, after(-90*time.Second) }, err: errNoAction, in: gone,
			want: func(hook *v1alpha1.HookStatus) {
				hook.State, hook.Message = v1alpha1.HookEnded, "the group does not wait any more: somebody else completed the hook, or it timed out"
				hook.Deadline = after(20 * time.Second)
			},
			look: 1, // at once
		},
		// It may have begun to wait this moment, or be another account's.
		"no action of an instance that is not listed":   {now: now, err: errNoAction, want: unclear(now), look: noActionRetry},
		"no action of an instance that waits":           {now: now, err: errNoAction, in: waits, want: unclear(now), look: noActionRetry},
		"no action, after one that was completed since": {now: now, change: asked(now - noActionRetry), want: func(hook *v1alpha1.HookStatus) { hook.State = v1alpha1.HookContinued }},
		"no action, twice, although pods are there, who keep their time": {
			now: now, change: func(in *Input) {
				asked(now - noActionRetry)(in)
				in.PodsGoneSince, in.Events[0].Time = time.Time{}, after(-90*time.Second)
			}, err: errNoAction,
			want: func(hook *v1alpha1.HookStatus) {
				hook.State = v1alpha1.HookEnded
				hook.Message = "Auto Scaling knows no such lifecycle action, also when asked again: somebody else completed the hook, it timed out, or the group is another account's"
				hook.Deadline = after(210 * time.Second)
			},
			look: 190 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(test.rules, test.now)
			in.PodsGoneSince = start.Add(10 * time.Second)
			if test.change != nil {
				test.change(&in)
			}
			want := in.Hooks[0].DeepCopy()
			want.Failures, want.RetryTime, want.NoActionTime, want.Message = nil, nil, nil, ""
			test.want(want)
			plan := NewPlan(in)
			plan.Record(Answer{Err: test.err, Instance: test.in})
			if diff := cmp.Diff(want, &plan.Hooks[0]); diff != "" {
				t.Errorf("hook (-want +got):\n%s", diff)
			}
			var look time.Time
			if test.look != 0 {
				look = in.Now.Add(test.look.Truncate(time.Millisecond))
			}
			if len(plan.Calls) != 0 || !plan.NextLook.Equal(look) {
				t.Errorf("calls %v, next look %s, want none, and %s", plan.Calls, plan.NextLook, look)
			}
		})
	}
}

func TestFailedCallIsTriedAgain(t *testing.T) {
	for failures, want := range map[int32]time.Duration{
		0: time.Second, 1: 2 * time.Second, 2: 4 * time.Second, 3: 8 * time.Second, 4: 16 * time.Second, 5: 30 * time.Second, 6: 30 * time.Second, 1 << 30: 30 * time.Second,
	} {
		in := oneHook(nil, 20*time.Second)
		in.PodsGoneSince = start
		if failures > 0 {
			in.Hooks[0].Failures = &failures
		}
		plan := NewPlan(in)
		plan.Record(Answer{Err: errDenied})
		hook := plan.Hooks[0]
		if hook.State != v1alpha1.HookWaiting || *hook.Failures != failures+1 || hook.Message != errDenied.Error() {
			t.Errorf("hook %+v, want it waiting with failure %d", hook, failures+1)
		}
		if delay := hook.RetryTime.Sub(in.Now); delay < want || delay > min(want*3/2, 30*time.Second) {
			t.Errorf("tried again %s after failure %d, want %s and up to half of it more, but never over 30s", delay, failures+1, want)
		}
		if !plan.NextLook.Equal(hook.RetryTime.Time) || len(plan.Calls) != 0 {
			t.Errorf("next look %s, calls %v; want it at %s", plan.NextLook, plan.Calls, hook.RetryTime)
		}
		if condition := plan.Condition(); condition.Reason != v1alpha1.ReasonHookFailing {
			t.Errorf("condition %+v", condition)
		}
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	in := oneHook(nil, 20*time.Second)
	in.PodsGoneSince = start
	plan := NewPlan(in)
	plan.Record(Answer{Err: errors.New(strings.Repeat("ü", 400))})
	if got := plan.Hooks[0].Message; got != strings.Repeat("ü", 250)+"…" {
		t.Errorf("a message of %d bytes: %s", len(got), got)
	}
}

func TestHeartbeat(t *testing.T) {
	const now = 100 * time.Second
	in := oneHook(nil, now)
	in.Hooks[0].Message = "denied"
	plan := NewPlan(in)
	plan.Record(Answer{})
	if hook := plan.Hooks[0]; !hook.LastHeartbeatTime.Equal(ptr.To(after(now))) || hook.Message != "" || !hook.Deadline.Time.Equal(start.Add(300*time.Second)) {
		t.Errorf("hook %+v, want a heartbeat and the same deadline", hook)
	}
	if len(plan.Calls) != 0 || !plan.NextLook.Equal(start.Add(200*time.Second)) {
		t.Errorf("calls %v, next look %s; want the next heartbeat", plan.Calls, plan.NextLook)
	}
	plan = NewPlan(in)
	plan.Record(Answer{Err: errDenied})
	if hook := plan.Hooks[0]; hook.LastHeartbeatTime != nil || *hook.Failures != 1 || len(plan.Calls) != 0 {
		t.Errorf("hook %+v, calls %v; want a failure", hook, plan.Calls)
	}
}

// The pods have more time from the first heartbeat on, also if that is late.
func TestHeartbeatMovesTheDeadline(t *testing.T) {
	in := oneHook(&v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800)}, answerTime)
	plan := NewPlan(in)
	if deadline := plan.Hooks[0].Deadline; !deadline.Time.Equal(start.Add(300 * time.Second)) {
		t.Errorf("deadline %s before the heartbeat", deadline)
	}
	plan.Record(Answer{})
	if deadline := plan.Hooks[0].Deadline; !deadline.Time.Equal(start.Add(1800 * time.Second)) {
		t.Errorf("deadline %s after the heartbeat", deadline)
	}
	if !plan.NextLook.Equal(in.Now) {
		t.Errorf("next look %s, want that the drain is planned again", plan.NextLook)
	}
}

// Pods that were evicted meanwhile are not cut short, unless the group does not wait.
func TestRefusedHeartbeatMovesTheDeadline(t *testing.T) {
	in := oneHook(&v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](1800)}, time.Second)
	plan := NewPlan(in)
	if deadline := plan.Hooks[0].Deadline; !deadline.Time.Equal(start.Add(1800 * time.Second)) {
		t.Errorf("deadline %s before the heartbeat", deadline)
	}
	plan.Record(Answer{Err: errDenied})
	in.Hooks = plan.Hooks
	if deadline := Track(in).Hooks[0].Deadline; !deadline.Time.Equal(start.Add(300 * time.Second)) {
		t.Errorf("deadline %s after the heartbeat", deadline)
	}
}

// Calls that are not sent are not tried without end five times a second.
func TestBusyBacksOff(t *testing.T) {
	in := oneHook(nil, 20*time.Second)
	in.PodsGoneSince = start
	for n, want := range []time.Duration{200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000} {
		plan := NewPlan(in)
		plan.Record(Answer{Err: errBusy})
		if delay := plan.NextLook.Sub(in.Now); delay != want*time.Millisecond {
			t.Errorf("look %d after %s, want %s", n, delay, want*time.Millisecond)
		}
		in.Busy = plan.Busy
	}
	plan := NewPlan(in)
	if plan.Record(Answer{}); plan.Busy != 0 {
		t.Errorf("busy %d after a call that was sent", plan.Busy)
	}
}

func TestUnreachableNodeIsNotWaitedFor(t *testing.T) {
	in := oneHook(nil, 20*time.Second)
	in.Unreachable = "the node does not answer since noon"
	plan := NewPlan(in)
	plan.Record(Answer{})
	if hook := plan.Hooks[0]; hook.State != v1alpha1.HookContinued || hook.Message != in.Unreachable {
		t.Errorf("hook %+v, want it continued, and why", hook)
	}
}

// Timeouts are asked for first; the hook's own call follows, whatever the answer.
func TestDescribe(t *testing.T) {
	const now = 200 * time.Second
	ours := awsapi.Hook{Name: "drain", HeartbeatTimeout: 600 * time.Second, GlobalTimeout: 3000 * time.Second}
	heartbeat := []Call{{Method: Heartbeat}}
	for name, test := range map[string]struct {
		answer   Answer
		timeout  *int32
		global   *int32
		deadline time.Duration
		message  string
		calls    []Call
		asked    bool
		look     time.Duration // after now
	}{
		"described": {
			answer:  Answer{Hooks: []awsapi.Hook{{Name: "other", HeartbeatTimeout: time.Second}, ours}},
			timeout: ptr.To[int32](600), global: ptr.To[int32](3000), deadline: 600 * time.Second, calls: heartbeat,
		},
		"described as one without timeouts": {
			answer: Answer{Hooks: []awsapi.Hook{{Name: "drain"}}}, timeout: ptr.To[int32](3600), deadline: time.Hour,
		},
		"not among the group's": {
			answer: Answer{Hooks: []awsapi.Hook{{Name: "other"}}}, deadline: time.Hour, calls: heartbeat, asked: true, look: 3400 * time.Second, message: "before",
		},
		"not answered": {
			answer: Answer{Err: errDenied}, deadline: time.Hour, calls: heartbeat, asked: true, look: 30 * time.Second,
			message: "its timeout is not known, an hour is assumed: " + errDenied.Error(),
		},
		"not sent": {answer: Answer{Err: errBusy}, deadline: time.Hour, calls: heartbeat, look: 200 * time.Millisecond, message: "before"},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(nil, now)
			in.Policy = policy(nil)
			in.Hooks[0].HeartbeatTimeoutSeconds, in.Hooks[0].Message = nil, "before"
			plan := NewPlan(in)
			if diff := cmp.Diff([]Call{{Method: Describe}}, plan.Calls); diff != "" {
				t.Fatalf("calls (-want +got):\n%s", diff)
			}
			plan.Record(test.answer)
			want := in.Hooks[0].DeepCopy()
			want.HeartbeatTimeoutSeconds, want.GlobalTimeoutSeconds, want.Deadline, want.Message = test.timeout, test.global, after(test.deadline), test.message
			if diff := cmp.Diff(want, &plan.Hooks[0]); diff != "" {
				t.Errorf("hook (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.calls, plan.Calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if asked := plan.LastAsked.Equal(in.Now); asked != test.asked {
				t.Errorf("last asked %s", plan.LastAsked)
			}
			if !plan.NextLook.Equal(in.Now.Add(test.look)) {
				t.Errorf("next look %s, want %s after now", plan.NextLook.Sub(in.Now), test.look)
			}
		})
	}
}

// A question that was not answered is not put again for another hook at once.
func TestOneFailedQuestionAtATime(t *testing.T) {
	in := oneHook(nil, 0)
	in.Events = append(in.Events, terminating("other", "b"))
	in.Hooks = append(in.Hooks, waiting("other", "b"))
	in.Hooks[0].HeartbeatTimeoutSeconds, in.Hooks[1].HeartbeatTimeoutSeconds = nil, nil
	for err, want := range map[error][]Call{errDenied: nil, errBusy: {{Method: Describe, Hook: 1}}} {
		plan := NewPlan(in)
		if diff := cmp.Diff([]Call{{Method: Describe}, {Method: Describe, Hook: 1}}, plan.Calls); diff != "" {
			t.Fatalf("calls (-want +got):\n%s", diff)
		}
		plan.Record(Answer{Err: err})
		if diff := cmp.Diff(want, plan.Calls); diff != "" {
			t.Errorf("after %v, calls (-want +got):\n%s", err, diff)
		}
	}
}

func TestFind(t *testing.T) {
	waits := awsapi.GroupInstance{Group: "g", State: "Terminating:Wait"}
	for name, test := range map[string]struct {
		answer Answer
		hooks  []string
		asked  bool
		look   time.Duration
		now    bool   // it looks again at once, as the drain's deadline is another
		reason string // of the condition; empty: it says nothing
		stays  bool   // what the condition said before
		listed bool   // it was before
	}{
		"two hooks, but not one for launches": {
			answer: Answer{Instance: waits, Hooks: []awsapi.Hook{{Name: "a"}, {Name: "join", Launching: true}, {Name: "b"}}},
			hooks:  []string{"a", "b"}, asked: true, now: true, reason: v1alpha1.ReasonHookWaiting,
		},
		"it does not wait yet":   {answer: Answer{Instance: awsapi.GroupInstance{Group: "g", State: "Terminating"}}, asked: true, look: 10 * time.Second},
		"it is not listed":       {asked: true, look: 10 * time.Second, reason: v1alpha1.ReasonHookFailing, stays: true},
		"it is no longer listed": {listed: true, asked: true, look: 10 * time.Second},
		"only hooks of launches": {answer: Answer{Instance: waits, Hooks: []awsapi.Hook{{Name: "join", Launching: true}}}, asked: true, look: 10 * time.Second},
		"not answered":           {answer: Answer{Err: errDenied}, asked: true, look: 10 * time.Second, reason: v1alpha1.ReasonHookFailing, stays: true},
		"not sent":               {answer: Answer{Err: errBusy}, look: 200 * time.Millisecond, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Events: []v1alpha1.Event{terminating("", "")}, Policy: policy(nil), Listed: test.listed, Now: start.Add(time.Second)}
			plan := NewPlan(in)
			plan.Record(test.answer)
			var hooks []string
			for _, hook := range plan.Hooks {
				if hook.State != v1alpha1.HookWaiting || hook.AutoScalingGroupName != "g" || hook.Token != "" || !hook.Deadline.Time.Equal(in.Now.Add(time.Hour)) {
					t.Errorf("hook %+v", hook)
				}
				hooks = append(hooks, hook.Name)
			}
			if diff := cmp.Diff(test.hooks, hooks); diff != "" {
				t.Errorf("hooks (-want +got):\n%s", diff)
			}
			var look time.Time
			if test.look != 0 || test.now {
				look = in.Now.Add(test.look)
			}
			if len(plan.Calls) != 0 || !plan.NextLook.Equal(look) || plan.LastAsked.Equal(in.Now) != test.asked {
				t.Errorf("calls %v, next look %s, last asked %s; want a look after %s", plan.Calls, plan.NextLook, plan.LastAsked, test.look)
			}
			nt := &v1alpha1.NodeTermination{}
			nt.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionLifecycleHookCompleted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHookFailing, LastTransitionTime: after(0),
			}}
			plan.WriteTo(nt)
			switch conditions := nt.Status.Conditions; {
			case test.reason == "" && !test.stays && len(conditions) != 0:
				t.Errorf("conditions %+v, want none", conditions)
			case test.reason != "" && (len(conditions) != 1 || conditions[0].Reason != test.reason):
				t.Errorf("conditions %+v, want %s", conditions, test.reason)
			case test.reason != "" && conditions[0].LastTransitionTime.Time.Equal(start) != test.stays:
				t.Errorf("it has been so since %s", conditions[0].LastTransitionTime)
			case test.stays && len(conditions) != 1:
				t.Error("what it said before is lost")
			}
		})
	}
}

// What was found has its timeouts from the same answer.
func TestFoundHookHasItsTimeouts(t *testing.T) {
	plan := NewPlan(Input{Events: []v1alpha1.Event{terminating("", "")}, Policy: policy(nil), Now: start})
	plan.Record(Answer{Instance: awsapi.GroupInstance{Group: "g", State: "Terminating:Wait"}, Hooks: []awsapi.Hook{{Name: "a", HeartbeatTimeout: time.Minute, GlobalTimeout: 2 * time.Hour}}})
	want := waiting("a", "")
	want.HeartbeatTimeoutSeconds, want.GlobalTimeoutSeconds, want.Deadline = ptr.To[int32](60), ptr.To[int32](7200), after(minWait)
	if diff := cmp.Diff([]v1alpha1.HookStatus{want}, plan.Hooks); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Call{{Method: Heartbeat}}, plan.Calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// The search ends with the first answer after the end, not with a call that fails.
func TestSearchEndsAfterTheTermination(t *testing.T) {
	for name, test := range map[string]struct {
		finished bool
		answer   Answer
		want     bool
	}{
		"answered before the end": {},
		"answered after it":       {finished: true, want: true},
		"not answered":            {finished: true, answer: Answer{Err: errDenied}},
		"not sent":                {finished: true, answer: Answer{Err: errBusy}},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Events: []v1alpha1.Event{terminating("", "")}, Policy: policy(nil), Finished: test.finished, Listed: true, Now: start}
			plan := NewPlan(in)
			plan.Record(test.answer)
			if plan.Answered != test.want || plan.NextLook.IsZero() != test.want {
				t.Errorf("answered %t, next look %s; want %t", plan.Answered, plan.NextLook, test.want)
			}
		})
	}
}

// Volumes are still attached, say: the group is kept waiting.
func TestHold(t *testing.T) {
	const reason = "2 volumes are still attached"
	for name, test := range map[string]struct {
		now   time.Duration
		calls []Call
		look  time.Duration // after now
	}{
		"nothing else is due":        {now: 12 * time.Second, look: 2 * time.Second},
		"less often after a while":   {now: 20 * time.Second, look: 5 * time.Second},
		"a heartbeat is soon":        {now: 99 * time.Second, look: time.Second},
		"a heartbeat instead":        {now: 100 * time.Second, calls: []Call{{Method: Heartbeat}}, look: 30 * time.Second},
		"no heartbeat at the end":    {now: 299 * time.Second, calls: []Call{{Method: Heartbeat}}, look: 30 * time.Second},
		"nor after the deadline":     {now: 300 * time.Second, look: 30 * time.Second},
		"nor long after it has come": {now: 400 * time.Second, look: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(nil, test.now)
			in.Events = append(in.Events, terminating("other", "b"))
			in.Hooks = append(in.Hooks, waiting("other", "b"))
			in.PodsGoneSince = start.Add(10 * time.Second)
			plan := NewPlan(in)
			second := Call{Method: Complete, Hook: 1, Result: awsapi.Continue}
			if diff := cmp.Diff([]Call{{Method: Complete, Result: awsapi.Continue}, second}, plan.Calls); diff != "" {
				t.Fatalf("calls (-want +got):\n%s", diff)
			}
			plan.Hold(reason)
			if diff := cmp.Diff(append(test.calls, second), plan.Calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if hook := plan.Hooks[0]; hook.State != v1alpha1.HookWaiting || hook.Message != reason {
				t.Errorf("hook %+v", hook)
			}
			if !plan.NextLook.Equal(in.Now.Add(test.look)) {
				t.Errorf("next look after %s, want %s", plan.NextLook.Sub(in.Now), test.look)
			}
		})
	}
}

// A pod that tolerates the cordon may come while the completion is delayed.
func TestRestart(t *testing.T) {
	const reason = "1 pods have come to the node since it was drained"
	in := oneHook(nil, 20*time.Second)
	in.Events = append(in.Events, terminating("other", "b"))
	in.Hooks = append(in.Hooks, waiting("other", "b"))
	in.PodsGoneSince, in.Finished = start.Add(10*time.Second), true
	plan := NewPlan(in)
	plan.Restart(reason)
	if len(plan.Calls) != 0 {
		t.Errorf("calls %v, want none about the other hook either", plan.Calls)
	}
	if hook := plan.Hooks[0]; hook.State != v1alpha1.HookWaiting || hook.Message != reason || plan.Hooks[1].Message != "" {
		t.Errorf("hooks %+v", plan.Hooks)
	}
	if !plan.NextLook.Equal(in.Now.Add(2 * time.Second)) {
		t.Errorf("next look %s", plan.NextLook)
	}
}

// At the deadline the other hooks are overdue if pods have come.
func TestRestartAtTheDeadline(t *testing.T) {
	for onTimeout, want := range map[v1alpha1.OnTimeout][]Call{
		v1alpha1.OnTimeoutNone:    nil,
		v1alpha1.OnTimeoutAbandon: {{Method: Complete, Hook: 1, Result: awsapi.Abandon}},
	} {
		in := oneHook(&v1alpha1.LifecycleHookSpec{OnTimeout: onTimeout}, 300*time.Second)
		in.Events = append(in.Events, terminating("other", "b"))
		in.Hooks = append(in.Hooks, waiting("other", "b"))
		in.PodsGoneSince = start.Add(10 * time.Second)
		plan := NewPlan(in)
		plan.Restart("pods have come")
		if diff := cmp.Diff(want, plan.Calls); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", onTimeout, diff)
		}
		if plan.Hooks[0].State != v1alpha1.HookWaiting {
			t.Errorf("%s: hook %+v, want that the next plan decides about it", onTimeout, plan.Hooks[0])
		}
	}
}
