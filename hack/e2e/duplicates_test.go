// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestDuplicates: however often and from whichever source it is received, a node is drained once.
func TestDuplicates(t *testing.T) {
	startManager(t)

	t.Run("one message delivered five times", func(t *testing.T) {
		t.Parallel()
		sim := ownSim(t)
		f := newFixtureIn(t, sim)
		node := f.nodes(1)[0]
		pods := f.pods(node, 5, stopsIn(3*time.Second))
		if _, err := sim.AddFault(awssim.Fault{Service: "sqs", Duplicates: 4, Times: 1}); err != nil {
			t.Fatal(err)
		}
		f.interrupt(node)
		f.untilQueueEmpty()
		nt := f.until(node, v1alpha1.StateCompleted)
		checkKind(t, nt, v1alpha1.SpotInterruption, time.Time{})
		f.checkEvictedOnce(pods...)
		if nt.Generation != 1 {
			t.Errorf("receiving it again changed the NodeTermination: generation %d", nt.Generation)
		}
	})

	t.Run("one message sent five times", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		node := f.nodes(1)[0]
		pods := f.pods(node, 5, stopsIn(3*time.Second))
		notice := spot(node)
		notice.ID, notice.Time = "0a1b2c3d-0000-4000-8000-000000000005", time.Now()
		for range 5 {
			f.send(notice)
		}
		f.untilQueueEmpty()
		nt := f.until(node, v1alpha1.StateCompleted)
		checkKind(t, nt, v1alpha1.SpotInterruption, time.Time{})
		f.checkEvictedOnce(pods...)
	})

	// After the second event the operating system is shutting down: the last wave begins at once, and
	// pods that are shutting down keep their time.
	t.Run("spot interruption and state change", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		node := f.nodes(1)[0]
		pods := f.pods(node, 5, stopsIn(20*time.Second))
		pods = append(pods, f.pods(node, 1, critical)...)
		f.interrupt(node)
		f.untilEvicted(pods[:5])
		started := f.until(node, v1alpha1.StateDraining).Status.StartTime
		f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}})
		f.untilQueueEmpty()
		nt := f.until(node, v1alpha1.StateCompleted)
		if len(nt.Spec.Events) != 2 {
			t.Errorf("the NodeTermination has the events %+v, want two", nt.Spec.Events)
		}
		if !nt.Status.StartTime.Equal(started) {
			t.Errorf("it began at %s and then again at %s", started, nt.Status.StartTime)
		}
		evicted, deleted := f.evictions("create"), f.evictions("delete")
		for _, pod := range pods {
			if evicted[pod.Name] != 1 || deleted[pod.Name] > 0 {
				t.Errorf("pod %s was evicted %d times and its time cut %d times", pod.Name, evicted[pod.Name], deleted[pod.Name])
			}
		}
		last, err := audit.find(func(r *request) bool {
			return r.evictsPod() && r.Object.Namespace == f.namespace && r.Object.Name == pods[5].Name
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(last) != 1 || last[0].At.Sub(started.Time) > 18*time.Second {
			t.Errorf("the last wave began %+v, want while the first one was shutting down, from %s", last, started)
		}
	})
}
