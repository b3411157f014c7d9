// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

// live is a client for the control plane, whose NodeTerminations and policies
// are deleted at the end of the test.
func live(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(cluster.Get(t).Config(), client.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, kind := range []client.Object{&v1alpha1.NodeTermination{}, &v1alpha1.NodeTerminationPolicy{}} {
			if err := c.DeleteAllOf(context.Background(), kind); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		}
	})
	return c
}

// newLiveFixture is a fixture on the control plane, with n nodes and a cache like the manager's.
func newLiveFixture(t *testing.T, n int) (*fixture, []*corev1.Node) {
	t.Helper()
	c := live(t)
	nodes := cluster.Get(t).CreateNodes(t, n)
	cached, err := cache.New(cluster.Get(t).Config(), cache.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := cached.IndexField(t.Context(), &corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		if err := cached.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), done: make(chan struct{}), stop: func() {}, kube: c}
	f.connect(cached)
	f.policy("all")
	for _, object := range []client.Object{&corev1.Node{}, &v1alpha1.NodeTerminationPolicy{}} {
		if _, err := cached.GetInformer(ctx, object); err != nil { // waits until it is in sync
			t.Fatal(err)
		}
	}
	f.waitFor("the policy in the cache", func() bool {
		return cached.Get(ctx, client.ObjectKey{Name: "all"}, &v1alpha1.NodeTerminationPolicy{}) == nil
	})
	return f, nodes
}

// The same interruption five times, and the state change that follows it, are one NodeTermination.
func TestOnePerInstance(t *testing.T) {
	f, nodes := newLiveFixture(t, 3)
	for _, n := range nodes {
		id, _ := ec2node.InstanceID(n)
		for range 5 {
			f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{id}, ID: "spot-" + n.Name})
		}
		f.send(awssim.Notice{Kind: awssim.StateChange, State: "stopping", InstanceIDs: []string{id}})
	}
	f.run()
	f.handled(18)
	if messages := f.messages(); len(messages) != 0 {
		t.Errorf("messages are left: %+v", messages)
	}
	for _, n := range nodes {
		id, _ := ec2node.InstanceID(n)
		if nt := f.termination(id); nt == nil || nt.Spec.NodeName != n.Name || len(nt.Spec.Events) != 2 {
			t.Errorf("node %s: %+v", n.Name, nt)
		}
	}
}

// The message of a maintenance comes back as long as one of its instances is unknown. It neither takes back
// what was said later about the other, nor stores anew what people have deleted.
func TestRetainedMessageTakesNothingBack(t *testing.T) {
	f, nodes := newLiveFixture(t, 1)
	id, _ := ec2node.InstanceID(nodes[0])
	now := f.clock.Now()
	moved := now.Add(122 * time.Minute).UTC()
	maintenance := awssim.Notice{Kind: awssim.Health, EventARN: "arn:aws:health:us-east-1::event/EC2/x/x_1", InstanceIDs: []string{id, stranger}, Time: now, NotBefore: now.Add(72 * time.Hour)}
	f.send(maintenance)
	f.run()
	f.handled(1)
	maintenance.InstanceIDs, maintenance.Time, maintenance.NotBefore = []string{id}, now.Add(time.Minute), moved
	f.send(maintenance)
	f.handled(1)
	f.step(30 * time.Second)
	f.handled(1)
	events := f.termination(id).Spec.Events
	if len(events) != 1 || !events[0].NotBefore.Equal(&metav1.Time{Time: moved}) {
		t.Fatalf("the older message counts: %+v", events)
	}
	if err := f.kube.Delete(t.Context(), f.termination(id)); err != nil {
		t.Fatal(err)
	}
	f.step(f.hiddenFor())
	f.handled(1)
	if nt := f.termination(id); nt != nil {
		t.Errorf("made anew: %+v", nt.Spec)
	}
}

// Of a maintenance that is closed, an older message is no news, whether it comes before or after.
func TestClosedStaysClosed(t *testing.T) {
	f, nodes := newLiveFixture(t, 1)
	id, _ := ec2node.InstanceID(nodes[0])
	now := f.clock.Now()
	closed := awssim.Notice{
		Kind: awssim.Health, EventARN: "arn:aws:health:us-east-1::event/EC2/x/x_1", InstanceIDs: []string{id},
		Time: now.Add(time.Hour), NotBefore: now.Add(7 * 24 * time.Hour), Status: "closed",
	}
	f.send(closed)
	f.run()
	f.handled(1)
	older := closed
	older.Time, older.Status = now, "upcoming"
	f.send(older)
	f.handled(1)
	if events := f.termination(id).Spec.Events; len(events) != 1 || !*events[0].Cancelled {
		t.Errorf("planned again: %+v", events)
	}
}

// While a NodeTermination is full, the message comes back every two seconds.
func TestFull(t *testing.T) {
	const full = 32
	f, nodes := newLiveFixture(t, 1)
	id, _ := ec2node.InstanceID(nodes[0])
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: id}, Spec: v1alpha1.NodeTerminationSpec{InstanceID: id, NodeName: nodes[0].Name}}
	for i := range full {
		nt.Spec.Events = append(nt.Spec.Events, v1alpha1.Event{
			ID: fmt.Sprint("e", i), Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceIMDS, Time: metav1.NewTime(f.clock.Now()),
		})
	}
	if err := f.kube.Create(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	message := f.spot(id)
	f.run()
	for range 4 {
		f.handled(1)
		if got := f.hiddenFor(); got != roomWait {
			t.Fatalf("hidden for %s", got)
		}
		f.step(roomWait)
	}
	f.handled(1)
	if lines := f.logged.with(message, "could not be stored", "is full"); len(lines) != 1 {
		t.Errorf("logged %d times", len(lines))
	}
	nt.Spec.Events = nt.Spec.Events[1:]
	if err := f.kube.Update(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	f.step(roomWait)
	f.handled(1)
	if events := f.termination(id).Spec.Events; len(events) != full || events[full-1].Source != v1alpha1.SourceSQS || len(f.messages()) != 0 {
		t.Errorf("not stored once there was room: %+v", events)
	}
}

// While the API server is away, messages wait in the queue.
func TestAPIServerAway(t *testing.T) {
	f, nodes := newLiveFixture(t, 1)
	id, _ := ec2node.InstanceID(nodes[0])
	f.run()
	f.waitForHealth(v1alpha1.ReasonReady)
	cluster.Get(t).StopAPIServer(t)
	message := f.spot(id)
	for range 4 {
		f.handled(1)
		f.step(f.hiddenFor())
	}
	f.handled(1)
	cluster.Get(t).StartAPIServer(t)
	f.step(f.hiddenFor())
	f.handled(1)
	if f.termination(id) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored once it could be")
	}
	if lines := f.logged.with(message, "could not be stored"); len(lines) != 1 {
		t.Errorf("logged %d times", len(lines))
	}
}
