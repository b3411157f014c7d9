// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WatcherNamespace is where config/default puts the watchers' pods.
const WatcherNamespace = "node-termination-watchers"

// Image is the manager's, as hack/operator installs it, and so the one that watchers have to run.
const Image = "registry.example.com/node-termination-operator:v1"

// ErrNoWatcher says that a policy's DaemonSet has no pod on a node, perhaps not yet.
var ErrNoWatcher = errors.New("there is no watcher's pod")

// StartWatcher starts the watcher in the place of the pod that a policy's DaemonSet has on a node:
// with the pod's arguments and environment, and a token that is bound to the pod. opts.Binary is the path that
// BuildWatcher was given; opts.Env says where the metadata is, as awssim's Metadata.Env does.
func StartWatcher(ctx context.Context, policy, node string, opts Options) (*Process, error) {
	cluster, err := connect(opts.Kubeconfig)
	if err != nil {
		return nil, err
	}
	pod, err := cluster.watcherPod(ctx, policy, node)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := cluster.kubeconfig(ctx, pod.Namespace, pod.Spec.ServiceAccountName, pod)
	if err != nil {
		return nil, err
	}
	// The last of several flags of a name counts.
	args := slices.Concat(pod.Spec.Containers[0].Args, []string{
		"--heartbeat-file=heartbeat", // in its directory
		"--termination-message-path=termination-log",
	})
	opts.Env = slices.Concat([]string{"NODE_NAME=" + node}, environment(pod.Namespace, &pod.Spec), opts.Env)
	return launch(ctx, "imds-watcher", opts, args, kubeconfig)
}

// watcherPod returns the pod of a policy's DaemonSet on a node.
func (c *cluster) watcherPod(ctx context.Context, policy, node string) (*corev1.Pod, error) {
	var sets appsv1.DaemonSetList
	if err := c.client.List(ctx, &sets); err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := c.client.List(ctx, &pods, client.MatchingFields{"spec.nodeName": node}); err != nil {
		return nil, err
	}
	for i := range sets.Items {
		if owner := metav1.GetControllerOf(&sets.Items[i]); owner == nil || owner.Name != policy {
			continue
		}
		for j := range pods.Items {
			if metav1.IsControlledBy(&pods.Items[j], &sets.Items[i]) {
				return &pods.Items[j], nil
			}
		}
	}
	return nil, fmt.Errorf("%w of policy %s on node %s", ErrNoWatcher, policy, node)
}
