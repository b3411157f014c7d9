// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// twoManagers starts a manager that leads and another that stands by.
func twoManagers(t *testing.T) (leader, standby *manager) {
	t.Helper()
	leader = startManager(t)
	leader.untilSays(t, leads)
	standby = startManager(t)
	standby.untilSays(t, standsBy)
	return leader, standby
}

// acted is when a node was cordoned.
func acted(t *testing.T, node *corev1.Node) time.Time {
	t.Helper()
	var at time.Time
	eventually(t, func() error {
		found, err := audit.find(func(r *request) bool {
			return r.Verb == "patch" && r.resource() == "nodes" && r.Object.Name == node.Name && r.Response.Code == 200
		})
		if err != nil || len(found) == 0 {
			return fmt.Errorf("node %s is not cordoned, %w", node.Name, err)
		}
		at = found[0].At
		return nil
	})
	return at
}

// TestLeaderKilled: the leader is killed, and the other one acts within ten seconds.
func TestLeaderKilled(t *testing.T) {
	leader, standby := twoManagers(t)
	w := newWorld(t)
	node := w.nodes(1)[0]
	pods := w.pods(node, 2)

	killed := time.Now()
	leader.kill()
	w.interrupt(node)
	took := acted(t, node).Sub(killed)
	t.Logf("the other led after %s and acted after %s", standby.untilSays(t, leads).Sub(killed), took)
	if took > 10*time.Second {
		t.Errorf("the other acted after %s, want 10s at most", took)
	}
	w.until(node, v1alpha1.StateCompleted)
	w.checkToldOnce(pods...)
}

// TestLeaderStopped: the leader is asked to end in mid-drain. It does so cleanly, and the other one
// takes over at once.
func TestLeaderStopped(t *testing.T) {
	const (
		handOver = 2 * time.Second
		leave    = 10 * time.Second
	)
	leader, standby := twoManagers(t)
	w := newWorld(t)
	nodes := w.nodes(2)
	first := w.pods(nodes[0], 4, stopsIn(10*time.Second))
	last := w.pods(nodes[0], 1, critical)
	others := w.pods(nodes[1], 2)
	w.interrupt(nodes[0])
	w.untilToldToGo(first)
	before := w.until(nodes[0], v1alpha1.StateDraining)

	asked := time.Now()
	leader.mayEnd = true
	if err := leader.Stop(); err != nil {
		t.Errorf("the leader did not leave cleanly: %v", err)
	}
	left := time.Since(asked)
	w.interrupt(nodes[1])
	led := standby.untilSays(t, leads).Sub(asked)
	took := acted(t, nodes[1]).Sub(asked)
	t.Logf("the leader left after %s, the other led after %s and acted after %s", left, led, took)
	if left > leave {
		t.Errorf("the leader left after %s, want %s at most", left, leave)
	}
	if led > handOver {
		t.Errorf("the other led after %s, want %s at most", led, handOver)
	}
	w.until(nodes[1], v1alpha1.StateCompleted)
	nt := w.until(nodes[0], v1alpha1.StateCompleted)
	if nt.UID != before.UID || !nt.Status.StartTime.Equal(before.Status.StartTime) {
		t.Errorf("the drain began anew: %+v, was %+v", nt.Status, before.Status)
	}
	w.checkToldOnce(append(append(first, last...), others...)...)
}

// standsBack is what a replica says whose node is being taken away.
const standsBack = "it leaves the lease to others"

// onNode has a manager believe that its pod runs on a node.
func onNode(node *corev1.Node) func(*operator.Options) {
	return func(opts *operator.Options) { opts.Env = append(opts.Env, "NODE_NAME="+node.Name) }
}

// TestReplicaOnDoomedNode: a replica whose node is being taken away leaves the lease to another one,
// but acts if there is none.
func TestReplicaOnDoomedNode(t *testing.T) {
	const least, most = 8 * time.Second, 20 * time.Second // another replica would take a second or two
	first := startManager(t)
	first.untilSays(t, leads)
	w := newWorld(t)
	nodes := w.nodes(2)
	w.interrupt(nodes[0])
	w.until(nodes[0], v1alpha1.StateCompleted)

	doomed := startManager(t, onNode(nodes[0]))
	doomed.untilSays(t, standsBack)
	second := startManager(t, onNode(nodes[1]))
	second.untilSays(t, standsBy)
	stop(t, first)
	second.untilSays(t, leads)
	if len(doomed.said(leads)) > 0 {
		t.Error("the replica on the node that is being taken away has led as well")
	}

	stopped := time.Now()
	stop(t, second)
	led := doomed.untilSays(t, leads).Sub(stopped)
	t.Logf("the replica on the node that is being taken away led after %s", led)
	if led < least || led > most {
		t.Errorf("it led after %s, want %s to %s", led, least, most)
	}
	w.interrupt(nodes[1])
	w.until(nodes[1], v1alpha1.StateCompleted)
}

// stop stops a manager before the end of the test.
func stop(t *testing.T, m *manager) {
	t.Helper()
	m.mayEnd = true
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
}
