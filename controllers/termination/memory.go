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
	of map[string]*remembered // by name
}

// remembered is what is remembered of one termination.
type remembered struct {
	// begun is whether its node was cordoned, which its status may not say yet.
	begun bool
	// follows is the node whose pods are followed; empty for none.
	follows string
	// written is when its status was last written.
	written time.Time
	// asked is when Auto Scaling last had no answer about it.
	asked time.Time
	// completed are the hooks that were completed.
	completed map[hookKey]bool
	// cut are the pods that were cut short, until that is in the status.
	cut []cutPod
	// audience is who is told of its drain.
	audience audience
	// emits is whether Kubernetes events are emitted about it.
	emits bool
	// subject is what lines of the log about it are about; nil before the first look.
	subject subject
	// complaint is what the log said last of what keeps it from getting on; empty for nothing.
	complaint string
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

// change changes what is remembered of a termination.
func (m *memory) change(name string, change func(*remembered)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]*remembered{}
	}
	if m.of[name] == nil {
		m.of[name] = &remembered{}
	}
	change(m.of[name])
}

// recall is what is remembered of a termination; zero if nothing. What it refers to is
// replaced and never changed, but for completed: see hasCompleted.
func (m *memory) recall(name string) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.of[name]; known != nil {
		return *known
	}
	return remembered{}
}

// forget forgets a termination that is deleted.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, name)
}

// begin notes that a termination's node was cordoned, and is whether that is news.
func (m *memory) begin(name string) (news bool) {
	m.change(name, func(r *remembered) { news, r.begun = !r.begun, true })
	return news
}

// follow notes that the pods of a termination's node are followed, and is whether that is news.
func (m *memory) follow(name, node string) (news bool) {
	m.change(name, func(r *remembered) { news, r.follows = r.follows != node, node })
	return news
}

// unfollow forgets what follow noted, and is whether it had. The node is empty
// if another termination follows its pods too: a node's name comes back.
func (m *memory) unfollow(name string) (node string, was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.of[name]
	if known == nil || known.follows == "" {
		return "", false
	}
	node, known.follows = known.follows, ""
	for _, other := range m.of {
		if other.follows == node {
			return "", true
		}
	}
	return node, true
}

// drainCount is of how many terminations the pods are followed.
func (m *memory) drainCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := 0
	for _, known := range m.of {
		if known.follows != "" {
			count++
		}
	}
	return count
}

// wrote notes when a termination's status was written. One that has ended may begin
// once more.
func (m *memory) wrote(name string, at time.Time, ended bool) {
	m.change(name, func(r *remembered) {
		r.written = at
		if ended {
			r.begun = false
		}
		if r.follows == "" {
			r.cut = nil // the last status of the drain has them
		}
	})
}

// asked notes that Auto Scaling had no answer about a termination.
func (m *memory) asked(name string, at time.Time) {
	m.change(name, func(r *remembered) { r.asked = at })
}

// noteCompleted notes that a hook was completed.
func (m *memory) noteCompleted(name string, hook hookKey) {
	m.change(name, func(r *remembered) {
		if r.completed == nil {
			r.completed = map[hookKey]bool{}
		}
		r.completed[hook] = true
	})
}

// hasCompleted is what noteCompleted noted.
func (m *memory) hasCompleted(name string, hook hookKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.of[name]
	return known != nil && known.completed[hook]
}

// forgetHooks forgets what noteCompleted noted.
func (m *memory) forgetHooks(name string) {
	m.change(name, func(r *remembered) { r.completed = nil })
}

// cutShort notes that a pod was cut short.
func (m *memory) cutShort(name string, pod cutPod) {
	m.change(name, func(r *remembered) {
		if len(r.cut) < maxOutcomes {
			r.cut = append(slices.Clone(r.cut), pod)
		}
	})
}

// complains notes what keeps a termination from getting on, empty for nothing, and is
// whether that is news.
func (m *memory) complains(name, what string) (news bool) {
	if m.recall(name).complaint == what {
		return false // also of one that was just deleted, and is not to be remembered
	}
	m.change(name, func(r *remembered) { r.complaint = what })
	return true
}
