// SPDX-License-Identifier: Apache-2.0

package drain

import "github.com/nodetermination/operator/api/v1alpha1"

// BlockerKind says what keeps a pod from being evicted.
type BlockerKind string

const (
	// BlockedByBudget means that one or more disruption budgets block it.
	BlockedByBudget BlockerKind = "Budget"
	// BlockedByNamespace means that its namespace is being deleted: nothing can be evicted there.
	BlockedByNamespace BlockerKind = "NamespaceTerminating"
	// BlockedByServer means that the API server refused for another reason, such
	// as a missing permission or an admission webhook.
	BlockedByServer BlockerKind = "Server"
	// BlockedByTimeout means that the API server did not answer in time.
	BlockedByTimeout BlockerKind = "Timeout"
)

// maxReason is as long as a reason in a status may be, in bytes.
const maxReason = 512

// Blocker is why a pod could not be evicted so far. It is tried again all the while.
type Blocker struct {
	Kind BlockerKind
	// Reason is for people: "budget default/web: needs 2 healthy pods and has 2 currently".
	Reason string
}

// newBlocker returns a Blocker whose reason is short enough for a status.
func newBlocker(kind BlockerKind, reason string) *Blocker {
	return &Blocker{Kind: kind, Reason: v1alpha1.TruncateMessage(reason, maxReason-len("…"))}
}
