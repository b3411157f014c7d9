// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestPrivateDNSNames: nodes without a providerID are found by the private names and addresses of their instances, their
// whole life long, also after another instance has taken over a name.
func TestPrivateDNSNames(t *testing.T) {
	startManager(t)
	byName := func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.NodeIdentity = v1alpha1.NodeIdentityPrivateDNSName
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	}
	for name, test := range map[string]func(*fixture){
		"spot by the queue":           testSpotByName,
		"a lifecycle hook, on k3s":    testHookByName,
		"a watcher's word":            testWatchersWord,
		"EC2 does not answer":         testUnansweredName,
		"two nodes with one address":  testAmbiguousName,
		"another instance's old name": testReusedName,
	} {
		t.Run(name, func(t *testing.T) { test(newFixture(t, byName)) })
	}
}

// unnamedNode makes a node with another providerID than AWS's, or none, which EC2 does not know yet. The node that is returned
// has AWS's all the same, so that a test knows its instance.
func (f *fixture) unnamedNode(providerID string) *corev1.Node {
	f.t.Helper()
	actual := ""
	node := cluster.Get(f.t).CreateNodes(f.t, 1, func(node *corev1.Node) {
		maps.Copy(node.Labels, f.label)
		actual, node.Spec.ProviderID = node.Spec.ProviderID, providerID
		node.Status.NodeInfo.SystemUUID = "ec2-" + node.Name
	})[0]
	node.Spec.ProviderID = actual
	f.t.Cleanup(func() {
		f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(node)}})
		f.sim.RemoveInstance(instanceOf(node))
	})
	return node
}

// launch has EC2 know an instance at a node's address.
func (f *fixture) launch(id string, node *corev1.Node, state string) {
	f.t.Helper()
	instance := awssim.Instance{ID: id, State: state, PrivateIP: node.Status.Addresses[0].Address, LaunchTime: time.Now().Add(-time.Hour)}
	if err := f.sim.PutInstance(instance); err != nil {
		f.t.Fatal(err)
	}
}

// untilIdentified waits until the policy says whether the instances of its nodes are known, and of how many nodes.
func (f *fixture) untilIdentified(reason, message string, nodes int32) {
	f.t.Helper()
	eventually(f.t, func() error {
		condition, err := f.policyCondition(v1alpha1.ConditionNodesIdentified)
		if err != nil {
			return err
		}
		if condition.Reason != reason || !strings.Contains(condition.Message, message) || *f.policy.Status.Nodes != nodes {
			return fmt.Errorf("the policy's %d nodes should be %d and %s because of %q: %+v", *f.policy.Status.Nodes, nodes, reason, message, condition)
		}
		return nil
	})
}

// testSpotByName: kubeadm's node is drained for a spot notice, and its zone is EC2's.
func testSpotByName(f *fixture) {
	node := f.unnamedNode("")
	f.launch(instanceOf(node), node, "running")
	f.untilIdentified(v1alpha1.ReasonIdentified, "", 1)
	pods := f.pods(node, 3)
	f.interrupt(node)
	nt := f.until(node, v1alpha1.StateCompleted)
	f.untilNode(node, cordoned)
	f.untilQueueEmpty()
	f.checkEvictedOnce(pods...)
	if known := nt.Status.Node; known == nil || known.Zone != "us-east-1a" || known.SystemUUID != "ec2-"+node.Name {
		f.t.Errorf("the status has %+v of the node", known)
	}
	// The instance goes, and what is said then is about the same node.
	f.launch(instanceOf(node), node, "shutting-down")
	f.send(awssim.Notice{Kind: awssim.StateChange, State: "shutting-down", InstanceIDs: []string{instanceOf(node)}})
	f.untilQueueEmpty()
	eventually(f.t, func() error {
		nt, err := f.termination(node)
		if err == nil && len(nt.Spec.Events) != 2 {
			err = fmt.Errorf("NodeTermination %s has the events %+v", nt.Name, nt.Spec.Events)
		}
		return err
	})
}

// testHookByName: the group of k3s' node waits until the node is drained.
func testHookByName(f *fixture) {
	node := f.unnamedNode("k3s://" + f.queueName)
	f.launch(instanceOf(node), node, "running")
	f.untilIdentified(v1alpha1.ReasonIdentified, "", 1)
	pods := f.pods(node, 2)
	f.terminate(node, time.Hour)
	f.until(node, v1alpha1.StateCompleted)
	f.checkContinuedOnce(node)
	f.checkEvictedOnce(pods...)
}

// testWatchersWord: EC2 does not know the instance, such as another account's, but the node's own watcher does. Another
// instance of the same node is made up.
func testWatchersWord(f *fixture) {
	node := f.unnamedNode("rke2://" + f.queueName)
	f.untilIdentified(v1alpha1.ReasonNotIdentified, "no running instance", 0)
	pods := f.pods(node, 2)
	if err := forge(f.t.Context(), admin(f.t), node, instanceOf(node)); err != nil {
		f.t.Fatal(err)
	}
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
	const madeUp = "i-0f0123456789abcde"
	if err := forge(f.t.Context(), admin(f.t), node, madeUp); err != nil {
		f.t.Fatal(err)
	}
	eventually(f.t, func() error {
		err := admin(f.t).Get(f.t.Context(), client.ObjectKey{Name: madeUp}, &v1alpha1.NodeTermination{})
		if client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("the NodeTermination that was made up should be gone: %w", err)
		}
		return nil
	})
	f.untilNode(node, cordoned)
}

// testUnansweredName: while EC2 does not answer nothing is done, and the message comes back.
func testUnansweredName(f *fixture) {
	fault, err := f.sim.AddFault(awssim.Fault{Service: "ec2", Action: "DescribeInstances", Code: "UnauthorizedOperation"})
	if err != nil {
		f.t.Fatal(err)
	}
	defer f.sim.ClearFault(fault)
	node := f.unnamedNode("")
	f.launch(instanceOf(node), node, "running")
	f.untilIdentified(v1alpha1.ReasonNotAnswered, "ec2:DescribeInstances", 0)
	pods := f.pods(node, 1)
	f.interrupt(node)
	eventually(f.t, func() error {
		if messages := f.messages(); len(messages) != 1 || messages[0].Receives < 2 {
			return fmt.Errorf("the message should come back: %+v", messages)
		}
		return nil
	})
	f.untilNode(node, schedulable)
	f.sim.ClearFault(fault)
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
}

// testAmbiguousName: nothing is done about two nodes that say that they have the address of one instance, until one of them is gone.
func testAmbiguousName(f *fixture) {
	node, other := f.unnamedNode(""), f.unnamedNode("")
	f.launch(instanceOf(node), node, "running")
	f.untilIdentified(v1alpha1.ReasonNotIdentified, other.Name, 1)
	other.Status.Addresses[0].Address = node.Status.Addresses[0].Address
	f.report(other, func(current *corev1.Node) { current.Status.Addresses = other.Status.Addresses })
	f.untilIdentified(v1alpha1.ReasonNotIdentified, "of several nodes: ", 0)
	f.interrupt(node)
	eventually(f.t, func() error {
		if messages := f.messages(); len(messages) != 1 || messages[0].Receives == 0 {
			return fmt.Errorf("the message should be given back: %+v", messages)
		}
		return nil
	})
	f.untilNode(node, schedulable)
	f.remove(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: other.Name}})
	f.untilIdentified(v1alpha1.ReasonIdentified, "", 1)
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
}

// testReusedName: an instance is terminated, and another one takes over its name, its address and its Node. What was done to the
// Node is undone, and what is said late of the old instance does nothing to the new one.
func testReusedName(f *fixture) {
	node := f.unnamedNode("")
	old, next := instanceOf(node), "i-0fee1234def567890"
	f.launch(old, node, "running")
	f.untilIdentified(v1alpha1.ReasonIdentified, "", 1)
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
	f.untilNode(node, cordoned)

	f.launch(old, node, "terminated")
	f.launch(next, node, "running")
	f.t.Cleanup(func() {
		f.sim.RemoveInstance(next)
		f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: next}})
	})
	f.report(node, func(current *corev1.Node) {
		current.Status.NodeInfo.BootID, current.Status.NodeInfo.SystemUUID = "00000000-0000-4000-9000-000000000003", "ec2-next"
	})
	f.untilNode(node, func(node *corev1.Node) error {
		if applied := node.Annotations[v1alpha1.AnnotationApplied]; applied != "" || len(node.Spec.Taints) > 0 {
			return fmt.Errorf("node %s still has %s and the taints %v", node.Name, applied, node.Spec.Taints)
		}
		return schedulable(node)
	})
	f.until(node, v1alpha1.StateCompleted) // as before
	pods := f.pods(node, 2, stopsIn(20*time.Second))
	f.send(awssim.Notice{Kind: awssim.StateChange, State: "terminated", InstanceIDs: []string{old}})
	eventually(f.t, func() error {
		if messages := f.messages(); len(messages) != 1 || !messages[0].InFlight || time.Until(messages[0].VisibleAt) < 20*time.Second {
			return fmt.Errorf("the message should be retained as one of an unknown instance: %+v", messages)
		}
		return nil
	})
	f.untilNode(node, schedulable)
	if n := len(f.podsOn(node)); n != len(pods) {
		f.t.Errorf("%d pods are on the node, want %d", n, len(pods))
	}
	f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{next}})
	f.untilEvicted(pods)
	f.untilNode(node, func(node *corev1.Node) error {
		if applied := node.Annotations[v1alpha1.AnnotationApplied]; !strings.Contains(applied, next) {
			return fmt.Errorf("node %s has the annotation %s", node.Name, applied)
		}
		return cordoned(node)
	})
}

// report has a kubelet report something else of its node.
func (f *fixture) report(node *corev1.Node, change func(*corev1.Node)) {
	f.t.Helper()
	eventually(f.t, func() error {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		current := &corev1.Node{}
		if err := admin(f.t).Get(ctx, client.ObjectKeyFromObject(node), current); err != nil {
			return err
		}
		change(current)
		return admin(f.t).Status().Update(ctx, current)
	})
}
