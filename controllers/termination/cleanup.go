// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// maxEvents is how many events are kept: the list holds 32, and there must be room for
// what comes.
const maxEvents = 24

// prune removes the events that matter least of a list that is nearly full, also while
// nothing else goes well: what comes could never be stored otherwise. It replaces the whole
// list, since each entry is owned by whoever received it.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	gone := surplus(s.nt.Spec.Events, s.nt.Status.Events, s.nt.Status.LifecycleHooks, s.now)
	if gone.Len() == 0 {
		return nil
	}
	before := s.nt.DeepCopy()
	s.nt.Spec.Events = slices.DeleteFunc(s.nt.Spec.Events, func(e v1alpha1.Event) bool { return gone.Has(e.ID) })
	if err := r.Client.Patch(ctx, s.nt, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("cannot prune the events of NodeTermination %s: %w", s.nt.Name, err)
	}
	r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("Removed events to have room for others", "removed", sets.List(gone))
	return nil
}

// surplus returns the IDs of the events to remove so that there is room for others. First go
// those that no longer count, but last of them the cancellations of what may be received
// yet; then those without a deadline; of each the oldest first. What people asked for, has a
// deadline or has not been judged yet stays.
func surplus(events []v1alpha1.Event, states []v1alpha1.EventStatus, hooks []v1alpha1.HookStatus, now time.Time) sets.Set[string] {
	const past, kept, withoutDeadline = 1, 2, 3
	rank := map[string]int{}
	for _, e := range events {
		switch state := stateOf(e, states); {
		case state == "":
		case state != v1alpha1.EventActive && now.Before(event.KeepUntil(e)):
			rank[e.ID] = kept
		case state != v1alpha1.EventActive:
			rank[e.ID] = past
		case e.Kind != v1alpha1.Manual && lifecyclehook.EventDeadline(e, hooks).IsZero():
			rank[e.ID] = withoutDeadline
		}
	}
	removable := slices.DeleteFunc(slices.Clone(events), func(e v1alpha1.Event) bool { return rank[e.ID] == 0 })
	slices.SortStableFunc(removable, func(a, b v1alpha1.Event) int {
		return cmp.Or(cmp.Compare(rank[a.ID], rank[b.ID]), a.Time.Compare(b.Time.Time))
	})
	gone := sets.New[string]()
	for i := range min(max(len(events)-maxEvents, 0), len(removable)) {
		gone.Insert(removable[i].ID)
	}
	return gone
}

// expire deletes a termination some time after it has ended.
func (r *Reconciler) expire(ctx context.Context, s *scope) error {
	at, expires := s.expiry()
	switch {
	case s.failed() || !expires:
		return nil
	case s.now.Before(at):
		s.lookAgain(at)
		return nil
	}
	err := r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, which ended long ago: %w", s.nt.Name, err)
	}
	r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination deleted, as it ended long ago")
	return nil
}

// expiry returns when a termination that has ended is to be deleted; false as long as there
// is something left to do, or to undo.
func (s *scope) expiry() (at time.Time, expires bool) {
	hooksWait := lifecyclehook.Manages(s.policy) && len(lifecyclehook.Waiting(s.nt.Status.LifecycleHooks)) > 0
	if !s.finished() || hooksWait || s.notifying() || !s.gone && s.inForce() {
		return time.Time{}, false
	}
	var spec *v1alpha1.NodeTerminationPolicySpec
	if s.policy != nil {
		spec = &s.policy.Spec
	}
	return s.endTime().Add(spec.TTL()), true
}

// inForce reports whether an event counts, or may, or something is applied on the node.
func (s *scope) inForce() bool {
	if s.node != nil {
		if applied, _ := ec2node.AppliedOn(s.node); applied.InstanceID == s.nt.Spec.InstanceID {
			return true
		}
	}
	return slices.ContainsFunc(s.nt.Spec.Events, func(e v1alpha1.Event) bool {
		state := stateOf(e, s.nt.Status.Events)
		return state == "" || state == v1alpha1.EventActive
	})
}

// endTime returns when all was over of a termination that has ended: its node is gone, or
// else has been uncordoned, and no cancellation has to be kept any more.
func (s *scope) endTime() time.Time {
	times := []time.Time{s.nt.Status.CompletionTime.Time, keepUntil(s.nt.Spec.Events)}
	if known := s.nt.Status.Node; known != nil && known.GoneTime != nil {
		times = append(times, known.GoneTime.Time)
	}
	if cordoned := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionCordoned); cordoned != nil {
		times = append(times, cordoned.LastTransitionTime.Time)
	}
	return slices.MaxFunc(times, time.Time.Compare)
}
