// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// keepUnknown is the age at which a message about an unknown instance is deleted.
	keepUnknown = 15 * time.Minute
	// labelTime is how long after its creation a node may get the labels by which a policy selects it.
	labelTime = 5 * time.Minute
)

// outcome is what becomes of a fact, and of a message: of several facts the one
// that comes last here counts.
type outcome int

const (
	// skipped: nothing in it for this operator. Deleted.
	skipped outcome = iota
	// notGoverned: a node of ours that no policy with this queue selects. Deleted.
	notGoverned
	// stale: over when it was received. Deleted.
	stale
	// nothingToEnd: cancels or resolves what was never received. Deleted.
	nothingToEnd
	// discarded: an unknown instance's, not to be kept, or not any longer. Deleted.
	discarded
	// known: stored before, or something later was. Deleted.
	known
	// stored: in the API server. Deleted.
	stored
	// waiting: a hook that a policy adopts. Given back until the hook is completed.
	waiting
	// retained: an unknown instance's. Given back for a long time.
	retained
	// otherCluster: an instance's that EC2's tags give to another cluster, or may give: EC2 has not
	// said yet. Given back within a second, for that cluster to receive.
	otherCluster
	// notGovernedYet: a node's that no policy with this queue selects, but whose labels may
	// be on their way. Given back for some seconds.
	notGovernedYet
	// failed: could not be stored. Given back for a short time.
	failed
	// full: there is no room in its NodeTermination, for a moment. Given back for that long.
	full
	// unreadable: left to the queue's redrive policy or retention.
	unreadable
)

// String returns the outcome's name in metrics and logs.
func (o outcome) String() string {
	return [...]string{
		"passed", "not_governed", "stale", "nothing_to_end", "discarded", "known", "stored",
		"waiting", "retained", "other_cluster", "not_governed_yet", "failed", "full", "unreadable",
	}[o]
}

// outcomeFor returns what becomes of a fact about a node, which is nil for an instance
// that is none, in a message of that age; stored means that it is to be stored. adopted
// is whether a policy adopts the event's hook. The error says which policy cannot be used.
func (s subscribers) outcomeFor(e v1alpha1.Event, adopted bool, node *corev1.Node, age time.Duration, now time.Time) (outcome, error) {
	if node == nil {
		if adopted && age < event.MaxHookWait {
			return waiting, nil
		}
		if s.unknown == v1alpha1.UnknownDiscard || age >= keepUnknown {
			return discarded, nil
		}
		return retained, nil
	}
	selected, err := s.selects(node)
	switch {
	case err != nil:
		return failed, err
	case !selected && now.Sub(node.CreationTimestamp.Time) < labelTime:
		return notGovernedYet, nil
	case !selected:
		return notGoverned, nil
	case s.isStale(e, node, now):
		return stale, nil
	}
	return stored, nil
}

// selects reports whether any of the policies selects the node. A policy whose
// selector cannot be used is an error unless another one does: what it would
// have governed must not be thrown away.
func (s subscribers) selects(node *corev1.Node) (bool, error) {
	var unusable error
	for _, policy := range s.policies {
		selects, err := ec2node.Selects(policy, node)
		if selects {
			return true, nil
		}
		if err != nil {
			unusable = fmt.Errorf("policy %s: %w", policy.Name, err)
		}
	}
	return false, unusable
}

// isStale reports whether an event is over that is received only now. What ends others never
// is, nor a termination by a group: the group says itself when it takes the instance back.
func (s subscribers) isStale(e v1alpha1.Event, node *corev1.Node, now time.Time) bool {
	if event.EndsOthers(e) || e.Kind == v1alpha1.AutoScalingTermination {
		return false
	}
	var uncordonAfter func(v1alpha1.EventKind) (time.Duration, bool)
	if policy := ec2node.Governing(s.all, node); policy != nil {
		uncordonAfter = policy.Spec.UncordonAfter
	}
	return event.Over(e, event.NodeOf(node), uncordonAfter, now)
}
