// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// TestLeaderKilled: the leader is killed, and the other one acts within ten seconds. It goes on with
// a drain that takes two hours, for which a group waits.
func TestLeaderKilled(t *testing.T) {
	leader, standby := twoManagers(t)
	f := newFixture(t, beating)
	nodes := f.nodes(2)
	node, slow := nodes[0], nodes[1]
	pods := f.pods(node, 2)
	slowPods := f.pods(slow, 1, func(pod *corev1.Pod) {
		stopsIn(2 * time.Hour)(pod)
		pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64((2 * time.Hour).Seconds()))
	})
	f.terminate(slow, 2*time.Minute)
	before := f.untilEvicted(slowPods)[0]
	beats := f.untilHeartbeats(slow, 1)

	killed := time.Now()
	leader.kill()
	f.interrupt(node)
	took := acted(t, node).Sub(killed)
	t.Logf("the other led after %s and acted after %s", standby.untilSays(t, leads).Sub(killed), took)
	if took > 10*time.Second {
		t.Errorf("the other acted after %s, want 10s at most", took)
	}
	f.until(node, v1alpha1.StateCompleted)
	beats = f.untilHeartbeats(slow, len(beats)+1)
	if pause := beats[len(beats)-1].Sub(beats[len(beats)-2]); pause > briefly {
		t.Errorf("no heartbeat for %s, in which a hook of %s would have timed out", pause, briefly)
	}
	after := f.untilEvicted(slowPods)[0]
	if left := after.DeletionTimestamp.Sub(killed); left < 2*time.Hour-time.Minute || !after.DeletionTimestamp.Equal(before.DeletionTimestamp) {
		t.Errorf("the pod has until %s, %s after the kill, and had until %s", after.DeletionTimestamp, left, before.DeletionTimestamp)
	}
	f.until(slow, v1alpha1.StateDraining)
	if action := f.action(instanceOf(slow)); action.Result != "" {
		t.Errorf("the hook was completed while the pod was there: %+v", action)
	}
	f.checkEvictedOnce(append(pods, slowPods...)...)
}

// TestLeaderStopped: the leader is asked to end in mid-drain. It does so cleanly, and the other one
// takes over at once.
func TestLeaderStopped(t *testing.T) {
	const (
		handOver = 4 * time.Second // a second on a machine with nothing else to do; without handing over it is seven
		leave    = 10 * time.Second
	)
	leader, standby := twoManagers(t)
	f := newFixture(t)
	nodes := f.nodes(2)
	first := f.pods(nodes[0], 4, stopsIn(10*time.Second))
	last := f.pods(nodes[0], 1, critical)
	others := f.pods(nodes[1], 2)
	f.interrupt(nodes[0])
	f.untilEvicted(first)
	before := f.until(nodes[0], v1alpha1.StateDraining)

	asked := time.Now()
	leader.mayEnd = true
	if err := leader.Stop(); err != nil {
		t.Errorf("the leader did not leave cleanly: %v", err)
	}
	left := time.Since(asked)
	f.interrupt(nodes[1])
	led := standby.untilSays(t, leads).Sub(asked)
	took := acted(t, nodes[1]).Sub(asked)
	t.Logf("the leader left after %s, the other led after %s and acted after %s", left, led, took)
	if left > leave {
		t.Errorf("the leader left after %s, want %s at most", left, leave)
	}
	if led > left+handOver {
		t.Errorf("the other led after %s, want %s at most", led, left+handOver)
	}
	f.until(nodes[1], v1alpha1.StateCompleted)
	nt := f.until(nodes[0], v1alpha1.StateCompleted)
	if nt.UID != before.UID || !nt.Status.StartTime.Equal(before.Status.StartTime) {
		t.Errorf("the drain began anew: %+v, was %+v", nt.Status, before.Status)
	}
	f.checkEvictedOnce(append(append(first, last...), others...)...)
}

// TestLeaderOutlivesAStall: the API server answers nobody for three seconds, in the middle of a burst. The leader
// stays the leader, and nothing is lost by it.
func TestLeaderOutlivesAStall(t *testing.T) {
	_, standby := twoManagers(t)
	f := newFixture(t)
	nodes := f.nodes(4)
	var pods []*corev1.Pod
	for _, node := range nodes {
		pods = append(pods, f.pods(node, 5)...)
	}
	before := lease(t)
	for i, node := range nodes {
		if i == len(nodes)/2 {
			cluster.Get(t).StallAPIServer(t, 3*time.Second)
		}
		f.interrupt(node)
	}
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCompleted)
	}
	f.checkEvictedOnce(pods...)
	after := lease(t)
	if *after.Spec.HolderIdentity != *before.Spec.HolderIdentity || ptr.Deref(after.Spec.LeaseTransitions, 0) != ptr.Deref(before.Spec.LeaseTransitions, 0) {
		t.Errorf("the lease was %+v and is %+v, want the same holder all the while", before.Spec, after.Spec)
	}
	if len(standby.said(leads)) > 0 {
		t.Error("the other replica led in between")
	}
}

// lease returns the managers' lease.
func lease(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: operator.Namespace, Name: v1alpha1.FieldManager}
	if err := cluster.Get(t).Client().Get(t.Context(), key, lease); err != nil {
		t.Fatal(err)
	}
	return lease
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
	f := newFixture(t)
	nodes := f.nodes(2)
	f.interrupt(nodes[0])
	f.until(nodes[0], v1alpha1.StateCompleted)

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
	f.interrupt(nodes[1])
	f.until(nodes[1], v1alpha1.StateCompleted)
}

// stop stops a manager before the end of the test.
func stop(t *testing.T, m *manager) {
	t.Helper()
	m.mayEnd = true
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
}

// TestLeaderHandsOver: the leader's own node goes. Its own pod is the last to go, and it does not
// evict that itself: it hands over to the other replica before.
func TestLeaderHandsOver(t *testing.T) {
	f := emptyFixture(t, aws)
	f.apply()
	nodes := f.nodes(2)
	own := f.replicas(nodes)
	leader := startManager(t, inPod(own[0]))
	leader.mayEnd = true
	leader.untilSays(t, leads)
	standby := startManager(t, inPod(own[1]))
	standby.untilSays(t, standsBy)
	f.untilReady()
	others := f.pods(nodes[0], 2, stopsIn(2*time.Second))
	others = append(others, f.pods(nodes[0], 1, critical)...)

	f.interrupt(nodes[0])
	led := standby.untilSays(t, leads)
	if err := leader.Wait(); err != nil {
		t.Errorf("the leader should have ended with exit code 0: %v", err)
	}
	if len(leader.said("it ends, for another replica to take over")) != 1 {
		t.Error("the leader has not said once why it ends")
	}
	f.checkGone(others)
	f.until(nodes[0], v1alpha1.StateCompleted)
	f.checkEvictedOnce(others...)
	evicted, err := audit.find(func(r *request) bool {
		return r.evictsPod() && r.Object.Namespace == operator.Namespace && (r.Object.Name == own[0].Name || r.Object.Name == own[1].Name)
	})
	if err != nil || len(evicted) != 1 || evicted[0].Object.Name != own[0].Name || evicted[0].At.Before(led) {
		t.Errorf("evicted: %+v, %v, want pod %s once, after %s", evicted, err, own[0].Name, led)
	}
	if len(leader.said(leads)) != 1 || len(standby.said(leads)) != 1 {
		t.Error("the lease has changed hands more than once")
	}
}

// inPod has a manager believe that it runs in a pod.
func inPod(pod *corev1.Pod) func(*operator.Options) {
	return func(opts *operator.Options) {
		opts.Env = append(opts.Env, "POD_NAMESPACE="+pod.Namespace, "POD_NAME="+pod.Name, "NODE_NAME="+pod.Spec.NodeName)
	}
}

// replicas has the manager's Deployment make a pod on each of the nodes, which are all that there
// are, and returns them when they are ready. No manager runs in them. They go at the end of the test.
func (f *fixture) replicas(nodes []*corev1.Node) []*corev1.Pod {
	f.t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.Deployment}}
	scale := func(ctx context.Context, replicas int) error {
		return admin(f.t).Patch(ctx, deployment, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)))
	}
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own has ended
		defer cancel()
		if err := scale(ctx, 0); err != nil {
			f.t.Errorf("cleaning up: %v", err)
		}
	})
	if err := scale(f.t.Context(), len(nodes)); err != nil {
		f.t.Fatal(err)
	}
	pods := make([]*corev1.Pod, len(nodes))
	for i, node := range nodes {
		eventually(f.t, func() error {
			var list corev1.PodList
			if err := admin(f.t).List(f.t.Context(), &list, client.InNamespace(operator.Namespace), client.MatchingFields{"spec.nodeName": node.Name}); err != nil {
				return err
			}
			if len(list.Items) != 1 || !ready(&list.Items[0]) {
				return fmt.Errorf("node %s has %d pods of the Deployment, want a ready one", node.Name, len(list.Items))
			}
			pods[i] = &list.Items[0]
			return nil
		})
	}
	return pods
}
