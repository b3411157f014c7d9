// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestBlockedNodesDelayNobody: twenty nodes whose pods a budget keeps for good do not delay another
// node by more than a moment.
func TestBlockedNodesDelayNobody(t *testing.T) {
	const (
		blocked = 20
		delay   = 3 * time.Second
		// atOnce is what even a busy machine should need; an idle one needs a tenth of it.
		atOnce = 6 * time.Second
	)
	startManager(t)
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}
	})
	f.budgetForGood()
	// Of three nodes each the middle one counts, as the machine has its moods.
	nodes := f.nodes(6)
	for _, node := range nodes {
		f.pods(node, 10)
	}
	burden := f.nodes(blocked)
	for _, node := range burden {
		f.pods(node, 3, stuck)
	}

	alone := f.measure(nodes[:3])
	for _, node := range burden {
		f.interrupt(node)
	}
	for _, node := range burden {
		nt := f.until(node, v1alpha1.StateDraining)
		eventually(t, func() (err error) {
			if nt, err = f.termination(node); err == nil && (nt.Status.Pods == nil || *nt.Status.Pods.Blocked != 3 || len(nt.Status.Blocked) != 3) {
				err = fmt.Errorf("NodeTermination %s does not say that 3 pods are blocked: %+v", nt.Name, nt.Status.Pods)
			}
			return err
		})
	}
	f.untilStatus(func(status *v1alpha1.NodeTerminationPolicyStatus) error {
		if ptr.Deref(status.Nodes, -1) != blocked+6 || ptr.Deref(status.ActiveTerminations, -1) != blocked {
			return fmt.Errorf("the policy counts %d nodes and %d terminations, want %d and %d",
				ptr.Deref(status.Nodes, -1), ptr.Deref(status.ActiveTerminations, -1), blocked+6, blocked)
		}
		return nil
	})
	crowded := f.measure(nodes[3:])

	t.Logf("cordoned after %s alone, %s beside %d blocked nodes; the last pod evicted after %s and %s",
		alone.cordoned, crowded.cordoned, blocked, alone.evicted, crowded.evicted)
	if crowded.cordoned > alone.cordoned+delay || crowded.evicted > alone.evicted+delay {
		t.Errorf("the delay is more than %s", delay)
	}
	if crowded.cordoned > atOnce || crowded.evicted > atOnce {
		t.Errorf("that is more than %s", atOnce)
	}
	requests, err := audit.find(func(r *request) bool {
		return r.resource() == "pods/eviction" && r.Object.Namespace == f.namespace && r.Response.Code == 429
	})
	if err != nil || len(requests) > blocked*3 {
		t.Errorf("%d evictions were asked for in vain, want at most one for each of %d blocked pods; %v", len(requests), blocked*3, err)
	}
}

// speed is how long after its message a node was cordoned and its last pod evicted.
type speed struct{ cordoned, evicted time.Duration }

// measure interrupts nodes one after the other and returns the middle one of each duration.
func (f *fixture) measure(nodes []*corev1.Node) speed {
	f.t.Helper()
	var cordons, evictions []time.Duration
	for _, node := range nodes {
		sent := f.interrupt(node)
		f.until(node, v1alpha1.StateCompleted)
		requests, err := audit.find(func(r *request) bool { return r.At.After(sent) && r.Response.Code < 300 })
		if err != nil {
			f.t.Fatal(err)
		}
		var cordon, evicted time.Duration
		for i := range requests {
			switch r := &requests[i]; {
			case r.Verb == "patch" && r.resource() == "nodes" && r.Object.Name == node.Name && cordon == 0:
				cordon = r.At.Sub(sent)
			case r.evictsPod() && r.Object.Namespace == f.namespace:
				evicted = r.At.Sub(sent)
			}
		}
		if cordon == 0 || evicted == 0 {
			f.t.Fatalf("node %s was drained without a cordon or an eviction", node.Name)
		}
		cordons, evictions = append(cordons, cordon), append(evictions, evicted)
	}
	return speed{middle(cordons), middle(evictions)}
}

func middle(durations []time.Duration) time.Duration {
	slices.Sort(durations)
	return durations[len(durations)/2]
}
