// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// arrival is when this process saw an event of a NodeTermination arrive: the API server's own times
// are whole seconds, many times as long as a cordon takes.
type arrival struct {
	revision metav1.Time
	at       time.Time
}

// noteArrivals returns a handler that notes which events arrive, before the next does its work. The
// events of the first list may have been stored long ago.
func (q *Queue) noteArrivals(next handler.TypedEventHandler[*v1alpha1.NodeTermination, reconcile.Request]) handler.TypedEventHandler[*v1alpha1.NodeTermination, reconcile.Request] {
	return handler.TypedFuncs[*v1alpha1.NodeTermination, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*v1alpha1.NodeTermination], to queue) {
			if !e.IsInInitialList {
				q.local.arrive(e.Object.Name, nil, e.Object.Spec.Events, q.clock.Now())
			}
			next.Create(ctx, e, to)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*v1alpha1.NodeTermination], to queue) {
			q.local.arrive(e.ObjectNew.Name, e.ObjectOld.Spec.Events, e.ObjectNew.Spec.Events, q.clock.Now())
			next.Update(ctx, e, to)
		},
		DeleteFunc: next.Delete,
	}
}

// arrive notes those of a termination's events that were not there before, or in another revision.
func (l *LocalState) arrive(name string, before, after []v1alpha1.Event, now time.Time) {
	arrived := map[string]arrival{}
	for i := range after {
		same := func(e v1alpha1.Event) bool { return e.ID == after[i].ID && e.Time.Equal(&after[i].Time) }
		if !slices.ContainsFunc(before, same) {
			arrived[after[i].ID] = arrival{revision: after[i].Time, at: now}
		}
	}
	if len(arrived) == 0 {
		return
	}
	l.update(name, func(s *localRecord) {
		all := maps.Clone(s.arrivals)
		if all == nil {
			all = map[string]arrival{}
		}
		maps.Copy(all, arrived)
		maps.DeleteFunc(all, func(id string, _ arrival) bool {
			return !slices.ContainsFunc(after, func(e v1alpha1.Event) bool { return e.ID == id })
		})
		s.arrivals = all
	})
}

// timeToCordon returns how long after the arrival of the first event that decides the node was cordoned.
// False: this process did not see it arrive.
func (s *scope) timeToCordon(local *localRecord, now time.Time) (time.Duration, bool) {
	var first time.Time
	for _, e := range s.active() {
		if e.Kind != s.nt.Status.Cause {
			continue
		}
		arrived, known := local.arrivals[e.ID]
		if !known || !arrived.revision.Equal(&e.Time) {
			return 0, false
		}
		if first.IsZero() || arrived.at.Before(first) {
			first = arrived.at
		}
	}
	if local.cordoned.After(first) {
		now = local.cordoned
	}
	return now.Sub(first), !first.IsZero()
}
