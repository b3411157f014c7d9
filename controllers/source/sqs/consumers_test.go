// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/nodetermination/operator/api/v1alpha1"
)

var (
	_ manager.Runnable               = &Consumers{}
	_ manager.LeaderElectionRunnable = &Consumers{}
)

func TestOneReplicaReads(t *testing.T) {
	if !NewConsumers(Options{}).NeedLeaderElection() {
		t.Error("every replica would read the queues")
	}
}

func TestHealthOfAQueueNobodyReads(t *testing.T) {
	health := NewConsumers(Options{}).Health(Queue{URL: "https://sqs.us-east-1.amazonaws.com/123456789012/q"})
	if health.Ready || health.Reason != v1alpha1.ReasonStarting || health.Message == "" {
		t.Errorf("%+v", health)
	}
}

// Queues come and go while others are read; those that stay are not disturbed.
func TestEnsure(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	other := f.queue
	var err error
	if other.URL, err = f.sim.CreateQueue("other", nil); err != nil {
		t.Fatal(err)
	}
	f.run() // f.queue, named before Start
	f.waitForHealth(v1alpha1.ReasonReady)
	if reason := f.Health(other).Reason; reason != v1alpha1.ReasonStarting {
		t.Errorf("the other queue: %s", reason)
	}
	for range 3 {
		f.Ensure([]Queue{f.queue, other, f.queue})
	}
	f.waitFor("the other queue", func() bool { return f.Health(other).Ready })
	select {
	case <-f.Changed():
	default:
		t.Error("nobody was notified")
	}
	if n := len(f.logged.with("queue is being read")); n != 2 {
		t.Errorf("%d consumers were started", n)
	}

	f.Ensure([]Queue{other})
	f.waitFor("the first queue to be left", func() bool { return len(f.logged.with("queue is no longer read", f.url)) == 1 })
	f.spot(instance)
	if reason := f.Health(f.queue).Reason; reason != v1alpha1.ReasonStarting {
		t.Errorf("the first queue: %s", reason)
	}
	if messages := f.messages(); len(messages) != 1 || messages[0].Receives != 0 {
		t.Errorf("the queue is still read: %+v", messages)
	}
	f.Ensure([]Queue{other, f.queue})
	f.handled(1)
	if f.termination(instance) == nil {
		t.Error("the queue is not read again")
	}
}

// Nothing is read before Start or after its end.
func TestEnsureOutsideOfStart(t *testing.T) {
	f := newFixture(t)
	f.Consumers = NewConsumers(f.opts)
	f.Ensure([]Queue{f.queue})
	f.Ensure(nil)
	if calls := f.sim.Calls("", ""); len(calls) != 0 {
		t.Errorf("calls before the start: %v", calls)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := f.Start(ctx); err != nil {
		t.Fatal(err)
	}
	f.Ensure([]Queue{f.queue})
	if lines := f.logged.with("queue is being read"); len(lines) != 0 {
		t.Errorf("started after the end: %v", lines)
	}
}

// Start returns at once while nothing is being handled, although receives wait for 20 s.
func TestStopWhileWaiting(t *testing.T) {
	f := newFixture(t)
	f.run()
	f.waitForHealth(v1alpha1.ReasonReady)
	started := time.Now()
	f.stop()
	<-f.done
	if took := time.Since(started); took > stopTimeout/2 {
		t.Errorf("it took %s", took)
	}
}

// What is being stored when the manager stops is finished.
func TestStopWhileStoring(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	entered, release := make(chan struct{}, 1), make(chan struct{})
	f.onApply(func(_ context.Context, _ string, apply func() error) error {
		entered <- struct{}{}
		<-release
		return apply()
	})
	f.spot(instance)
	f.run()
	<-entered
	f.stop()
	select {
	case <-f.done:
		t.Error("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	<-f.done
	if f.termination(instance) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored and deleted")
	}
}

// A call that hangs does not keep the manager from stopping; its message comes back.
func TestStopIsBounded(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	entered := make(chan struct{}, 1)
	f.onApply(func(ctx context.Context, _ string, _ func() error) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	f.spot(instance)
	f.run()
	<-entered
	started := time.Now()
	f.stop()
	<-f.done
	if took := time.Since(started); took < stopTimeout || took > 2*stopTimeout {
		t.Errorf("it took %s, want about %s", took, stopTimeout)
	}
	if len(f.messages()) != 1 {
		t.Error("the message is lost")
	}
	f.handled(1) // or the next test counts it
}
