// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// keepUnknown is the age at which a message about an unknown instance is deleted.
const keepUnknown = 15 * time.Minute

// outcome is what becomes of a fact, and of a message: of several facts the one
// that comes last here counts.
type outcome int

const (
	// skipped: nothing in it for this operator. Deleted.
	skipped outcome = iota
	// notGoverned: a node of ours that no policy with this queue selects. Deleted.
	notGoverned
	// stale: older than the node's boot. Deleted.
	stale
	// nothingToEnd: cancels or resolves what was never received. Deleted.
	nothingToEnd
	// discarded: an unknown instance's, not to be kept, or not any longer. Deleted.
	discarded
	// stored: in the API server. Deleted.
	stored
	// waiting: a hook that a policy adopts. Given back until the hook is completed.
	waiting
	// retained: an unknown instance's. Given back for a long time.
	retained
	// failed: could not be stored. Given back for a short time.
	failed
	// unreadable: left to the queue's redrive policy or retention.
	unreadable
)

// String returns the outcome's name in metrics and logs.
func (o outcome) String() string {
	return [...]string{
		"passed", "not_governed", "stale", "nothing_to_end", "discarded", "stored", "waiting", "retained", "failed", "unreadable",
	}[o]
}

// outcomeFor returns what becomes of a fact about a node, which is nil for an instance
// that is none, in a message of that age; stored means that it is to be stored. adopted
// is whether a policy adopts the event's hook. The error says which policy cannot be used.
func (s subscribers) outcomeFor(e v1alpha1.Event, adopted bool, node *corev1.Node, age time.Duration) (outcome, error) {
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
	case !selected:
		return notGoverned, nil
	case isStale(e, node):
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

// isStale reports whether the node has booted since the event came to pass. A waiting
// lifecycle hook is no matter of the node's age, and a cancellation is never too late.
func isStale(e v1alpha1.Event, node *corev1.Node) bool {
	if e.LifecycleHook != nil || ptr.Deref(e.Cancelled, false) {
		return false
	}
	since, ready := ec2node.ReadySince(node)
	return ready && event.Over(e).Before(since)
}
