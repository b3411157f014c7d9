// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/lru"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// remembered is how many things are remembered; it takes a megabyte or two.
const remembered = 4096

// Memory remembers the latest statement about each thing that this process has stored, or
// found stored. So what people delete stays deleted: a message that is received once more
// says nothing new, though its event is gone. Its methods may be called from any goroutine.
type Memory struct {
	mu     sync.Mutex
	latest *lru.Cache // a v1alpha1.Event by its thing
}

// thing is what statements are about.
type thing struct{ instanceID, eventID string }

// NewMemory returns a Memory of nothing.
func NewMemory() *Memory { return &Memory{latest: lru.New(remembered)} }

// knows reports whether a statement, or a later one about the same thing, is remembered. A
// nil Memory knows nothing.
func (m *Memory) knows(instanceID string, statement v1alpha1.Event) bool {
	if m == nil {
		return false
	}
	latest, ok := m.get(thing{instanceID, statement.ID})
	if !ok {
		return false
	}
	statement = contentOf(statement)
	return !event.Supersedes(statement, latest) || equality.Semantic.DeepEqual(statement, latest)
}

// add remembers a statement that is stored, unless a later one is remembered. Two that are
// stored at the same time may be added in any order.
func (m *Memory) add(instanceID string, statement v1alpha1.Event) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	about := thing{instanceID, statement.ID}
	statement = contentOf(statement)
	if latest, ok := m.get(about); !ok || event.Supersedes(statement, latest) {
		m.latest.Add(about, statement)
	}
}

// get returns what is remembered about a thing.
func (m *Memory) get(about thing) (v1alpha1.Event, bool) {
	value, _ := m.latest.Get(about)
	latest, ok := value.(v1alpha1.Event)
	return latest, ok
}

// contentOf returns what AWS has said: not the texts, which are long, nor what depends on
// when it was received.
func contentOf(e v1alpha1.Event) v1alpha1.Event {
	e = *e.DeepCopy()
	e.Description, e.BootID, e.PolicyName = "", "", ""
	e.Cancelled = new(ptr.Deref(e.Cancelled, false))
	return e
}
