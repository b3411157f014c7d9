// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// claimTolerance is for how long a watcher may know the instance of its node before the Node
	// says it.
	claimTolerance = 5 * time.Minute
	// claimRetry is when a claim is looked at again of a node of which more may be known soon.
	claimRetry = 5 * time.Second
	// maxClaims is how many NodeTerminations of one node may wait for that at a time.
	maxClaims = 8
)

// claim is what a watcher's word about its node and its instance is worth. A watcher's token may
// write about its own node only, but names any instance.
type claim int

const (
	// claimTrue: the Node runs on the instance.
	claimTrue claim = iota
	// claimFalse: one of them has another.
	claimFalse
	// claimOpen: the Node does not say which instance it runs on.
	claimOpen
	// claimOrphaned: there is no such Node, and none runs on the instance.
	claimOrphaned
)

// claimOf returns what the claim is worth that the node called so runs on the instance. It is nil if there
// is none; taken reports whether a node of another name runs on the instance.
func claimOf(instanceID string, named *corev1.Node, taken bool) claim {
	if named == nil {
		if taken {
			return claimFalse
		}
		return claimOrphaned
	}
	switch runs, says := ec2node.InstanceID(named); {
	case says && runs == instanceID:
		return claimTrue
	case says, taken:
		return claimFalse
	}
	return claimOpen
}

// unproven reports whether nobody but watchers says that the node runs on the instance.
func unproven(nt *v1alpha1.NodeTermination) bool {
	return nt.Status.Node == nil && event.OnlyFromWatchers(nt.Spec.Events)
}

// doubt looks at what a watcher has written of an instance that its node does not run on, as the cache
// has it. None has a reason to, so whoever does has stolen its token: that is deleted before it
// fills the memory, or keeps the watcher of the instance's own node from storing what it receives.
func (r *Reconciler) doubt(ctx context.Context, s *scope, nodeOfInstance *corev1.Node) (verdict, error) {
	// The cache may be behind the watcher, which is the first to run on a new node.
	named := &corev1.Node{}
	err := r.Live.Get(ctx, types.NamespacedName{Name: s.nt.Spec.NodeName}, named)
	switch {
	case apierrors.IsNotFound(err):
		named = nil
	case err != nil:
		return ended, fmt.Errorf("cannot read node %s: %w", s.nt.Spec.NodeName, err)
	}
	until := s.nt.CreationTimestamp.Add(claimTolerance)
	worth := claimOf(s.nt.Spec.InstanceID, named, nodeOfInstance != nil)
	if worth == claimOpen {
		worth = r.claimByName(s, named)
	}
	switch {
	case worth == claimTrue:
		s.lookAgain(s.now.Add(time.Second))
		return postponed, nil
	case worth == claimFalse, !r.Local.claim(s.nt.Name, s.nt.Spec.NodeName):
		return postponed, r.deleteForged(ctx, s)
	case worth == claimOrphaned:
		return proceed, nil
	case !s.now.Before(until):
		return postponed, r.deleteForged(ctx, s)
	}
	s.lookAgain(until)
	s.setState(v1alpha1.StateRefused, fmt.Sprintf(
		"node %s does not say that it runs on instance %s (its providerID is %q): nothing is done until it does, and this NodeTermination is deleted at %s",
		named.Name, s.nt.Spec.InstanceID, named.Spec.ProviderID, formatTime(until)))
	return ended, nil
}

// claimByName returns what the claim is worth of a node that has no providerID, and is not said to have one: the
// watcher's own word is enough, unless EC2 says otherwise, or another watcher has said so before.
func (r *Reconciler) claimByName(s *scope, named *corev1.Node) claim {
	switch accepted, refuted := r.Identities.Claim(named, s.nt.Spec.InstanceID); {
	case accepted:
		s.lookAgain(s.now)
		return claimTrue
	case refuted:
		return claimFalse
	}
	s.lookAgain(s.now.Add(claimRetry))
	return claimOpen
}

// deleteForged deletes a NodeTermination that a watcher has made up.
func (r *Reconciler) deleteForged(ctx context.Context, s *scope) error {
	err := r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, whose node %s does not run on that instance: %w", s.nt.Name, s.nt.Spec.NodeName, err)
	}
	forgedTotal.Inc()
	r.forgedLog.Do(func() { // there may be very many
		r.Log.WithValues(s.logValues()...).Info("NodeTermination deleted, as its node does not run on that instance: " +
			"look who has the token of the node's watcher. The metric node_termination_forged_total counts them all")
	})
	return nil
}
