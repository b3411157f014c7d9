// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

const (
	deleted = -1         // the message is gone
	left    = visibility // it comes back when the time of the receive is over
)

// Which message is kept, given back or deleted, and what is stored: the design's list.
func TestWhichMessage(t *testing.T) {
	both := []string{instance, stranger}
	before := epoch.Add(-10 * time.Minute)
	exists := func(f *fixture) { // a NodeTermination with one event
		f.spot(instance)
		f.run()
		f.handled(1)
	}
	for _, test := range []struct {
		name    string
		prepare func(*fixture) // default: a policy that selects everything
		send    awssim.Notice
		body    string        // instead of send
		age     time.Duration // of the message when it is read
		want    time.Duration // for how long it is hidden
		outcome outcome
		stored  []string // instances with a NodeTermination in the end
		events  int      // of the first of them, default 1
	}{
		{
			name: "governed", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "governed, through SNS", send: awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instance}, SNS: true},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name:    "governed by another policy of the queue",
			prepare: func(f *fixture) { f.policy("b", selecting("b")); f.policy("a", selecting("a")) },
			send:    awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want:    deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "several instances", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{instance, instance2}},
			want: deleted, outcome: stored, stored: []string{instance, instance2},
		},
		{
			name: "test notification", send: awssim.Notice{Kind: awssim.TestNotification},
			want: deleted, outcome: passed,
		},
		{
			name: "another service", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{instance}, Service: "RDS"},
			want: deleted, outcome: passed,
		},
		{
			name: "selected by no policy", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: notGoverned,
		},
		{
			name: "selected by a policy with another queue only",
			prepare: func(f *fixture) {
				f.policy("b", selecting("b"))
				f.policy("a", func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Sources[0].SQS.QueueURL += "-other" })
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: notGoverned,
		},
		{
			name: "unknown instance", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "unknown instance, 15 min old", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			age: 15 * time.Minute, want: deleted, outcome: discarded,
		},
		{
			name: "unknown instance, not to be retained", prepare: func(f *fixture) { f.policy("all", discarding) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: deleted, outcome: discarded,
		},
		{
			name: "unknown instance, policies differ", prepare: func(f *fixture) { f.policy("all", discarding); f.policy("other") },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "a node of Auto Mode", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance3}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "one instance known, one not", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: both},
			want: 30 * time.Second, outcome: retained, stored: []string{instance},
		},
		{
			name: "one instance not governed, one unknown", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.Health, InstanceIDs: both},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "stale", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}, Time: before},
			want: deleted, outcome: stale,
		},
		{
			name: "as old, but a hook waits", send: awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instance}, Time: before},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "running, nothing to resolve",
			send: awssim.Notice{Kind: awssim.StateChange, State: "running", InstanceIDs: []string{instance}},
			want: deleted, outcome: nothingToEnd,
		},
		{
			name: "running", prepare: func(f *fixture) { f.policy("all"); exists(f) },
			send: awssim.Notice{Kind: awssim.StateChange, State: "running", InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance}, events: 2,
		},
		{
			name: "cancelled, nothing to cancel",
			send: awssim.Notice{Kind: awssim.Health, Status: "closed", InstanceIDs: []string{instance}},
			want: deleted, outcome: nothingToEnd,
		},
		{
			name: "cancelled", prepare: func(f *fixture) { f.policy("all"); exists(f) },
			send: awssim.Notice{Kind: awssim.Health, Status: "closed", InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance}, events: 2,
		},
		{name: "not JSON", body: "rubbish", want: left, outcome: unreadable},
		{name: "not of EC2's form", body: `{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning"}`, want: left, outcome: unreadable},
		{
			name: "the policy is on its way out",
			prepare: func(f *fixture) {
				p := f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) { p.Finalizers = []string{"example.com/wait"} })
				if err := f.kube.Delete(f.t.Context(), p); err != nil {
					f.t.Fatal(err)
				}
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: 2 * time.Second, outcome: failed,
		},
		{
			name: "a selector that cannot be used",
			prepare: func(f *fixture) {
				f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) {
					p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: "pool", Operator: "Near"}}}
				})
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: 2 * time.Second, outcome: failed,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			auto := func(n *corev1.Node) { n.Labels["eks.amazonaws.com/compute-type"] = "auto" }
			f := newFixture(t, node("a", instance), node("b", instance2), node("c", instance3, auto))
			if test.prepare != nil {
				test.prepare(f)
			} else {
				f.policy("all")
			}
			counted := testutil.ToFloat64(messagesTotal.WithLabelValues(test.outcome.String()))
			if test.body != "" {
				f.sendBody(test.body)
			} else {
				f.send(test.send)
			}
			f.step(test.age)
			if f.Consumers == nil {
				f.run()
			}
			f.handled(1)

			if got := testutil.ToFloat64(messagesTotal.WithLabelValues(test.outcome.String())) - counted; got != 1 {
				t.Errorf("outcome %s was counted %v times", test.outcome, got)
			}
			if test.want == deleted {
				if messages := f.messages(); len(messages) != 0 {
					t.Errorf("the message is still there: %+v", messages)
				}
			} else if got := f.hiddenFor(); got != test.want {
				t.Errorf("the message is hidden for %s, want %s", got, test.want)
			}
			var list v1alpha1.NodeTerminationList
			if err := f.kube.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, nt := range list.Items {
				found = append(found, nt.Name)
			}
			if fmt.Sprint(found) != fmt.Sprint(test.stored) {
				t.Errorf("NodeTerminations %v, want %v", found, test.stored)
			}
			if len(list.Items) > 0 {
				if got, want := len(list.Items[0].Spec.Events), max(test.events, 1); got != want {
					t.Errorf("%d events, want %d", got, want)
				}
			}
		})
	}
}

// What is not known is asked for less and less often, until the message is 15
// minutes old or the instance has become a node.
func TestUnknownInstanceIsRetained(t *testing.T) {
	f := newFixture(t)
	f.policy("all")
	f.spot(stranger)
	f.run()
	f.handled(1)
	for _, want := range []time.Duration{30, 60, 120, 240, 480} {
		want *= time.Second
		if got := f.hiddenFor(); got != want {
			t.Fatalf("hidden for %s, want %s", got, want)
		}
		f.step(want)
		f.handled(1)
	}
	if messages := f.messages(); len(messages) != 0 {
		t.Errorf("after 15 min it is still there: %+v", messages)
	}

	f.spot(stranger)
	f.handled(1)
	if err := f.kube.Create(t.Context(), node("n", stranger)); err != nil {
		t.Fatal(err)
	}
	f.step(30 * time.Second)
	f.handled(1)
	if f.termination(stranger) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored once its instance was a node")
	}
}

// What cannot be stored is given back for longer and longer, does not hold up
// the rest of its batch, and is complained of once.
func TestFailedMessageIsGivenBack(t *testing.T) {
	f := newFixture(t, node("a", instance), node("b", instance2))
	f.policy("all")
	var broken atomic.Bool
	broken.Store(true)
	f.onApply(func(_ context.Context, instanceID string, apply func() error) error {
		if instanceID == instance && broken.Load() {
			return errors.New("etcd is not well")
		}
		return apply()
	})
	id := f.spot(instance)
	f.spot(instance2)
	f.run()
	f.handled(2)
	if f.termination(instance2) == nil {
		t.Fatal("the other one was not stored")
	}
	for _, want := range []time.Duration{2, 4, 8, 16, 30, 30} {
		want *= time.Second
		if got := f.hiddenFor(); got != want {
			t.Fatalf("hidden for %s, want %s", got, want)
		}
		f.step(want)
		f.handled(1)
	}
	broken.Store(false)
	f.step(30 * time.Second)
	f.handled(1)
	if f.termination(instance) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored once it could be")
	}
	if got := f.logged.with(id, "could not be stored", "etcd is not well", `"instance"="`+instance+`"`, `"node"="a"`); len(got) != 1 {
		t.Errorf("logged %d times: %q", len(got), f.logged.with(""))
	}
}

// While a message is being stored nobody else gets it, and those behind it are handled.
func TestSlowStoringHoldsTheMessage(t *testing.T) {
	f := newFixture(t, node("a", instance), node("b", instance2))
	f.policy("all")
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	f.onApply(func(ctx context.Context, instanceID string, apply func() error) error {
		if instanceID == instance {
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return apply()
	})
	f.spot(instance)
	f.run()
	<-entered
	holds := func() int { return len(f.sim.Calls("sqs", "ChangeMessageVisibilityBatch")) }
	for i := 1; i <= 6; i++ { // three times as long as it would stay hidden
		f.waitFor("the timers of the hold and of the attributes", func() bool { return f.clock.Waiters() >= 2 })
		f.step(visibility / 2)
		f.waitFor("the hold to be renewed", func() bool { return holds() >= i && f.hiddenFor() == visibility })
	}
	f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance2}})
	f.handled(1)
	if f.termination(instance2) == nil {
		t.Fatal("a message behind it was not stored")
	}
	close(release)
	f.handled(1)
	if len(f.messages()) != 0 || len(entered) != 0 {
		t.Error("the message is still there, or was stored twice")
	}
}

// A queue full of rubbish neither hides what is good nor takes more and more.
func TestRubbish(t *testing.T) {
	const rubbish, good = 1000, 10
	var nodes []client.Object
	for i := range good {
		nodes = append(nodes, node(fmt.Sprint("n", i), fmt.Sprintf("i-0abc%013d", i)))
	}
	f := newFixture(t, nodes...)
	f.policy("all")
	for i := range rubbish {
		f.sendBody(fmt.Sprintf("rubbish %d %s", i, strings.Repeat("x", 500)))
		if i%(rubbish/good) == rubbish/good/2 {
			f.spot(fmt.Sprintf("i-0abc%013d", i/(rubbish/good)))
		}
	}
	started := time.Now()
	f.run()
	f.handled(rubbish + good)
	t.Logf("%d messages in %s", rubbish+good, time.Since(started))
	for i := range good {
		if f.termination(fmt.Sprintf("i-0abc%013d", i)) == nil {
			t.Errorf("good message %d was not stored", i)
		}
	}
	if n := len(f.messages()); n != rubbish {
		t.Errorf("%d messages are left, want %d", n, rubbish)
	}
	if calls := f.sim.Calls("sqs", "ChangeMessageVisibilityBatch"); len(calls) != 0 {
		t.Error("the rubbish's visibility was changed")
	}
	health := f.Health(f.queue)
	if !health.Ready || !strings.Contains(health.Message, "More than 100 messages") || !strings.Contains(health.Message, "expected") {
		t.Errorf("health: %+v", health)
	}

	receives := len(f.sim.Calls("sqs", "ReceiveMessage"))
	f.step(visibility) // all of it again
	f.handled(rubbish)
	if n := len(f.sim.Calls("sqs", "ReceiveMessage")) - receives; n > rubbish/batchSize+2*maxReceivers {
		t.Errorf("%d receives for %d messages", n, rubbish)
	}
	if n := len(f.logged.with("message cannot be read")); n != rubbish {
		t.Errorf("%d lines in the log, want one a message", n)
	}
	if again := f.Health(f.queue); again.Message != health.Message {
		t.Errorf("the status would be written again and again: %q, before: %q", again.Message, health.Message)
	}
	f.waitFor("few receivers", func() bool {
		waiting := 0
		for _, call := range f.sim.Calls("sqs", "ReceiveMessage") {
			if !call.Done {
				waiting++
			}
		}
		return waiting >= 1 && waiting <= maxReceivers
	})
	before := heap()
	for range 3 {
		f.step(visibility)
		f.handled(rubbish)
	}
	f.sim.ClearCalls()
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// At-least-once delivery: duplicates and several events are one NodeTermination.
func TestDuplicates(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	if _, err := f.sim.AddFault(awssim.Fault{Duplicates: 4}); err != nil {
		t.Fatal(err)
	}
	f.spot(instance)
	f.send(awssim.Notice{Kind: awssim.StateChange, State: "stopping", InstanceIDs: []string{instance}})
	f.run()
	f.handled(10)
	if nt := f.termination(instance); nt == nil || len(nt.Spec.Events) != 2 {
		t.Errorf("want one NodeTermination with two events, got %+v", nt)
	}
	if messages := f.messages(); len(messages) != 0 {
		t.Errorf("messages are left: %+v", messages)
	}
}

// Deletes that fail bring messages back; storing them again changes nothing.
func TestDeleteFails(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	if _, err := f.sim.AddFault(awssim.Fault{Action: "DeleteMessageBatch", Times: 1, Code: awssim.ServerError, FailEntries: 1}); err != nil {
		t.Fatal(err)
	}
	f.spot(instance)
	f.run()
	f.handled(1)
	if got := f.hiddenFor(); got != visibility {
		t.Errorf("hidden for %s", got)
	}
	f.step(visibility)
	f.handled(1)
	if len(f.messages()) != 0 {
		t.Error("the message is still there")
	}
	if nt := f.termination(instance); len(nt.Spec.Events) != 1 {
		t.Errorf("storing it again made %d events", len(nt.Spec.Events))
	}
}

func TestEventIsLoggedAndCounted(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	counted := func() float64 {
		return testutil.ToFloat64(eventsTotal.WithLabelValues(string(v1alpha1.SpotInterruption), string(v1alpha1.SourceSQS)))
	}
	before := counted()
	id := f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}, ID: "1e5527d7-bb36-4607-3370-4164db56a40e"})
	f.run()
	f.handled(1)
	if got := f.logged.with("event stored", id, f.url, `"instance"="`+instance+`"`, `"node"="a"`,
		`"kind"="SpotInterruption"`, `"eventID"="1e5527d7-bb36-4607-3370-4164db56a40e"`); len(got) != 1 {
		t.Errorf("the event is not in the log: %q", f.logged.with(""))
	}
	if got := counted() - before; got != 1 {
		t.Errorf("counted %v events", got)
	}
	if got := f.Health(f.queue).LastEventTime; !got.Equal(f.clock.Now()) {
		t.Errorf("last event at %s, want %s", got, f.clock.Now())
	}
}
