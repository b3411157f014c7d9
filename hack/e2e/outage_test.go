// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// keepManager keeps a manager running until the test ends, as a kubelet does: whenever one ends by
// itself, another is started at once. While the API server is away, none can be.
func keepManager(t *testing.T, change ...func(*operator.Options)) {
	t.Helper()
	first := startManager(t, change...)
	first.mayEnd = true
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for running := first; ; {
			select {
			case <-ctx.Done():
				return
			case <-running.Done():
			}
			next, err := tryManager(t, &manager{mayEnd: true}, change...)
			for err != nil {
				select {
				case <-ctx.Done():
					return
				case <-time.After(250 * time.Millisecond):
				}
				next, err = tryManager(t, &manager{mayEnd: true}, change...)
			}
			running = next
		}
	})
	t.Cleanup(func() {
		cancel()
		keeping.Wait()
	})
}

// TestAPIServerAway: the API server is gone for 20 seconds in mid-drain. Some pods are shutting down
// by then, others have not been evicted, and a message arrives meanwhile.
func TestAPIServerAway(t *testing.T) {
	const away = 20 * time.Second
	keepManager(t)
	f := newFixtureIn(t, ownSim(t))
	nodes := f.nodes(2)
	first := f.pods(nodes[0], 3, stopsIn(10*time.Second))
	last := f.pods(nodes[0], 2, critical)
	others := f.pods(nodes[1], 3)
	f.interrupt(nodes[0])
	f.untilEvicted(first)
	before := f.until(nodes[0], v1alpha1.StateDraining)

	cluster.Get(t).StopAPIServer(t)
	back := time.After(away)
	f.interrupt(nodes[1])
	<-back
	cluster.Get(t).StartAPIServer(t)

	nt := f.until(nodes[0], v1alpha1.StateCompleted)
	if nt.UID != before.UID || !nt.Status.StartTime.Equal(before.Status.StartTime) {
		t.Errorf("the drain began anew: %+v, was %+v", nt.Status, before.Status)
	}
	if nt.Status.Pods.Summary != "5/5" {
		t.Errorf("%s pods are gone, want 5/5", nt.Status.Pods.Summary)
	}
	checkKind(t, f.until(nodes[1], v1alpha1.StateCompleted), v1alpha1.SpotInterruption, time.Time{})
	f.untilQueueEmpty()
	f.checkEvictedOnce(append(append(first, last...), others...)...)
}
