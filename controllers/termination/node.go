// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// maxNodeConflicts bounds the retries of a change to a node: kubelets and other
// controllers write nodes too, but seldom twice in a row.
const maxNodeConflicts = 5

// identify finds the Node that runs on the instance. The instance is what this is about: its
// Node may be made anew, under the same name or another one, or be missing for a while.
func (r *Reconciler) identify(ctx context.Context, s *scope) (verdict, error) {
	node, err := r.Identities.ByInstance(ctx, r.Client, s.nt.Spec.InstanceID)
	switch {
	case err != nil:
		return ended, err
	case node != nil && node.Name == s.nt.Spec.NodeName:
		r.found(s, node)
		return proceed, nil
	case unproven(s.nt):
		if v, err := r.doubt(ctx, s, node); v != proceed || err != nil {
			return v, err
		}
	}
	if node != nil {
		return postponed, r.follow(ctx, s, node)
	}
	return r.missNode(ctx, s)
}

// found notes that a node runs on the instance.
func (r *Reconciler) found(s *scope, node *corev1.Node) {
	s.node, s.zone = node, r.Identities.Zone(node)
	s.recognize()
}

// recognize notes which Node object this is. One that was made anew is yet to be cordoned
// and drained: see startOver.
func (s *scope) recognize() {
	known := s.nt.Status.Node
	switch {
	case known == nil:
		s.nt.Status.Node = s.reference()
		s.registeredAgain = s.finished() // as its node was missing
	case known.UID == s.node.UID:
		known.GoneTime, known.SystemUUID = nil, s.reference().SystemUUID
	default:
		s.nt.Status.Node = s.reference()
		if known.BootID != "" {
			s.nt.Status.Node.BootID = known.BootID // that of when the termination began
		}
		s.registeredAgain = true
	}
}

// follow changes the name of the node to that of the one that runs on the instance; the
// change brings us back.
func (r *Reconciler) follow(ctx context.Context, s *scope, node *corev1.Node) error {
	moved := s.nt.DeepCopy()
	moved.Spec.NodeName = node.Name
	patch := client.MergeFromWithOptions(s.nt, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, moved, patch, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		return fmt.Errorf("cannot change the node of NodeTermination %s to %s: %w", s.nt.Name, node.Name, err)
	}
	r.stopDrain(s.nt.Name)
	r.Log.WithValues(s.logValues()...).Info("The instance has another node", "newNode", node.Name)
	return nil
}

// missNode notes that no node runs on the instance. A Node of that name that does not say
// yet where it runs contradicts nothing.
func (r *Reconciler) missNode(ctx context.Context, s *scope) (verdict, error) {
	named := &corev1.Node{}
	err := r.Client.Get(ctx, types.NamespacedName{Name: s.nt.Spec.NodeName}, named)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return ended, fmt.Errorf("cannot read node %s: %w", s.nt.Spec.NodeName, err)
	case ec2node.LacksProviderID(named):
		return r.missByName(ctx, s, named)
	case s.nt.Status.Node == nil && named.Spec.ProviderID == "":
		s.setState(v1alpha1.StateRefused, fmt.Sprintf(
			"node %s does not run on instance %s (its providerID is %q): nothing is done; delete this NodeTermination",
			named.Name, s.nt.Spec.InstanceID, named.Spec.ProviderID))
		return ended, nil
	case named.Spec.ProviderID != "":
		s.successor = named
	}
	s.noteMissing()
	return proceed, nil
}

// noteMissing notes since when no node runs on the instance.
func (s *scope) noteMissing() {
	switch known := s.nt.Status.Node; {
	case known == nil:
		s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonNodeGone, "no node runs on the instance")
	case known.GoneTime == nil:
		known.GoneTime = &metav1.Time{Time: s.now}
	}
}

// missingSince returns since when no node runs on the instance.
func (s *scope) missingSince() time.Time {
	if known := s.nt.Status.Node; known != nil {
		return known.GoneTime.Time
	}
	if gone := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionCordoned); gone != nil {
		return gone.LastTransitionTime.Time
	}
	return s.now // a termination that has begun afresh says so the next time
}

// startOver has a node cordoned and drained that registered again while an event stands, also
// after the termination has ended. Its lifecycle hooks go on waiting until then.
func (r *Reconciler) startOver(_ context.Context, s *scope) (verdict, error) {
	if !s.registeredAgain || len(s.active()) == 0 {
		return proceed, nil
	}
	s.nt.Status.CompletionTime, s.nt.Status.HoldStartTime, s.nt.Status.DrainStartTime = nil, nil, nil
	r.Local.beginLosses(s.nt.Name)
	if meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained) != nil {
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonWaiting, "the node has registered again, and is drained once more")
	}
	return proceed, nil
}

// reference returns what a status keeps of the node. While it is not Ready it may still
// report the boot before.
func (s *scope) reference() *v1alpha1.NodeReference {
	node := s.node
	ref := &v1alpha1.NodeReference{UID: node.UID, Zone: cmp.Or(ec2node.Zone(node), s.zone)}
	if ec2node.LacksProviderID(node) && len(node.Status.NodeInfo.SystemUUID) <= maxSystemUUID {
		ref.SystemUUID = node.Status.NodeInfo.SystemUUID
	}
	if _, ready := ec2node.ReadySince(node); ready {
		ref.BootID = node.Status.NodeInfo.BootID
	}
	return ref
}

// changeNode writes what change does to the node, whose new state node holds
// afterwards, or the one before if that fails. Taints are one atomic list, so the patch carries the version it was
// made from, and is made anew from a fresh read when somebody wrote in between.
func (r *Reconciler) changeNode(ctx context.Context, node *corev1.Node, change func(*corev1.Node) bool) error {
	uid := node.UID
	for attempt := 0; ; attempt++ {
		base := node.DeepCopy()
		if !change(node) {
			return nil
		}
		err := r.Client.Patch(ctx, node, nodePatch{client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})})
		if err == nil {
			return nil
		}
		base.DeepCopyInto(node)
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
