// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// urgent is how near a hard deadline has to be for a drain not to wait for others.
	urgent = 5 * time.Minute
	// pendingLook is when a pending drain is looked at again, should nobody wake it.
	pendingLook = 10 * time.Second
)

// schedule decides whether the drain may begin: its time has come,
// and not too many nodes are being drained. A cordon without a deadline takes its turn too.
func (r *Reconciler) schedule(ctx context.Context, s *scope) (verdict, error) {
	if s.finished() || s.node == nil || !s.takesTurn() {
		return proceed, nil
	}
	stands := s.decision.action == v1alpha1.ActionCordon && s.was(v1alpha1.StateCordoned)
	if _, limited := s.policy.Spec.Drain.MaxNodes(1); !limited || s.drained() != nil || stands {
		s.admission.admitted = true
		return proceed, nil
	}
	c := candidate{name: s.nt.Name, place: place{s.node.Name, s.budgetScope()}}
	c.exempt = s.was(v1alpha1.StateDraining) || s.urgent() || r.budget.has(c.name, c.place)
	var known map[string]place
	if !c.exempt {
		var err error
		if known, err = r.drainingNodes(ctx, s.policy, c.scope); err != nil {
			return ended, err
		}
		if c.limit, err = r.limit(ctx, s, c.scope); err != nil {
			return ended, err
		}
		c.description = "policy " + s.policy.Name + c.scope.description()
	}
	s.admission = r.budget.admit(c, known)
	if !s.admission.admitted {
		s.lookAgain(s.now.Add(pendingLook))
	}
	return proceed, nil
}

// takesTurn reports whether the node may have to wait for others: to be drained now, or to be
// cordoned for what has no deadline.
func (s *scope) takesTurn() bool {
	switch s.decision.action {
	case v1alpha1.ActionCordonAndDrain:
		return !s.now.Before(s.decision.drainAt) && s.held == ""
	case v1alpha1.ActionCordon:
		return !s.hasDeadline()
	}
	return false
}

// takesPlace reports whether a termination takes a place in the budget of a policy, as its
// status has it.
func takesPlace(nt *v1alpha1.NodeTermination, policy *v1alpha1.NodeTerminationPolicy) bool {
	switch stateIn(&nt.Status) {
	case v1alpha1.StateDraining:
		return true
	case v1alpha1.StateCordoned:
		return !hasDeadline(nt, policy)
	}
	return false
}

// waitsUncordoned reports whether the node waits for its turn, for a window or for those who hold it, without a cordon.
// One with a deadline is cordoned first, and what was cordoned once stays so.
func (s *scope) waitsUncordoned() bool {
	applied, _ := ec2node.AppliedOn(s.node)
	waits := s.admission.pending != "" || s.held != "" || s.now.Before(s.decision.drainAt)
	return waits && !s.hasDeadline() && !applied.Unschedulable
}

// releaseBudget lets others drain once this one does not.
func (r *Reconciler) releaseBudget(_ context.Context, s *scope) {
	drains := s.admission.admitted && !s.finished() && s.state != v1alpha1.StateCompleting
	if drains || s.admission.pending != "" {
		return
	}
	if next := r.budget.release(s.nt.Name); next != "" {
		r.Queue.Wake(next)
	}
}

// urgent reports whether there is no time to wait for others: the instance is taken
// within five minutes, or within what the drain may take.
func (s *scope) urgent() bool {
	if s.decision.deadline.IsZero() {
		return false
	}
	if from := s.urgentFrom(); s.now.Before(from) {
		s.lookAgain(from)
		return false
	}
	return true
}

// urgentFrom returns from when on there is no time to wait.
func (s *scope) urgentFrom() time.Time {
	return s.decision.deadline.Add(-max(urgent, s.policy.Spec.Drain.Timeout()))
}

// budgetScope returns the nodes that the termination's own is counted with.
func (s *scope) budgetScope() budgetScope {
	scope := budgetScope{policy: s.policy.UID}
	if budget := s.policy.Spec.Drain.Budget; budget.TopologyKey != "" {
		scope.key, scope.value = budget.TopologyKey, s.node.Labels[budget.TopologyKey]
	}
	return scope
}

// limit returns how many of the nodes in a scope may be drained at one time.
func (r *Reconciler) limit(ctx context.Context, s *scope, scope budgetScope) (int, error) {
	if s.policy.Spec.Drain.Budget.MaxNodes.Type == intstr.Int {
		limit, _ := s.policy.Spec.Drain.MaxNodes(0)
		return limit, nil
	}
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("cannot list nodes: %w", err)
	}
	governed := 0
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if _, ec2 := r.Identities.InstanceID(node); !ec2 || !scope.has(node) {
			continue
		}
		if policy := ec2node.Governing(s.policies, node); policy != nil && policy.UID == scope.policy {
			governed++
		}
	}
	limit, _ := s.policy.Spec.Drain.MaxNodes(governed)
	return limit, nil
}

// drainingNodes returns the places in a scope that are taken as far as the API server
// knows, by the terminations' names.
func (r *Reconciler) drainingNodes(ctx context.Context, policy *v1alpha1.NodeTerminationPolicy, scope budgetScope) (map[string]place, error) {
	var list v1alpha1.NodeTerminationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list NodeTerminations: %w", err)
	}
	draining := map[string]place{}
	for i := range list.Items {
		nt := &list.Items[i]
		if nt.Status.PolicyRef == nil || nt.Status.PolicyRef.UID != scope.policy || !takesPlace(nt, policy) {
			continue
		}
		node := &corev1.Node{}
		if r.Client.Get(ctx, types.NamespacedName{Name: nt.Spec.NodeName}, node) == nil && scope.has(node) {
			draining[nt.Name] = place{node.Name, scope}
		}
	}
	return draining, nil
}
