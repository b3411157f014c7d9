// SPDX-License-Identifier: Apache-2.0

package event

import (
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Supersedes reports whether a statement may take the place of another one about the same
// thing: it is later, or it is as late and takes nothing back. The API server holds the
// same rule, so that whoever stores the older one of two is refused.
func Supersedes(later, earlier v1alpha1.Event) bool {
	switch order := later.Time.Compare(earlier.Time.Time); {
	case order != 0:
		return order > 0
	case isCancelled(earlier) && !isCancelled(later):
		return false
	case earlier.BootID != "" && earlier.BootID != later.BootID && !relists(later):
		return false
	}
	return later.Kind != v1alpha1.InstanceStateChange ||
		slices.Index(statesInOrder, later.InstanceAction) >= slices.Index(statesInOrder, earlier.InstanceAction)
}

// relists reports whether a statement may be repeated in another boot: the metadata
// service lists a maintenance until it is over, and gives no time.
func relists(e v1alpha1.Event) bool {
	return e.Kind == v1alpha1.ScheduledMaintenance && e.Source == v1alpha1.SourceIMDS
}

// Resolves reports whether the event ends those before it: the instance runs again, so
// what was received about it earlier is over.
func Resolves(e v1alpha1.Event) bool {
	return e.Kind == v1alpha1.InstanceStateChange && e.InstanceAction == stateRunning
}

// EndsOthers reports whether the event plans nothing: it cancels what was planned, or
// Resolves it.
func EndsOthers(e v1alpha1.Event) bool {
	return isCancelled(e) || Resolves(e)
}

// OnlyFromWatchers reports whether nobody but watchers has stored events, each of which knows
// the name of its own node only.
func OnlyFromWatchers(events []v1alpha1.Event) bool {
	return !slices.ContainsFunc(events, func(e v1alpha1.Event) bool { return e.Source != v1alpha1.SourceIMDS })
}

// KeepUntil returns until when a cancellation from a queue has to be kept, as what it cancels may
// arrive later: until the end of the maintenance, or 14 days after its start if AWS gives no end.
// Zero: what it cancels was received before, or never matters.
func KeepUntil(e v1alpha1.Event) time.Time {
	const maxMaintenance = 14 * 24 * time.Hour
	switch {
	case !isCancelled(e), e.Kind != v1alpha1.ScheduledMaintenance, e.Source != v1alpha1.SourceSQS, e.NotBefore == nil:
		return time.Time{}
	case e.NotAfter != nil:
		return e.NotAfter.Time
	default:
		return e.NotBefore.Add(maxMaintenance)
	}
}

// planOf returns what a statement announces, besides its kind, in a few words: the same for
// one that differs in its time only.
func planOf(e v1alpha1.Event) string {
	const maxPlan = 128
	words := []string{e.InstanceAction}
	switch {
	case e.NotBefore != nil:
		words = append(words, e.NotBefore.UTC().Format(time.RFC3339))
	case e.Deadline != nil:
		words = append(words, e.Deadline.UTC().Format(time.RFC3339))
	}
	return cut(strings.TrimSpace(strings.Join(words, " ")), maxPlan)
}

// isCancelled reports whether the statement is that nothing is planned any more.
func isCancelled(e v1alpha1.Event) bool {
	return ptr.Deref(e.Cancelled, false)
}
