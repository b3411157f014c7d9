// SPDX-License-Identifier: Apache-2.0

package overlays

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// policyName is that of each test's policy, and label is on the nodes that it selects.
const policyName, label = "overlays", "overlays"

// queue is an SQS source of a queue that is made for it.
func queue(t *testing.T) (source v1alpha1.Source, url string) {
	t.Helper()
	url, err := aws.CreateQueue(fmt.Sprintf("queue-%p", t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return v1alpha1.Source{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: url}}, url
}

// metadata is a source of watchers.
var metadata = v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{PollIntervalSeconds: ptr.To[int32](1)}}

// apply creates a policy with these sources. At the end of the test it is deleted, and its watchers are gone before
// their nodes are.
func apply(t *testing.T, sources ...v1alpha1.Source) {
	t.Helper()
	t.Cleanup(func() {
		eventually(t, func() error {
			var pods corev1.PodList
			if err := admin.List(context.Background(), &pods, watcherLabels); err != nil || len(pods.Items) > 0 {
				return fmt.Errorf("%d watchers are still there: %w", len(pods.Items), err)
			}
			return nil
		})
	})
	create(t, &v1alpha1.NodeTerminationPolicy{ObjectMeta: meta(policyName), Spec: v1alpha1.NodeTerminationPolicySpec{
		NodeSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{label: "yes"}}, Sources: sources,
	}})
}

// sourceStatus returns what the policy's status says of a source.
func sourceStatus(t *testing.T, name string) (v1alpha1.SourceStatus, error) {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: policyName}, policy); err != nil {
		return v1alpha1.SourceStatus{}, err
	}
	for _, s := range policy.Status.Sources {
		if s.Name == name {
			return s, nil
		}
	}
	return v1alpha1.SourceStatus{}, fmt.Errorf("the policy's status has nothing of source %s", name)
}

// untilReady waits until a source is up.
func untilReady(t *testing.T, source string) {
	t.Helper()
	eventually(t, func() error {
		status, err := sourceStatus(t, source)
		if err == nil && !ptr.Deref(status.Ready, false) {
			err = fmt.Errorf("source %s is not ready: %s: %s", source, status.Reason, status.Message)
		}
		return err
	})
}

// nodeWithPod makes a node that the policy selects, with a pod on it.
func nodeWithPod(t *testing.T) (*corev1.Node, *corev1.Pod) {
	t.Helper()
	node := cluster.Get(t).CreateNodes(t, 1, func(node *corev1.Node) { node.Labels[label] = "yes" })[0]
	id, _ := ec2node.InstanceID(node)
	t.Cleanup(func() { _ = admin.Delete(context.Background(), &v1alpha1.NodeTermination{ObjectMeta: meta(id)}) })
	return node, cluster.Get(t).CreatePods(t, cluster.Get(t).CreateNamespace(t), node.Name, 1)[0]
}

// untilDrained waits until a node's termination is Completed and its pod gone.
func untilDrained(t *testing.T, node *corev1.Node, pod *corev1.Pod) {
	t.Helper()
	id, _ := ec2node.InstanceID(node)
	eventually(t, func() error {
		nt := &v1alpha1.NodeTermination{}
		if err := admin.Get(t.Context(), client.ObjectKey{Name: id}, nt); err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.StateCompleted {
			return fmt.Errorf("NodeTermination %s is %+v", id, ready)
		}
		return nil
	})
	if exists(t, &corev1.Pod{}, pod.Namespace, pod.Name) {
		t.Errorf("pod %s is still there", pod.Name)
	}
}

// drainsByQueue: a spot interruption from a queue drains a node.
func drainsByQueue(t *testing.T) {
	t.Helper()
	source, url := queue(t)
	node, pod := nodeWithPod(t)
	apply(t, source)
	untilReady(t, source.Name)
	id, _ := ec2node.InstanceID(node)
	if _, err := aws.Send(url, awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{id}}); err != nil {
		t.Fatal(err)
	}
	untilDrained(t, node, pod)
}

// drainsByWatcher: a spot interruption in a node's metadata drains it. The watcher runs in the place of its pod,
// which is returned.
func drainsByWatcher(t *testing.T) *corev1.Pod {
	t.Helper()
	node, pod := nodeWithPod(t)
	apply(t, metadata)
	id, _ := ec2node.InstanceID(node)
	sim, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: id}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	opts := operator.Options{Binary: program("imds-watcher"), Kubeconfig: cluster.Get(t).Kubeconfig(), Dir: t.TempDir(), Env: sim.Env()}
	eventually(t, func() error { // until its pod is there
		process, err := operator.StartWatcher(t.Context(), policyName, node.Name, opts)
		if err != nil {
			status, statusErr := sourceStatus(t, metadata.Name)
			return errors.Join(err, statusErr, errors.New(status.Message))
		}
		t.Cleanup(process.Kill)
		return nil
	})
	untilReady(t, metadata.Name)
	if err := sim.Say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot}); err != nil {
		t.Fatal(err)
	}
	untilDrained(t, node, pod)
	return watcherOn(t, node)
}

// watcherLabels are on the watchers of all policies.
var watcherLabels = client.MatchingLabels{"app.kubernetes.io/component": "imds-watcher"}

// watcherOn returns the watcher's pod on a node.
func watcherOn(t *testing.T, node *corev1.Node) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	err := admin.List(t.Context(), &pods, watcherLabels, client.MatchingFields{"spec.nodeName": node.Name})
	if err != nil || len(pods.Items) != 1 || metav1.GetControllerOf(&pods.Items[0]) == nil {
		t.Fatalf("%d watchers on node %s: %v", len(pods.Items), node.Name, err)
	}
	return &pods.Items[0]
}
