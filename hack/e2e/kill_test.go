// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// visible is longer than any message is hidden that was received once, and not given back.
const visible = 21 * time.Second

// ownSim is a simulator of the test's own, to break, or to let time pass in.
func ownSim(t *testing.T) *awssim.Server {
	t.Helper()
	sim, err := awssim.Start(awssim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim
}

// newFixtureIn makes a fixture without nodes whose queue is in sim, and waits until it is up.
func newFixtureIn(t *testing.T, sim *awssim.Server) *fixture {
	t.Helper()
	f := emptyFixture(t, sim)
	f.apply()
	f.untilReady()
	return f
}

// TestKilledBeforeStored: the manager has received a message and is killed before it could store
// what it says, because the API server is away.
func TestKilledBeforeStored(t *testing.T) {
	m := startManager(t)
	f := newFixtureIn(t, ownSim(t))
	node := f.nodes(1)[0]
	pods := f.pods(node, 3)

	cluster.Get(t).StopAPIServer(t)
	f.interrupt(node)
	eventually(t, func() error {
		if messages := f.messages(); len(messages) != 1 || messages[0].Receives == 0 {
			return fmt.Errorf("the queue has %+v, want one message that was received", messages)
		}
		return nil
	})
	m.kill()
	cluster.Get(t).StartAPIServer(t)
	f.sim.Advance(visible)

	startManager(t)
	nt := f.until(node, v1alpha1.StateCompleted)
	checkKind(t, nt, v1alpha1.SpotInterruption, time.Time{})
	f.untilNode(node, cordoned)
	f.checkEvictedOnce(pods...)
	f.untilQueueEmpty()
}

// TestKilledBeforeDeleted: the manager has stored what a message says and is killed before the
// message is deleted, so it is received once more.
func TestKilledBeforeDeleted(t *testing.T) {
	m := startManager(t)
	f := newFixtureIn(t, ownSim(t))
	node := f.nodes(1)[0]
	pods := f.pods(node, 3, stopsIn(5*time.Second))

	fault, err := f.sim.AddFault(awssim.Fault{Service: "sqs", Action: "DeleteMessageBatch", Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.interrupt(node)
	eventually(t, func() error {
		if len(f.sim.Calls("sqs", "DeleteMessageBatch")) == 0 {
			return fmt.Errorf("the message was not to be deleted yet")
		}
		return nil
	})
	before, err := f.termination(node)
	if err != nil {
		t.Fatalf("the message was to be deleted before it was stored: %v", err)
	}
	m.kill()
	if len(f.messages()) != 1 {
		t.Fatalf("the queue has %+v, want the message", f.messages())
	}
	f.sim.ClearFault(fault)
	f.sim.Advance(visible)

	startManager(t)
	f.untilQueueEmpty()
	nt := f.until(node, v1alpha1.StateCompleted)
	checkKind(t, nt, v1alpha1.SpotInterruption, time.Time{})
	if nt.UID != before.UID || nt.Generation != before.Generation {
		t.Errorf("the NodeTermination is another one, or was changed: %s, generation %d, want %s, generation %d",
			nt.UID, nt.Generation, before.UID, before.Generation)
	}
	f.checkEvictedOnce(pods...)
}

// TestKilledInMidDrain: pods are shutting down, and others wait for them, when the manager is killed.
func TestKilledInMidDrain(t *testing.T) {
	m := startManager(t)
	f := newFixture(t)
	node := f.nodes(1)[0]
	first := f.pods(node, 4, stopsIn(30*time.Second))
	last := f.pods(node, 1, critical)
	f.interrupt(node)
	evicted := f.untilEvicted(first)
	before := f.until(node, v1alpha1.StateDraining)
	f.untilQueueEmpty()

	m.kill()
	second := startManager(t)
	second.untilSays(t, leads)
	for i, pod := range f.untilEvicted(first) {
		if !pod.DeletionTimestamp.Equal(evicted[i].DeletionTimestamp) {
			t.Errorf("pod %s has until %s, and had until %s: its grace period was begun anew", pod.Name, pod.DeletionTimestamp, evicted[i].DeletionTimestamp)
		}
	}
	nt := f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(append(first, last...)...)
	if nt.UID != before.UID || !nt.Status.StartTime.Equal(before.Status.StartTime) || !nt.Status.DrainStartTime.Equal(before.Status.DrainStartTime) {
		t.Errorf("the drain began anew: %+v, was %+v", nt.Status, before.Status)
	}
	if nt.Status.Pods.Summary != "5/5" {
		t.Errorf("%s pods are gone, want 5/5", nt.Status.Pods.Summary)
	}

	// What is deleted while nobody looks is undone by whoever looks next.
	second.kill()
	f.remove(nt)
	startManager(t)
	f.untilNode(node, schedulable)
}
