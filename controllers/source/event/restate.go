// SPDX-License-Identifier: Apache-2.0

package event

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Restate returns a statement of the metadata service as it is to be stored beside the
// events that are stored already; false if there is nothing to store: it is known, or there
// is a later one, or it ends what was never planned.
//
// Most of the metadata has no time. It is read again and again and not delivered, so what
// differs from what is stored is later than that.
func Restate(e v1alpha1.Event, stored []v1alpha1.Event, now time.Time) (v1alpha1.Event, bool) {
	i := slices.IndexFunc(stored, func(other v1alpha1.Event) bool { return other.ID == e.ID })
	if i < 0 && e.Time.IsZero() {
		e.Time = metav1.NewTime(now.UTC().Truncate(time.Second))
	}
	switch {
	case i < 0 && isCancelled(e) && !slices.ContainsFunc(stored, func(other v1alpha1.Event) bool { return ends(e, other) }):
		return e, false
	case i < 0:
		return e, true
	}
	known := stored[i]
	if isCancelled(e) {
		if isCancelled(known) {
			return e, false
		}
		e = cancel(known, e.BootID)
	}
	switch {
	case !e.Time.IsZero():
		return e, Supersedes(e, known) && (e.Time.After(known.Time.Time) || !saysTheSame(e, known))
	case !saysTheSame(e, known):
		e.Time = metav1.NewTime(after(known.Time.Time, now))
		return e, true
	}
	e.Time = known.Time
	return e, relists(e) && e.BootID != known.BootID
}

// ends reports whether a cancellation ends what another source has planned. What a group has
// begun within the last minute is not ended: the metadata may lag behind its message.
func ends(cancellation, planned v1alpha1.Event) bool {
	const lag = time.Minute
	if planned.Kind == v1alpha1.AutoScalingTermination && cancellation.Time.Sub(planned.Time.Time) < lag {
		return false
	}
	return !isCancelled(planned) && closes(cancellation, planned)
}

// Unlisted returns the cancellations of the maintenance that the metadata service listed in
// an earlier boot and does not list in this one: it was done, or given up, meanwhile. Within
// one boot what is missing says nothing.
func Unlisted(listed, stored []v1alpha1.Event, bootID string, now time.Time) []v1alpha1.Event {
	var over []v1alpha1.Event
	for _, e := range stored {
		isListed := slices.ContainsFunc(listed, func(other v1alpha1.Event) bool { return other.ID == e.ID })
		if isListed || !relists(e) || isCancelled(e) || e.BootID == "" || e.BootID == bootID {
			continue
		}
		cancellation := cancel(e, bootID)
		cancellation.Time = metav1.NewTime(after(e.Time.Time, now))
		over = append(over, cancellation)
	}
	return over
}

// cancel returns the statement, without a time, that what is stored is not planned any
// more. The rest of it stays: others are closed by its notBefore.
func cancel(stored v1alpha1.Event, bootID string) v1alpha1.Event {
	e := *stored.DeepCopy()
	e.Time, e.Cancelled, e.BootID = metav1.Time{}, new(true), bootID
	return e
}

// saysTheSame reports whether two statements differ in nothing but when they were made.
func saysTheSame(a, b v1alpha1.Event) bool {
	a.Time, a.BootID, a.Cancelled = b.Time, b.BootID, new(isCancelled(a))
	b.Cancelled = new(isCancelled(b))
	a.PolicyName = b.PolicyName
	return equality.Semantic.DeepEqual(a, b)
}

// after returns the time of a statement that follows another one: now, but later than that,
// whatever the clocks of those who wrote it.
func after(earlier, now time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	if next := earlier.UTC().Add(time.Second); now.Before(next) {
		return next
	}
	return now
}
