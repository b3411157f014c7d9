// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/nodetermination/operator/hack/awssim"
)

func TestHooksAreRememberedForFiveMinutes(t *testing.T) {
	f := newFixture(t)
	f.hook("drain")
	if err := f.sim.PutLifecycleHook(awssim.LifecycleHook{Group: group, Name: "join", Launching: true, HeartbeatTimeout: 2 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	want := []Hook{
		{Name: "drain", HeartbeatTimeout: 5 * time.Minute, GlobalTimeout: 500 * time.Minute},
		{Name: "join", Launching: true, HeartbeatTimeout: 2 * time.Hour, GlobalTimeout: 48 * time.Hour},
	}
	ask := func(want []Hook) {
		t.Helper()
		got, err := f.DescribeHooks(t.Context(), account, group)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("hooks (-want +got):\n%s", diff)
		}
		got[0].Name = "changed by a caller"
	}
	ask(want)
	f.hook("more")
	f.clock.Step(hooksAge - 1)
	ask(want)
	f.clock.Step(1)
	ask([]Hook{want[0], want[1], {Name: "more", HeartbeatTimeout: 5 * time.Minute, GlobalTimeout: 500 * time.Minute}})
	if calls := f.sim.Calls("autoscaling", "DescribeLifecycleHooks"); len(calls) != 2 {
		t.Errorf("%d calls, want 2", len(calls))
	}
}

func TestHooksNobodyAsksForAreForgotten(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{group, "others"} {
		if err := f.sim.PutLifecycleHook(awssim.LifecycleHook{Group: name, Name: "drain", HeartbeatTimeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		group string
		after time.Duration
		want  int
	}{{group, 0, 1}, {"others", hooksAge - 1, 2}, {group, 1, 2}, {"others", hooksAge, 1}} {
		f.clock.Step(test.after)
		if _, err := f.DescribeHooks(t.Context(), account, test.group); err != nil {
			t.Fatal(err)
		}
		if n := f.hooks.Len(); n != test.want {
			t.Errorf("hooks of %d groups are remembered, want %d", n, test.want)
		}
	}
}

func TestHooksOfAGroupThatIsNotThere(t *testing.T) {
	f := newFixture(t)
	for range 2 { // not remembered
		hooks, err := f.DescribeHooks(t.Context(), account, group)
		if explained, ok := errors.AsType[*Error](err); !ok || explained.Cause != GroupNotFound {
			t.Errorf("hooks %v, error %v, want that there is no such group", hooks, err)
		}
	}
	f.hook("drain")
	if hooks, err := f.DescribeHooks(t.Context(), account, group); err != nil || len(hooks) != 1 {
		t.Errorf("hooks %v, error %v, want one hook", hooks, err)
	}
}

func TestGroupInstance(t *testing.T) {
	f := newFixture(t)
	ask := func(want GroupInstance, listed, waits, inService bool) {
		t.Helper()
		got, err := f.GroupInstance(t.Context(), account, instance)
		if got != want || err != nil || got.Listed() != listed || got.WaitsToTerminate() != waits || got.InService() != inService {
			t.Errorf("%+v, error %v, want %+v", got, err, want)
		}
	}
	ask(GroupInstance{}, false, false, false)
	f.sim.PutGroupInstance(group, instance)
	ask(GroupInstance{group, "InService"}, true, false, true)
	f.hook("drain")
	f.sim.PutGroupInstance("others", "i-0abc1234def567891")
	action := f.begin("drain")
	ask(GroupInstance{group, "Terminating:Wait"}, true, true, false)
	if err := f.Complete(t.Context(), Action{Account: account, Group: group, Hook: "drain", Token: action.Token}, Continue); err != nil {
		t.Fatal(err)
	}
	ask(GroupInstance{group, "Terminating:Proceed"}, true, false, false)
}

// An action is named by its token, its instance or both, and ends once.
func TestActionsAreCompletedOnce(t *testing.T) {
	for _, test := range []struct {
		name            string
		token, instance bool
		result          Result
	}{
		{"by token", true, false, Continue},
		{"by instance", false, true, Abandon},
		{"by both", true, true, Continue},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.hook("drain")
			begun := f.begin("drain")
			action := Action{Account: account, Group: group, Hook: "drain"}
			want := map[string]string{"AutoScalingGroupName": group, "LifecycleHookName": "drain"}
			if test.token {
				action.Token, want["LifecycleActionToken"] = begun.Token, begun.Token
			}
			if test.instance {
				action.InstanceID, want["InstanceId"] = instance, instance
			}
			f.clock.Step(time.Minute)
			counted := hookCalls()
			if err := f.Heartbeat(t.Context(), action); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, f.sim.Calls("autoscaling", "RecordLifecycleActionHeartbeat")[0].Params); diff != "" {
				t.Errorf("heartbeat (-want +got):\n%s", diff)
			}
			if err := f.Complete(t.Context(), action, test.result); err != nil {
				t.Fatal(err)
			}
			want["LifecycleActionResult"] = string(test.result)
			if diff := cmp.Diff(want, f.sim.Calls("autoscaling", "CompleteLifecycleAction")[0].Params); diff != "" {
				t.Errorf("completion (-want +got):\n%s", diff)
			}
			ended := f.sim.LifecycleActions()[0]
			if ended.Result != string(test.result) || len(ended.Heartbeats) != 1 {
				t.Errorf("the action has result %q and %d heartbeats, want %s and 1", ended.Result, len(ended.Heartbeats), test.result)
			}
			if err := f.Complete(t.Context(), action, test.result); !errors.Is(err, ErrNoAction) {
				t.Errorf("completed again: %v, want ErrNoAction", err)
			}
			if err := f.Heartbeat(t.Context(), action); !errors.Is(err, ErrNoAction) {
				t.Errorf("heartbeat after the end: %v, want ErrNoAction", err)
			}
			for _, call := range []string{heartbeatCall, completions[test.result]} {
				counted[call+" succeeded"]++
				counted[call+" ended"]++
			}
			if diff := cmp.Diff(counted, hookCalls()); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// hookCalls are the values of the metric, by call and result.
func hookCalls() map[string]float64 {
	calls := map[string]float64{}
	for _, call := range []string{heartbeatCall, completions[Continue], completions[Abandon]} {
		for _, result := range []string{"succeeded", "ended", "failed"} {
			calls[call+" "+result] = testutil.ToFloat64(hookCallsTotal.WithLabelValues(call, result))
		}
	}
	return calls
}

func TestActionsThatAreNone(t *testing.T) {
	f := newFixture(t)
	f.hook("drain")
	for name, action := range map[string]Action{
		"no such hook":       {Account: account, Group: group, Hook: "gone", InstanceID: instance},
		"instance not there": {Account: account, Group: group, Hook: "drain", InstanceID: instance},
		"token of another":   {Account: account, Group: group, Hook: "drain", Token: "71514b9d-6a40-4b26-8523-05e7ee35fa40"},
		"both of nothing":    {Account: account, Group: group, Hook: "drain", Token: "71514b9d-6a40-4b26-8523-05e7ee35fa40", InstanceID: instance},
	} {
		if err := f.Complete(t.Context(), action, Continue); !errors.Is(err, ErrNoAction) {
			t.Errorf("%s: completed with %v, want ErrNoAction", name, err)
		}
		if err := f.Heartbeat(t.Context(), action); !errors.Is(err, ErrNoAction) {
			t.Errorf("%s: heartbeat with %v, want ErrNoAction", name, err)
		}
	}
	f.sim.ClearCalls()
	for _, action := range []Action{
		{Account: account, Group: group, Hook: "drain"},
		{Account: account, Group: group, InstanceID: instance},
		{Account: account, Hook: "drain", InstanceID: instance},
	} {
		if err := f.Complete(t.Context(), action, Continue); err == nil || errors.Is(err, ErrNoAction) {
			t.Errorf("%+v: %v, want an error that says what is missing", action, err)
		}
		if err := f.Heartbeat(t.Context(), action); err == nil || errors.Is(err, ErrNoAction) {
			t.Errorf("%+v: %v, want an error that says what is missing", action, err)
		}
	}
	if calls := f.sim.Calls("", ""); len(calls) != 0 {
		t.Errorf("%d calls that name no action", len(calls))
	}
}

// One failure is tried again by the SDK, more are the caller's to wait for.
func TestCallsAreTriedTwice(t *testing.T) {
	for _, code := range []string{awssim.Throttle, awssim.ServerError} {
		f := newFixture(t)
		f.hook("drain")
		f.begin("drain")
		action := Action{Account: account, Group: group, Hook: "drain", InstanceID: instance}
		f.fault(awssim.Fault{Code: code, Times: 3})
		if err := f.Heartbeat(t.Context(), action); err == nil || errors.Is(err, ErrNoAction) || errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v, want an error", code, err)
		}
		if err := f.Heartbeat(t.Context(), action); err != nil {
			t.Errorf("%s once: %v", code, err)
		}
		if calls := f.sim.Calls("autoscaling", "RecordLifecycleActionHeartbeat"); len(calls) != 4 {
			t.Errorf("%s: %d calls, want 4", code, len(calls))
		}
	}
}

// The answer to a completion may be lost: the second try finds that it is done.
func TestCompletionWhoseAnswerIsLost(t *testing.T) {
	f := newFixture(t)
	f.hook("drain")
	begun := f.begin("drain")
	f.fault(awssim.Fault{Action: "CompleteLifecycleAction", Drop: awssim.DropAfter, Times: 1})
	err := f.Complete(t.Context(), Action{Account: account, Group: group, Hook: "drain", Token: begun.Token}, Continue)
	if !errors.Is(err, ErrNoAction) {
		t.Errorf("%v, want ErrNoAction", err)
	}
	if result := f.sim.LifecycleActions()[0].Result; result != "CONTINUE" {
		t.Errorf("result %q, want CONTINUE", result)
	}
}

// Nobody waits for a call to begin.
func TestTooManyCalls(t *testing.T) {
	f := newFixture(t)
	f.hook("drain")
	action := Action{Account: account, Group: group, Hook: "drain", InstanceID: instance}
	f.fault(awssim.Fault{Delay: time.Hour, Times: maxCalls})
	f.timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls sync.WaitGroup
	for range maxCalls {
		calls.Go(func() {
			if err := f.Heartbeat(ctx, action); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want that it was given up", err)
			}
		})
	}
	f.waitFor("the calls to be under way", func() bool { return len(f.sim.Calls("", "")) == maxCalls })
	f.begin("drain")
	if err := f.Heartbeat(t.Context(), action); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	if _, err := f.DescribeHooks(t.Context(), account, group); !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
	if sent := len(f.sim.Calls("", "")); sent != maxCalls {
		t.Errorf("%d calls were sent, want %d", sent, maxCalls)
	}
	cancel()
	calls.Wait()
	if err := f.Heartbeat(t.Context(), action); err != nil {
		t.Errorf("after the calls have ended: %v", err)
	}
}
