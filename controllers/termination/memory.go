// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"sync"
	"time"
)

// memory is what this process remembers of terminations between two looks. To
// lose it costs a few requests and nothing else. The zero value is empty.
type memory struct {
	mu sync.Mutex
	// drains are the nodes whose pods are followed, by termination.
	drains map[string]string
	// written is when the status was last written, by termination.
	written map[string]time.Time
}

// draining notes that the pods of a termination's node are followed, and is
// whether that is news.
func (m *memory) draining(name, node string) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drains == nil {
		m.drains = map[string]string{}
	}
	news = m.drains[name] != node
	m.drains[name] = node
	return news
}

// drained forgets what draining noted, and is whether it had. The node is empty
// if another termination follows its pods too: a node's name comes back.
func (m *memory) drained(name string) (node string, was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, was = m.drains[name]
	delete(m.drains, name)
	for _, other := range m.drains {
		if other == node {
			return "", was
		}
	}
	return node, was
}

// wrote notes when a termination's status was written.
func (m *memory) wrote(name string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written == nil {
		m.written = map[string]time.Time{}
	}
	m.written[name] = at
}

// lastWrite is what wrote noted; zero if nothing.
func (m *memory) lastWrite(name string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written[name]
}

// forget forgets a termination that is deleted.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.written, name)
}
