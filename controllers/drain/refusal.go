// SPDX-License-Identifier: Apache-2.0

package drain

import "strings"

// RefusalKind says what keeps a pod from being told to go.
type RefusalKind string

const (
	// RefusedByBudget means that one or more disruption budgets block it.
	RefusedByBudget RefusalKind = "Budget"
	// RefusedByNamespace means that its namespace is being deleted: nothing can be evicted there.
	RefusedByNamespace RefusalKind = "NamespaceTerminating"
	// RefusedByServer means that the API server said no for another reason, such
	// as a missing permission or an admission webhook.
	RefusedByServer RefusalKind = "Server"
	// RefusedByTimeout means that the API server did not answer in time.
	RefusedByTimeout RefusalKind = "Timeout"
)

// maxReason is as long as a reason in a status may be, in bytes.
const maxReason = 512

// Refusal is why a pod could not be told to go. It is tried again all the while.
type Refusal struct {
	Kind RefusalKind
	// Reason is for people: "budget default/web: needs 2 healthy pods and has 2 currently".
	Reason string
}

func newRefusal(kind RefusalKind, reason string) *Refusal {
	return &Refusal{Kind: kind, Reason: cut(reason, maxReason)}
}

// cut is a text of at most so many bytes. Whatever character is cut in two at the
// end is dropped: a status is valid UTF-8.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}

func same(a, b *Refusal) bool {
	return a == b || (a != nil && b != nil && *a == *b)
}
