// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strings"
	"unicode"
)

const (
	// AnnotationApplied is on every Node that this operator changed. Its value is
	// JSON and says what was done, so that any replica can undo just that.
	AnnotationApplied = "nodetermination.dev/applied"

	// AnnotationDrain on a Node asks for its drain; its value says why, for people.
	// Taking it away calls the drain off; while it is there, a NodeTermination that
	// is deleted is made anew. On a Pod its value is skip (stay on the
	// node), last (go after all others) or wait-for-completion (let it finish).
	AnnotationDrain = "nodetermination.dev/drain"

	// FieldManager owns what the manager applies: statuses and node annotations.
	FieldManager = "node-termination-operator"

	// eventFieldManagerPrefix and an event's id make the field manager of the event.
	eventFieldManagerPrefix = "nto-"
	cancellerSuffix         = "-cancelled"

	taintKeyPrefix = "nodetermination.dev/"
)

// EventFieldManager is the field manager an event is applied with: one a fact,
// since a manager shared by several would drop the siblings of what it applies.
func EventFieldManager(eventID string) string {
	return eventFieldManagerPrefix + eventID
}

// CancellerFieldManager is the field manager that an event is called off with: it owns
// just that, so that hearing the event once more does not revive it.
func CancellerFieldManager(eventID string) string {
	return EventFieldManager(eventID) + cancellerSuffix
}

// TaintKey is the key of the taint that is set on a node for this kind of event:
// nodetermination.dev/ and the kind in kebab case.
func TaintKey(kind EventKind) string {
	var key strings.Builder
	key.WriteString(taintKeyPrefix)
	for i, r := range string(kind) {
		if unicode.IsUpper(r) && i > 0 {
			key.WriteByte('-')
		}
		key.WriteRune(unicode.ToLower(r))
	}
	return key.String()
}
