// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// budgetScope is the nodes that a budget counts together: those of a policy, or of one
// value of a label.
type budgetScope struct {
	policy     types.UID
	key, value string
}

// description returns what comes behind the policy's name.
func (b budgetScope) description() string {
	if b.key == "" {
		return ""
	}
	return fmt.Sprintf(" with %s=%s", b.key, b.value)
}

// has reports whether a node of the policy is in the scope.
func (b budgetScope) has(node *corev1.Node) bool {
	return b.key == "" || node.Labels[b.key] == b.value
}

// place is what a drain takes of a budget.
type place struct {
	node  string
	scope budgetScope
}

// candidate is a drain that asks for a place.
type candidate struct {
	name string
	place
	// exempt: it drains whatever the others do, but counts.
	exempt bool
	// limit is how many nodes may be drained at one time in the scope, which is described
	// for people.
	limit       int
	description string
}

// admit decides about a candidate, by the drains that take places: by their terminations'
// names those that the API server knows of, and those that were admitted just now. A drain
// that was released takes none, whatever the API server still says of it.
func admit(c candidate, known, recent map[string]place, released sets.Set[string]) admission {
	busy := sets.New[string]()
	for name, other := range known {
		if name != c.name && other.scope == c.scope && !released.Has(name) {
			busy.Insert(other.node)
		}
	}
	for name, other := range recent {
		if name != c.name && other.scope == c.scope {
			busy.Insert(other.node)
		}
	}
	if c.exempt || busy.Len() < c.limit {
		return admission{admitted: true}
	}
	// Which ones is not said: each time that one of them ends the status of all that
	// wait would have to be written.
	return admission{pending: fmt.Sprintf("%d of at most %d nodes of %s are being drained or cordoned", busy.Len(), c.limit, c.description)}
}

// budget admits drains, one at a time, with what the API server does not know yet. The
// zero value has admitted none.
type budget struct {
	mu       sync.Mutex
	recent   map[string]place
	pending  map[string]budgetScope
	released sets.Set[string]
}

// admit decides about a candidate as the function does, and takes note of the answer.
func (b *budget) admit(c candidate, known map[string]place) admission {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.recent == nil {
		b.recent, b.pending, b.released = map[string]place{}, map[string]budgetScope{}, sets.New[string]()
	}
	a := admit(c, known, b.recent, b.released)
	if a.admitted {
		b.recent[c.name] = c.place
		b.released.Delete(c.name)
		delete(b.pending, c.name)
	} else {
		b.pending[c.name] = c.scope
	}
	return a
}

// has reports whether a drain was admitted to a place.
func (b *budget) has(name string, p place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.recent[name] == p
}

// release takes its place from a termination that neither drains nor waits. It returns the
// one that may have it, empty if none waits for that.
func (b *budget) release(name string) (next string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pending, name)
	free, was := b.recent[name]
	if !was {
		return ""
	}
	delete(b.recent, name)
	b.released.Insert(name)
	for waiting, scope := range b.pending {
		if scope == free.scope && (next == "" || waiting < next) {
			next = waiting
		}
	}
	delete(b.pending, next) // it waits again if it finds no room
	return next
}

// forget releases the place of a termination that is deleted, as release does.
func (b *budget) forget(name string) (next string) {
	next = b.release(name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released.Delete(name)
	return next
}
