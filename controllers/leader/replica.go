// SPDX-License-Identifier: Apache-2.0

// Package leader decides which of the manager's replicas acts. Leader election
// itself is client-go's; what is added is that the manager, too, runs on nodes
// that terminate: a replica on such a node does not campaign, and a leader hands
// over before its own pod is evicted, so that nothing is interrupted at the worst
// moment.
//
// A node is terminating while it carries the annotation nodetermination.dev/applied.
// Pods are listed with the right that drains have.
package leader

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/node"
)

// podLabels are those of every manager's pod, as config/manager has them.
var podLabels = client.MatchingLabels{
	"app.kubernetes.io/name":      "node-termination-operator",
	"app.kubernetes.io/component": "manager",
}

// Replica is this process among the manager's replicas. Its fields are set before
// the manager starts. Its methods may be called from any goroutine.
type Replica struct {
	// NodeName is the Node that the replica runs on. Empty: it is not known, and no
	// node counts as the replica's own.
	NodeName string
	// Pod is the replica's own. Empty: it runs in none, or does not know.
	Pod types.NamespacedName
	// Nodes reads Nodes from the manager's cache.
	Nodes client.Reader
	// Live lists pods from the API server.
	Live client.Reader
	// Stop ends the process as SIGTERM would: the lease is released. Nil without
	// leader election, when there is nothing to hand over.
	Stop func()
	// Log receives when leadership is left to others, and why.
	Log logr.Logger

	handedOver atomic.Bool
}

// IsReplica reports whether a pod is one of the manager's replicas, this one included.
func (r *Replica) IsReplica(namespace string, podsLabels map[string]string) bool {
	return r.Pod.Namespace == namespace && labels.Set(podLabels).AsSelector().Matches(labels.Set(podsLabels))
}

// IsSelf reports whether a pod is the replica's own.
func (r *Replica) IsSelf(namespace, name string) bool {
	return name != "" && r.Pod == types.NamespacedName{Namespace: namespace, Name: name}
}

// HandOver ends the process if another replica can take over, which then goes
// on with what this one leaves behind. False: there is none, so what remains has
// to be done by this one. It may be called again and again, and costs one list of
// the manager's own pods each time until it returns true. The error says what could
// not be read; nothing has changed then.
func (r *Replica) HandOver(ctx context.Context) (handedOver bool, err error) {
	if r.handedOver.Load() {
		return true, nil
	}
	if r.Stop == nil || r.Pod.Name == "" || r.NodeName == "" {
		return false, nil
	}
	var pods corev1.PodList
	if err := r.Live.List(ctx, &pods, client.InNamespace(r.Pod.Namespace), podLabels); err != nil {
		return false, fmt.Errorf("cannot list the manager's pods in namespace %s: %w", r.Pod.Namespace, err)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; r.canLead(ctx, pod) {
			if r.handedOver.CompareAndSwap(false, true) {
				r.Log.Info("this replica's node is terminating: it ends, for another replica to take over",
					"node", r.NodeName, "pod", r.Pod.Name, "other", pod.Name, "otherNode", pod.Spec.NodeName)
				r.Stop()
			}
			return true, nil
		}
	}
	return false, nil
}

// canLead reports whether a pod is another replica, ready, and on a node that is known not to be
// terminating.
func (r *Replica) canLead(ctx context.Context, pod *corev1.Pod) bool {
	return !r.IsSelf(pod.Namespace, pod.Name) && pod.DeletionTimestamp == nil && node.PodReady(pod) &&
		pod.Spec.NodeName != r.NodeName && r.nodeStays(ctx, pod.Spec.NodeName)
}

// NodeTerminating reports whether the replica's own node is known to be terminating.
func (r *Replica) NodeTerminating(ctx context.Context) bool {
	if r.NodeName == "" {
		return false
	}
	own := &corev1.Node{}
	if r.Nodes.Get(ctx, types.NamespacedName{Name: r.NodeName}, own) != nil {
		return false // not known: a replica too many is better than none
	}
	return applied(own)
}

// nodeStays reports whether a node is known not to be terminating.
func (r *Replica) nodeStays(ctx context.Context, name string) bool {
	other := &corev1.Node{}
	return r.Nodes.Get(ctx, types.NamespacedName{Name: name}, other) == nil && !applied(other)
}

// applied reports whether this operator has applied something to a node that it has not reverted.
func applied(node *corev1.Node) bool {
	_, found := node.Annotations[v1alpha1.AnnotationApplied]
	return found
}
