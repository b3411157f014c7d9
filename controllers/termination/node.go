// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// maxNodeConflicts bounds the retries of a change to a node: kubelets and other
// controllers write nodes too, but seldom twice in a row.
const maxNodeConflicts = 5

// identify finds the node and makes sure it is the right one:
// names are used again, and whoever wrote the object may have paired an instance
// with a node it does not run.
func (r *Reconciler) identify(ctx context.Context, s *scope) (verdict, error) {
	node := &corev1.Node{}
	err := r.Client.Get(ctx, types.NamespacedName{Name: s.nt.Spec.NodeName}, node)
	if apierrors.IsNotFound(err) {
		s.noteGone()
		return proceed, nil
	}
	if err != nil {
		return ended, fmt.Errorf("cannot read node %s: %w", s.nt.Spec.NodeName, err)
	}
	instance, ec2 := ec2node.InstanceID(node)
	known := s.nt.Status.Node
	switch {
	case known == nil && (!ec2 || instance != s.nt.Spec.InstanceID):
		if deleted, err := r.deleteForged(ctx, s); deleted || err != nil {
			return postponed, err
		}
		s.setState(v1alpha1.StateRefused, fmt.Sprintf(
			"node %s does not run on instance %s (its providerID is %q): nothing is done; delete this NodeTermination",
			node.Name, s.nt.Spec.InstanceID, node.Spec.ProviderID))
		return ended, nil
	case known == nil:
		s.nt.Status.Node = referenceTo(node)
	case s.finished() && instance == s.nt.Spec.InstanceID:
		// The same instance has registered anew since: what it receives now is about this node.
		known.UID, known.GoneTime = node.UID, nil
	case known.UID != node.UID || instance != s.nt.Spec.InstanceID:
		// Another node took the name: the one this is about is gone.
		s.successor = node
		s.noteGone()
		return proceed, nil
	}
	s.node = node
	return proceed, nil
}

// deleteForged deletes a NodeTermination that pairs the instance of one node with the
// name of another and that only watchers have written. None of them has a reason to
// write of another node's instance, and as long as it does, what that node's own writes
// is not stored.
func (r *Reconciler) deleteForged(ctx context.Context, s *scope) (deleted bool, err error) {
	others := func(e v1alpha1.Event) bool { return e.Source != v1alpha1.SourceIMDS }
	if len(s.nt.Spec.Events) == 0 || slices.ContainsFunc(s.nt.Spec.Events, others) {
		return false, nil
	}
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.MatchingFields{ec2node.InstanceIDIndex: s.nt.Spec.InstanceID}); err != nil {
		return false, fmt.Errorf("cannot find the node of instance %s: %w", s.nt.Spec.InstanceID, err)
	}
	if len(nodes.Items) == 0 {
		return false, nil
	}
	err = r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("cannot delete NodeTermination %s, which names node %s instead of %s: %w",
			s.nt.Name, s.nt.Spec.NodeName, nodes.Items[0].Name, err)
	}
	r.Log.WithValues(s.logValues()...).Info("NodeTermination deleted, as a watcher has paired another node's instance with its own node: look who has that watcher's token",
		"nodeOfInstance", nodes.Items[0].Name)
	return true, nil
}

// referenceTo returns what a status keeps of a node.
func referenceTo(node *corev1.Node) *v1alpha1.NodeReference {
	return &v1alpha1.NodeReference{UID: node.UID, BootID: node.Status.NodeInfo.BootID, Zone: ec2node.Zone(node)}
}

// noteGone notes when the node was first seen to be gone.
func (s *scope) noteGone() {
	if known := s.nt.Status.Node; known != nil && known.GoneTime == nil {
		known.GoneTime = &metav1.Time{Time: s.now}
	}
}

// changeNode writes what change does to the node, whose new state node holds
// afterwards. Taints are one atomic list, so the patch carries the version it was
// made from, and is made anew from a fresh read when somebody wrote in between.
func (r *Reconciler) changeNode(ctx context.Context, node *corev1.Node, change func(*corev1.Node) bool) error {
	uid := node.UID
	for attempt := 0; ; attempt++ {
		base := node.DeepCopy()
		if !change(node) {
			return nil
		}
		err := r.Client.Patch(ctx, node, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) || attempt == maxNodeConflicts {
			return err
		}
		if err := r.Live.Get(ctx, types.NamespacedName{Name: node.Name}, node); err != nil {
			return err
		}
		if node.UID != uid {
			return apierrors.NewNotFound(corev1.Resource("nodes"), node.Name)
		}
	}
}
