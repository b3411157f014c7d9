// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// identityRetry is when a node is looked at again, at first, whose instance is not known.
	identityRetry = 2 * time.Second
	// maxSystemUUID is how long a system UUID the API takes.
	maxSystemUUID = 64
)

// missByName decides about a Node without a providerID that has the name of the termination's node, and of which it is
// not known that it runs on the instance. A kubelet takes over the Node object of another instance with its name, and
// with it what was applied for that one. It is the same machine if the status says so. While EC2 has not
// answered nothing is done.
func (r *Reconciler) missByName(ctx context.Context, s *scope, named *corev1.Node) (verdict, error) {
	id := s.nt.Spec.InstanceID
	other, identified := r.Identities.InstanceID(named)
	why, pending := r.Identities.Unidentified(named)
	switch {
	case identified && other != id:
		s.successor = named
		if err := r.handBack(ctx, s, named); err != nil {
			return ended, err
		}
	case isSameMachine(s.nt.Status.Node, named) && (!pending || isSameBoot(s.nt.Status.Node, named)):
		r.Identities.Claim(named, id) // so that its changes bring us back
		r.found(s, named)
		return proceed, nil
	case pending:
		r.stopDrain(s.nt.Name)
		s.lookAgain(s.now.Add(backOff(s.now.Sub(s.received()), identityRetry)))
		if s.finished() { // the record of how it ended stays
			return ended, nil
		}
		s.setState(v1alpha1.StateWaiting, fmt.Sprintf("it is not known whether node %s runs on the instance, and nothing is done before it is: %s", named.Name, why))
		return ended, nil
	case s.nt.Status.Node == nil:
		if why == "" {
			why = fmt.Sprintf("its providerID is %q, and no policy with nodeIdentity PrivateDNSName governs it", named.Spec.ProviderID)
		}
		s.setState(v1alpha1.StateRefused, v1alpha1.TruncateMessage(fmt.Sprintf(
			"node %s does not run on instance %s as far as is known (%s): nothing is done; delete this NodeTermination", named.Name, id, why), maxReason))
		return ended, nil
	}
	s.noteMissing()
	return proceed, nil
}

// isSameMachine reports whether a Node without a providerID runs on the machine of which a status says that it is the
// instance: it has the system UUID, or where there is none is the same object in the same boot.
func isSameMachine(known *v1alpha1.NodeReference, node *corev1.Node) bool {
	switch {
	case known == nil:
		return false
	case known.SystemUUID != "":
		return known.SystemUUID == node.Status.NodeInfo.SystemUUID
	}
	return known.UID == node.UID && isSameBoot(known, node)
}

// isSameBoot reports whether a Node has not booted since a status took note of it, as far as that says.
func isSameBoot(known *v1alpha1.NodeReference, node *corev1.Node) bool {
	return known.BootID == "" || known.BootID == node.Status.NodeInfo.BootID
}

// handBack reverts what was applied for the instance to a Node that another instance has taken over.
func (r *Reconciler) handBack(ctx context.Context, s *scope, node *corev1.Node) error {
	r.stopDrain(s.nt.Name)
	if applied, _ := ec2node.AppliedOn(node); applied.InstanceID != s.nt.Spec.InstanceID {
		return nil
	}
	if err := r.revert(ctx, node, s.nt.Spec.InstanceID); err != nil {
		return err
	}
	s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonUncordoned, "another instance has taken over the node, so what was done to it is reverted")
	return nil
}
