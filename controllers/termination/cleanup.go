// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

// maxPast is how many events that no longer count are kept as a record; the list
// holds 32, and there must be room for what comes.
const maxPast = 16

// prune removes the oldest of the events that no longer count. It
// replaces the whole list, since each entry is owned by whoever received it.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	if s.failed() {
		return nil
	}
	states := eventStates(s.nt.Status.Events)
	var past []v1alpha1.Event
	for _, e := range s.nt.Spec.Events {
		if state, known := states[e.ID]; known && state != v1alpha1.EventActive {
			past = append(past, e)
		}
	}
	surplus := len(past) - maxPast
	if surplus <= 0 {
		return nil
	}
	slices.SortStableFunc(past, func(a, b v1alpha1.Event) int { return a.Time.Compare(b.Time.Time) })
	gone := map[string]bool{}
	for _, e := range past[:surplus] {
		gone[e.ID] = true
	}
	before := s.nt.DeepCopy()
	s.nt.Spec.Events = slices.DeleteFunc(s.nt.Spec.Events, func(e v1alpha1.Event) bool { return gone[e.ID] })
	if err := r.Client.Patch(ctx, s.nt, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("cannot prune the events of NodeTermination %s: %w", s.nt.Name, err)
	}
	return nil
}

// expire deletes a termination that has ended, some time after its node
// is gone.
func (r *Reconciler) expire(ctx context.Context, s *scope) error {
	hooksWait := lifecyclehook.Manages(s.policy) && len(lifecyclehook.Waiting(s.nt.Status.LifecycleHooks)) > 0
	if s.failed() || !s.finished() || s.node != nil || hooksWait || s.notifying() {
		return nil
	}
	since := s.nt.Status.CompletionTime
	if known := s.nt.Status.Node; known != nil && known.GoneTime.After(since.Time) {
		since = known.GoneTime
	}
	var spec *v1alpha1.NodeTerminationPolicySpec
	if s.policy != nil {
		spec = &s.policy.Spec
	}
	if at := since.Add(spec.TTL()); s.now.Before(at) {
		s.lookAgain(at)
		return nil
	}
	err := r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, which ended long ago: %w", s.nt.Name, err)
	}
	r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination deleted, as its node is long gone")
	return nil
}
