// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"slices"
	"sync"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// memory is what this process remembers of terminations between two looks. To
// lose it costs a few requests and nothing else. The zero value is empty.
type memory struct {
	mu sync.Mutex
	// begun are the terminations whose nodes were cordoned, which their status may not say yet.
	begun map[string]bool
	// drains are the nodes whose pods are followed, by termination.
	drains map[string]string
	// written is when the status was last written, by termination.
	written map[string]time.Time
	// inquired is when Auto Scaling last had no answer about a termination.
	inquired map[string]time.Time
	// hooks are those that were completed, by termination.
	hooks map[string]map[hookKey]bool
	// cut are the pods that were cut short, by termination, until that is in its status.
	cut map[string][]cutPod
	// audiences are who is told of drains, by termination.
	audiences map[string]audience
	// emitting are the terminations about which Kubernetes events are emitted.
	emitting map[string]bool
	// subjects are what lines of the log are about, by termination.
	subjects map[string]subject
	// complaints are what the log said last of what keeps terminations from getting on.
	complaints map[string]string
}

// audience is who is told of a drain, and of which pods.
type audience struct {
	// since is when the drain began.
	since time.Time
	// cause is the kind of the event that decides.
	cause v1alpha1.EventKind
	// emits is whether Kubernetes events are emitted, with these annotations.
	emits       bool
	annotations map[string]string
	// pods are the names of those that have to go; empty if no webhook is to be told.
	pods []string
}

// hookKey is one wait at a lifecycle hook.
type hookKey struct{ group, hook, token string }

// cordoned notes that a termination's node was cordoned, and is whether that is news.
func (m *memory) cordoned(name string) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.begun == nil {
		m.begun = map[string]bool{}
	}
	news = !m.begun[name]
	m.begun[name] = true
	return news
}

// hasBegun is whether cordoned noted it.
func (m *memory) hasBegun(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun[name]
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

// drainCount is how many terminations draining noted.
func (m *memory) drainCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.drains)
}

// wrote notes when a termination's status was written. One that has ended may begin
// once more.
func (m *memory) wrote(name string, at time.Time, ended bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.written == nil {
		m.written = map[string]time.Time{}
	}
	m.written[name] = at
	if ended {
		delete(m.begun, name)
	}
	if m.drains[name] == "" {
		delete(m.cut, name) // the last status of the drain has them
	}
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
	delete(m.begun, name)
	delete(m.written, name)
	delete(m.inquired, name)
	delete(m.hooks, name)
	delete(m.audiences, name)
	delete(m.cut, name)
	delete(m.emitting, name)
	delete(m.subjects, name)
	delete(m.complaints, name)
}

// asked notes that Auto Scaling had no answer about a termination.
func (m *memory) asked(name string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inquired == nil {
		m.inquired = map[string]time.Time{}
	}
	m.inquired[name] = at
}

// lastAsked is what asked noted; zero if nothing.
func (m *memory) lastAsked(name string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inquired[name]
}

// complete notes that a hook was completed.
func (m *memory) complete(name string, hook hookKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hooks == nil {
		m.hooks = map[string]map[hookKey]bool{}
	}
	if m.hooks[name] == nil {
		m.hooks[name] = map[hookKey]bool{}
	}
	m.hooks[name][hook] = true
}

// completed is what complete noted.
func (m *memory) completed(name string, hook hookKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hooks[name][hook]
}

// forgetHooks forgets what complete noted.
func (m *memory) forgetHooks(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hooks, name)
}

// cutShort notes that a pod was cut short.
func (m *memory) cutShort(name string, pod cutPod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut == nil {
		m.cut = map[string][]cutPod{}
	}
	if len(m.cut[name]) < maxOutcomes {
		m.cut[name] = append(m.cut[name], pod)
	}
}

// cuts is what cutShort noted.
func (m *memory) cuts(name string) []cutPod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.cut[name])
}

// tells notes who is told of a drain.
func (m *memory) tells(name string, who audience) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.audiences == nil {
		m.audiences = map[string]audience{}
	}
	m.audiences[name] = who
}

// audienceOf is what tells noted; empty if nothing.
func (m *memory) audienceOf(name string) audience {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.audiences[name]
}

// setEmits notes whether Kubernetes events are emitted about a termination.
func (m *memory) setEmits(name string, emits bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.emitting == nil {
		m.emitting = map[string]bool{}
	}
	m.emitting[name] = emits
}

// emits is what setEmits noted; false if nothing.
func (m *memory) emits(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.emitting[name]
}

// concerns notes what lines about a termination are about.
func (m *memory) concerns(name string, about subject) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects == nil {
		m.subjects = map[string]subject{}
	}
	m.subjects[name] = about
}

// subjectOf is what concerns noted; nil if nothing.
func (m *memory) subjectOf(name string) subject {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subjects[name]
}

// complains notes what keeps a termination from getting on, empty for nothing, and is
// whether that is news.
func (m *memory) complains(name, what string) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	news = m.complaints[name] != what
	if m.complaints == nil {
		m.complaints = map[string]string{}
	}
	m.complaints[name] = what
	if what == "" {
		delete(m.complaints, name)
	}
	return news
}
