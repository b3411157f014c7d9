// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
)

// A completion that fails is tried again, and the policy's source says what to do.
func TestFailedCompletionIsTriedAgain(t *testing.T) {
	for _, test := range []struct{ code, reason, says string }{
		{awssim.Throttle, v1alpha1.ReasonThrottled, "slow down"},
		{awssim.ServerError, v1alpha1.ReasonSourceError, "fails on the side of AWS"},
		{"AccessDenied", v1alpha1.ReasonAccessDenied, "allow autoscaling:CompleteLifecycleAction"},
	} {
		t.Run(test.code, func(t *testing.T) {
			f := newFixture(t, node("a", instance), node("b", instance2))
			f.policy("all", adopting("join"))
			if _, err := f.sim.AddFault(awssim.Fault{Service: "autoscaling", Code: test.code}); err != nil {
				t.Fatal(err)
			}
			f.send(launching(instance))
			f.run()
			f.handled(1)
			message := f.waitForHealth(test.reason)
			if !strings.HasPrefix(message, "An adopted lifecycle hook is not completed: ") || !strings.Contains(message, test.says) {
				t.Errorf("message %q, want %q in it", message, test.says)
			}
			f.spot(instance2) // is not held up
			f.handled(1)
			for i := 1; i <= 3; i++ {
				f.waitFor("the timer of the next try", func() bool { return f.clock.Waiters() >= 2 })
				if n := len(f.completions()); n != i {
					t.Fatalf("%d tries, want %d", n, i)
				}
				f.step(time.Duration(1<<(i-1)) * time.Second)
				f.waitFor("the next try", func() bool { return len(f.completions()) == i+1 })
			}
			if again := f.waitForHealth(test.reason); again != message {
				t.Errorf("the message changes: %q, before: %q", again, message)
			}
			f.waitFor("the timer of the next try", func() bool { return f.clock.Waiters() >= 2 })
			f.sim.ClearFaults()
			f.step(8 * time.Second)
			f.completed()
			if message := f.waitForHealth(v1alpha1.ReasonReady); message != "" {
				t.Errorf("ready, but: %q", message)
			}
		})
	}
}

// What somebody else has completed, or has timed out, is done, unless it is known a moment later.
func TestNoActionIsDone(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all", adopting("join"))
	notice := launching(instance)
	notice.Token = "87654321-4321-4321-4321-210987654321" // of no action
	if err := f.sim.PutLifecycleHook(awssim.LifecycleHook{Group: "workers", Name: "join", Launching: true}); err != nil {
		t.Fatal(err)
	}
	f.send(notice)
	f.run()
	f.handled(1)
	f.waitFor("the timer of the second try", func() bool { return len(f.completions()) == 1 && f.clock.Waiters() >= 2 })
	f.step(5 * time.Second)
	f.waitFor("the message to be deleted", func() bool { return len(f.messages()) == 0 })
	if len(f.completions()) != 2 || !f.Health(f.queue).Ready || len(f.logged.with("waits no more")) != 1 {
		t.Errorf("%d completions, health %+v", len(f.completions()), f.Health(f.queue))
	}
}

// The process ends while an instance joins: the next one receives it soon, although
// the message was to be hidden for longer.
func TestRestartLosesNothing(t *testing.T) {
	f := newFixture(t)
	f.policy("all", adopting("join"))
	f.send(launching(instance))
	f.run()
	f.handled(1)
	f.stop()
	<-f.done
	f.become(node("a", instance))
	f.done = make(chan struct{})
	f.step(visibility) // the call of the first that was cut off may have received it
	f.run()
	f.handled(1)
	f.completed()
}

// While its node does not come, the message comes back now and then, until no group waits any more.
func TestLaunchThatNeverJoins(t *testing.T) {
	f := newFixture(t)
	f.policy("all", adopting("join"))
	f.send(launching(stranger))
	f.run()
	f.handled(1)
	for _, want := range []time.Duration{minWait, 2 * minWait, maxWait, maxWait} {
		if got := f.hiddenFor(); got != want {
			t.Fatalf("hidden for %s, want %s", got, want)
		}
		f.step(want)
		f.handled(1)
	}
	f.step(event.MaxHookWait)
	f.handled(1)
	if messages := f.messages(); len(messages) != 0 {
		t.Errorf("after two days it is still there: %+v", messages)
	}
	if len(f.completions()) != 0 {
		t.Error("it was completed")
	}
	if n := len(f.logged.with("launch hook is adopted")); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// hooksFunc completes hooks.
type hooksFunc func(context.Context, awsapi.Action) error

func (f hooksFunc) Complete(ctx context.Context, action awsapi.Action, _ awsapi.Result) error {
	return f(ctx, action)
}

func (f hooksFunc) Instance(awsapi.Account, string, time.Duration) (awsapi.Instance, bool, error) {
	return awsapi.Instance{}, false, errors.New("nobody asks EC2 here")
}

// taggedHooks completes hooks, and says what EC2 says of their instance.
type taggedHooks struct {
	hooksFunc
	mu   sync.Mutex
	said *awsapi.Instance // nil: nothing yet
}

func (h *taggedHooks) Instance(awsapi.Account, string, time.Duration) (awsapi.Instance, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.said == nil {
		return awsapi.Instance{}, false, nil
	}
	return *h.said, true, nil
}

func (h *taggedHooks) says(tags ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = &awsapi.Instance{Found: true, Tags: tags}
}

// A policy with an instanceTag adopts hooks of instances that have it, and of no others.
func TestAdoptedInstanceNeedsTheTag(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all", adopting("join"), func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.InstanceTag = "ours" })
	completed := make(chan struct{}, 1)
	hooks := &taggedHooks{hooksFunc: func(context.Context, awsapi.Action) error { completed <- struct{}{}; return nil }}
	f.aws = hooks
	f.send(launching(instance))
	f.run()
	f.handled(1)
	f.waitFor("EC2 to be asked again", func() bool { return f.clock.Waiters() >= 2 })
	hooks.says("theirs")
	f.step(5 * time.Second)
	f.waitFor("the log to say that the tag is missing", func() bool { return len(f.logged.with("does not have the policy's instanceTag", instance)) == 1 })
	if len(completed) != 0 {
		t.Fatal("completed although the instance does not have the tag")
	}
	hooks.says("theirs", "ours")
	f.become(node("a", instance))
	f.waitFor("the hook to be completed", func() bool { return len(completed) == 1 })
	f.waitFor("the message to be deleted", func() bool { return len(f.messages()) == 0 })
}

// Completions run beside everything else, a few at a time.
func TestSlowCompletionsHoldUpNothing(t *testing.T) {
	const sideBySide, launches = 4, 12
	f := newFixture(t, node("a", instance))
	f.policy("all", adopting("join"))
	entered, release := make(chan struct{}, launches), make(chan struct{})
	f.aws = hooksFunc(func(ctx context.Context, _ awsapi.Action) error {
		entered <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	for i := range launches {
		notice := launching(fmt.Sprintf("i-0abc%013d", i))
		notice.Destination = "WarmPool"
		f.send(notice)
	}
	f.run()
	f.handled(launches)
	for range sideBySide {
		<-entered
	}
	f.spot(instance)
	f.handled(1)
	if f.termination(instance) == nil {
		t.Error("a message behind them was not stored")
	}
	if len(entered) != 0 {
		t.Errorf("more than %d at a time", sideBySide)
	}
	close(release)
	f.waitFor("all of them to be completed", func() bool { return len(entered) == launches-sideBySide && len(f.messages()) == 0 })
}

// A call that was not sent is no failure, and made a little later.
func TestBusy(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all", adopting("join"))
	answers := make(chan error, 2)
	answers <- awsapi.ErrBusy
	answers <- nil
	var actions []awsapi.Action
	f.aws = hooksFunc(func(_ context.Context, action awsapi.Action) error {
		actions = append(actions, action)
		return <-answers
	})
	notice := launching(instance)
	notice.Token = "87654321-4321-4321-4321-210987654321"
	f.send(notice)
	f.run()
	f.handled(1)
	f.waitFor("the timer of the next try", func() bool { return f.clock.Waiters() >= 2 })
	if health := f.Health(f.queue); !health.Ready {
		t.Errorf("health %+v", health)
	}
	f.step(500 * time.Millisecond)
	f.waitFor("the message to be deleted", func() bool { return len(f.messages()) == 0 })
	want := awsapi.Action{Account: awsapi.Account{Region: "us-east-1"}, Group: "workers", Hook: "join", Token: notice.Token, InstanceID: instance}
	if len(actions) != 2 || actions[0] != want || actions[1] != want {
		t.Errorf("actions %+v, want %+v twice", actions, want)
	}
}
