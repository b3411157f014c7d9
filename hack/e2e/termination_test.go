// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestTermination: what a node needs besides the drain. The heartbeats take the better part of a
// minute, so all the others have their turns meanwhile.
func TestTermination(t *testing.T) {
	startManager(t)
	t.Run("heartbeats", func(t *testing.T) {
		t.Parallel()
		testHeartbeats(t)
	})
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		t.Run("spot interruption and termination of one instance", testSpotAndTermination)
		t.Run("termination received on both ways", testReceivedTwice)
		t.Run("hooks of others", testOthersHooks)
		t.Run("volumes", testVolumes)
		t.Run("maintenance", testMaintenance)
		t.Run("nothing is left", testNothingLeft)
		t.Run("dry run", testDryRun)
		t.Run("role", testRole)
		t.Run("instance tag", testInstanceTag)
	})
}

// maintenance is one that AWS Health announces.
func (f *fixture) maintenance(node *corev1.Node, notBefore time.Time) awssim.Notice {
	return awssim.Notice{
		Kind: awssim.Health, InstanceIDs: []string{instanceOf(node)}, NotBefore: notBefore.Truncate(time.Second),
		EventARN: "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/" + f.queueName + node.Name,
	}
}

// startsBefore is how long before a maintenance the drain begins in these tests.
const startsBefore = time.Hour

func startBefore(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.Events = []v1alpha1.EventRule{{
		Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordonAndDrain, StartBeforeSeconds: ptr.To(int32(startsBefore / time.Second)),
	}}
}

// testMaintenance: of two nodes the maintenance is weeks away and an hour and some seconds away.
// Both get no pods any more, and one's pods go when the hour begins.
func testMaintenance(t *testing.T) {
	f := newFixture(t, startBefore)
	nodes := f.nodes(2)
	far, near := nodes[0], nodes[1]
	stay, leave := f.pods(far, 1), f.pods(near, 1)
	begins := time.Now().Add(6 * time.Second).Truncate(time.Second)
	f.send(f.maintenance(far, begins.Add(3*7*24*time.Hour)))
	f.send(f.maintenance(near, begins.Add(startsBefore)))
	for _, node := range nodes {
		f.until(node, v1alpha1.StateScheduled)
		f.untilNode(node, cordoned)
	}
	f.until(near, v1alpha1.StateCompleted)
	f.checkEvictedOnce(leave...)
	evicted, err := audit.find(func(r *request) bool { return r.evictsPod() && r.Object.Namespace == f.namespace })
	if err != nil || len(evicted) != 1 || evicted[0].At.Before(begins) || evicted[0].At.After(begins.Add(10*time.Second)) {
		t.Errorf("evicted: %+v, %v, want one pod shortly after %s", evicted, err, begins)
	}
	f.until(far, v1alpha1.StateScheduled)
	f.untilNode(far, cordoned)
	if got := f.podsOn(far); !slices.Equal(got, []string{stay[0].Name}) {
		t.Errorf("pods %v are left on the node, want %s", got, stay[0].Name)
	}
}

// everything has all that can be done to a node done to it.
func everything(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}, LoadBalancers: v1alpha1.LoadBalancersExclude}
}

// testNothingLeft: a drain is cancelled by AWS, and one by deletion of its NodeTermination. The
// nodes are as they were before, also the one that somebody else had taken out of service.
func testNothingLeft(t *testing.T) {
	f := newFixture(t, startBefore, everything)
	f.budgetForGood()
	nodes := f.nodes(4)
	for _, node := range nodes {
		f.pods(node, 1, stuck)
	}
	for _, node := range nodes[2:] {
		f.patch(node, fmt.Sprintf(`{"metadata": {"labels": {%q: "by-hand"}}, "spec": {"unschedulable": true}}`, corev1.LabelNodeExcludeBalancers))
		f.untilNode(node, func(current *corev1.Node) error {
			*node = *current
			if !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeUnschedulable }) {
				return fmt.Errorf("node %s has the taints %+v, not yet Kubernetes' own for a cordon", node.Name, node.Spec.Taints)
			}
			return nil
		})
	}
	begins := time.Now()
	notices := make([]awssim.Notice, len(nodes))
	for i, node := range nodes {
		notices[i] = f.maintenance(node, begins.Add(startsBefore))
		f.send(notices[i])
	}
	for _, node := range nodes {
		f.until(node, v1alpha1.StateDraining)
		f.untilNode(node, func(current *corev1.Node) error {
			if _, excluded := current.Labels[corev1.LabelNodeExcludeBalancers]; !excluded || !hasTaint(current, v1alpha1.ScheduledMaintenance) {
				return fmt.Errorf("node %s has the taints %+v and the labels %v", node.Name, current.Spec.Taints, current.Labels)
			}
			return cordoned(current)
		})
	}
	for i, node := range nodes {
		if calledOff := i%2 == 0; calledOff {
			notices[i].Status = "closed"
			f.send(notices[i])
			f.until(node, v1alpha1.StateCancelled)
		} else {
			f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(node)}})
		}
	}
	for _, node := range nodes {
		f.untilNode(node, func(current *corev1.Node) error { return asBefore(node, current) })
	}
	f.checkEvictedOnce()
}

// asBefore is whether nothing of the operator's is on a node.
func asBefore(before, now *corev1.Node) error {
	for key := range now.Annotations {
		if strings.HasPrefix(key, "nodetermination.dev/") {
			return fmt.Errorf("node %s has the annotation %s", now.Name, key)
		}
	}
	type set struct {
		Labels        map[string]string
		Taints        []string
		Unschedulable bool
	}
	setOn := func(node *corev1.Node) set {
		s := set{Labels: maps.Clone(node.Labels), Unschedulable: node.Spec.Unschedulable}
		maps.DeleteFunc(s.Labels, func(key, _ string) bool { return strings.HasPrefix(key, "beta.kubernetes.io/") }) // Kubernetes adds them
		for i := range node.Spec.Taints {
			s.Taints = append(s.Taints, node.Spec.Taints[i].ToString())
		}
		return s
	}
	if diff := cmp.Diff(setOn(before), setOn(now)); diff != "" {
		return fmt.Errorf("node %s is not as it was (-before +now):\n%s", now.Name, diff)
	}
	return nil
}

// testDryRun: a policy that is tried out says what it would do, and nothing is written but that.
func testDryRun(t *testing.T) {
	f := newFixture(t, everything, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun })
	node := f.nodes(1)[0]
	pods := f.pods(node, 2)
	f.interrupt(node)
	action := f.terminate(node, time.Minute)
	f.untilQueueEmpty()
	eventually(t, func() error {
		nt := f.until(node, v1alpha1.StateDryRun)
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		for _, words := range []string{"would cordon the node", "set the taint", "load balancers", "evict 2 pods", "complete hook drain of group " + f.queueName} {
			if !strings.Contains(ready.Message, words) {
				return fmt.Errorf("it says %q, without %q", ready.Message, words)
			}
		}
		return nil
	})
	f.checkEvictedOnce()
	f.untilNode(node, func(current *corev1.Node) error { return asBefore(node, current) })
	written, err := audit.find(func(r *request) bool {
		reads := r.Verb == "get" || r.Verb == "list" || r.Verb == "watch"
		return !reads && (r.Object.Resource == "nodes" && r.Object.Name == node.Name || r.Object.Namespace == f.namespace)
	})
	if err != nil || len(written) > 0 {
		t.Errorf("written: %+v, %v, want nothing", written, err)
	}
	for _, call := range []string{heartbeat, completion} {
		if calls := f.calls(call, &action); len(calls) > 0 {
			t.Errorf("%s was called: %+v", call, calls)
		}
	}
	if got := f.podsOn(node); len(got) != len(pods) {
		t.Errorf("pods %v are left on the node, want %d", got, len(pods))
	}
}

// testRole: the queue is another account's, to be read with a role.
func testRole(t *testing.T) {
	const role = "arn:aws:iam::210987654321:role/node-termination"
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Sources[0].SQS.RoleARN = role })
	node := f.nodes(1)[0]
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
	f.untilQueueEmpty()
	actions := map[string]bool{}
	for _, call := range f.sim.Calls("sqs", "") {
		if call.Params["QueueUrl"] != f.queue {
			continue
		}
		actions[call.Action] = true
		if call.Role != role {
			t.Errorf("%s was called as %q, want %s", call.Action, call.Role, role)
		}
	}
	if !actions["ReceiveMessage"] || !actions["DeleteMessageBatch"] {
		t.Errorf("the calls about the queue are %v", actions)
	}
}

// testInstanceTag: of two instances one has the tag that the policy wants.
func testInstanceTag(t *testing.T) {
	const tag = "node-termination/managed"
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.InstanceTag = tag })
	nodes := f.nodes(2)
	tagged, other := nodes[0], nodes[1]
	pods := f.pods(tagged, 1)
	left := f.pods(other, 1)
	for node, tags := range map[*corev1.Node]map[string]string{tagged: {tag: ""}, other: {"Name": "other"}} {
		if err := f.sim.PutInstance(awssim.Instance{ID: instanceOf(node), Tags: tags}); err != nil {
			t.Fatal(err)
		}
		f.interrupt(node)
	}
	f.until(tagged, v1alpha1.StateCompleted)
	f.untilNode(tagged, cordoned)
	nt := f.until(other, v1alpha1.StateIgnored)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, tag) {
		t.Errorf("the instance without the tag is left alone because of %q, want %s in it", ready.Message, tag)
	}
	f.untilQueueEmpty()
	f.checkEvictedOnce(pods...)
	f.untilNode(other, func(current *corev1.Node) error { return asBefore(other, current) })
	if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(left[0]), left[0]); err != nil {
		t.Error(err)
	}
}
