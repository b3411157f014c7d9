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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

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

// A node's labels may come later than the first message about it.
func TestLabelsAreOnTheirWay(t *testing.T) {
	n := node("a", instance, func(n *corev1.Node) {
		n.Labels = nil
		n.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
	})
	f := newFixture(t, n)
	f.policy("a", selecting("a"))
	f.spot(instance)
	f.run()
	f.handled(1)
	for range 2 {
		if got := f.hiddenFor(); got != labelWait {
			t.Fatalf("hidden for %s", got)
		}
		f.step(labelWait)
		f.handled(1)
	}
	n.Labels = map[string]string{"pool": "a"}
	if err := f.kube.Update(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	f.step(labelWait)
	f.handled(1)
	if f.termination(instance) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored once a policy selected the node")
	}
}

// The boot and the policy are noted with the event; a node that is not Ready may show the boot before.
func TestBootAndPolicyAreNoted(t *testing.T) {
	boot := func(ready corev1.ConditionStatus, id string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Status.NodeInfo.BootID, n.Status.Conditions[0].Status = id, ready }
	}
	f := newFixture(t, node("a", instance, boot("True", "boot")), node("b", instance2, boot("Unknown", "boot")), node("c", instance3, boot("True", strings.Repeat("x", 65))))
	f.policy("queue")
	f.policy("another", func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Sources, p.Spec.Priority = nil, new(int32(1)) })
	f.send(awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{instance, instance2, instance3}})
	f.run()
	f.handled(1)
	for instanceID, want := range map[string]string{instance: "boot", instance2: "", instance3: ""} {
		nt := f.termination(instanceID)
		if nt == nil || nt.Spec.Events[0].BootID != want || nt.Spec.Events[0].PolicyName != "another" {
			t.Errorf("%s: %+v", instanceID, nt)
		}
	}
}

// What cannot be stored is given back for longer and longer, does not hold up
// the rest of its batch, and is logged once.
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
	extended := func() int { return len(f.sim.Calls("sqs", "ChangeMessageVisibilityBatch")) }
	for i := 1; i <= 6; i++ { // three times as long as it would stay hidden
		f.waitFor("the timers of the visibility timeout and of the attributes", func() bool { return f.clock.Waiters() >= 2 })
		f.step(visibility / 2)
		f.waitFor("the visibility timeout to be extended", func() bool { return extended() >= i && f.hiddenFor() == visibility })
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
func TestMalformedMessages(t *testing.T) {
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

func TestEventIsLogged(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	id := f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}})
	f.run()
	f.handled(1)
	if got := f.logged.with("event stored", id, f.url, `"instance"="`+instance+`"`, `"node"="a"`,
		`"kind"="SpotInterruption"`, `"event"="SQS-SpotInterruption"`); len(got) != 1 {
		t.Errorf("the event is not in the log: %q", f.logged.with(""))
	}
	if got := f.Health(f.queue).LastEventTime; !got.Equal(f.clock.Now()) {
		t.Errorf("last event at %s, want %s", got, f.clock.Now())
	}
}
