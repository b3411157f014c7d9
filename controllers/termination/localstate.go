// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// LocalState is what this process knows of terminations and the API server does not, or
// not yet. To lose it costs a few requests and nothing else. The zero value is empty. Its
// methods may be called from any goroutine.
type LocalState struct {
	mu sync.Mutex
	of map[string]*localRecord // by the termination's name
}

// localRecord is what is known of one termination.
type localRecord struct {
	// claims is the node that it names and that does not say that it runs on the instance; empty for none.
	claims string
	// arrivals are when its events were received, by their ID.
	arrivals map[string]arrival
	// begun: its node was cordoned, which its status may not say yet, and cordoned is when.
	begun    bool
	cordoned time.Time
	// refused is when a cordon of its node was last refused.
	refused time.Time
	// recordonings is how often its node was cordoned again that others had uncordoned.
	recordonings recordonings
	// present are the pods of its node at the last look, by UID. The map is replaced and not changed.
	present map[types.UID]bool
	// losses are which controllers have lost pods on its node, and returns what became of
	// those that have come back. evictsReturners: the executor evicts some though the drain has ended.
	losses          losses
	returns         returns
	evictsReturners bool
	// looked is when the pods were last listed of its node, which had been drained.
	looked time.Time
	// drains is the node whose pods are followed; empty for none. drainsSince is since when.
	drains      string
	drainsSince time.Time
	// written is when its status was last written.
	written time.Time
	// asked is when Auto Scaling last had no answer about it; answered: it has said after
	// the end that the instance waits at no hook.
	asked    time.Time
	answered bool
	// listed: Auto Scaling has listed the instance.
	listed bool
	// unknownState is what the log last said of why it is not known whether the instance has stopped.
	unknownState string
	// busy is how many times in a row a call about its hooks was not sent.
	busy int
	// askedService is when Auto Scaling was last asked whether the instance is in service.
	askedService time.Time
	// completed are the hooks that were completed.
	completed map[hookKey]bool
	// shortened are the pods whose grace was shortened, until that is in the status.
	shortened []shortenedPod
	// podsSince is the beginning of the drain that pods are about: the names of those to
	// evict; none if there is no webhook to notify.
	podsSince time.Time
	pods      []string
	// events is what to say in Kubernetes events.
	events eventPolicy
	// logValues are on every line of the log about it; nil before the first reconcile.
	logValues []any
	// lastError is what the log said last of what keeps it from getting on; empty for nothing.
	lastError string
}

// hookKey is one wait at a lifecycle hook.
type hookKey struct{ group, hook, token string }

// eventPolicy is what the policy and the decision have to do with the events of one termination.
type eventPolicy struct {
	// emits: there are any, with these annotations of the policy's own.
	emits       bool
	annotations map[string]string
	// cause is the kind of the event that decides.
	cause v1alpha1.EventKind
}

// shortenedPod is a pod whose grace was shortened, and how.
type shortenedPod struct{ namespace, name, message string }

// update changes what is known of a termination.
func (l *LocalState) update(name string, change func(*localRecord)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.record(name))
}

// record returns what is known of a termination, to be changed. l is locked.
func (l *LocalState) record(name string) *localRecord {
	if l.of == nil {
		l.of = map[string]*localRecord{}
	}
	if l.of[name] == nil {
		l.of[name] = &localRecord{}
	}
	return l.of[name]
}

// get returns what is known of a termination; zero if nothing. What it refers to is
// replaced and never changed, but for completed: see hasCompleted.
func (l *LocalState) get(name string) localRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.of[name]; known != nil {
		return *known
	}
	return localRecord{}
}

// forget forgets a termination that is deleted.
func (l *LocalState) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, name)
}

// claim notes that a termination names a node that does not say that it runs on the instance. It
// returns false if there are too many of that node.
func (l *LocalState) claim(name, node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.of[name]; known != nil && known.claims == node {
		return true
	}
	others := 0
	for _, known := range l.of {
		if known.claims == node {
			others++
		}
	}
	if others >= maxClaims {
		return false // and nothing is kept of it: there may be very many
	}
	l.record(name).claims = node
	return true
}

// begin notes that a termination's node was cordoned, and reports whether that is news.
func (l *LocalState) begin(name string) (news bool) {
	l.update(name, func(s *localRecord) { news, s.begun = !s.begun, true })
	return news
}

// beginLosses notes that a termination's drain begins in this process, so that all losses
// of controllers are going to be known.
func (l *LocalState) beginLosses(name string) {
	l.update(name, func(s *localRecord) { s.losses, s.returns = losses{complete: true}, returns{} })
}

// lose notes that a controller has lost a pod on a termination's node, for the first time; an
// empty owner is none. The map is replaced, as readers may still have it.
func (l *LocalState) lose(name, owner string) {
	if _, lost := l.get(name).losses.owners[owner]; lost || owner == "" {
		return
	}
	l.update(name, func(s *localRecord) {
		owners := map[string]map[types.UID]bool{owner: s.present}
		maps.Copy(owners, s.losses.owners)
		s.losses.owners = owners
	})
}

// startDrain notes that the pods of a termination's node are followed, and returns since
// when they are.
func (l *LocalState) startDrain(name, node string, now time.Time) (since time.Time) {
	l.update(name, func(s *localRecord) {
		if s.drains != node {
			s.drains, s.drainsSince = node, now
		}
		since = s.drainsSince
	})
	return since
}

// stopDrain forgets what startDrain noted, and that returners are evicted, and reports
// whether either was so. The node is empty
// if another termination follows its pods too: a node's name comes back.
func (l *LocalState) stopDrain(name string) (node string, was bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.of[name]
	if known == nil || known.drains == "" && !known.evictsReturners {
		return "", false
	}
	node, known.drains, known.evictsReturners = known.drains, "", false
	if node == "" {
		return "", true
	}
	for _, other := range l.of {
		if other.drains == node {
			return "", true
		}
	}
	return node, true
}

// drainCount returns of how many terminations the pods are followed.
func (l *LocalState) drainCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, known := range l.of {
		if known.drains != "" {
			count++
		}
	}
	return count
}

// wrote notes when a termination's status was written. One that has ended may begin
// once more.
func (l *LocalState) wrote(name string, at time.Time, ended bool) {
	l.update(name, func(s *localRecord) {
		s.written = at
		if ended {
			s.begun = false
		}
		if s.drains == "" {
			s.shortened = nil // the last status of the drain has them
		}
	})
}

// complete notes that a hook was completed.
func (l *LocalState) complete(name string, hook hookKey) {
	l.update(name, func(s *localRecord) {
		if s.completed == nil {
			s.completed = map[hookKey]bool{}
		}
		s.completed[hook] = true
	})
}

// hasCompleted reports what complete noted.
func (l *LocalState) hasCompleted(name string, hook hookKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.of[name]
	return known != nil && known.completed[hook]
}

// shorten notes that a pod's grace was shortened.
func (l *LocalState) shorten(name string, pod shortenedPod) {
	l.update(name, func(s *localRecord) {
		if len(s.shortened) < maxOutcomes {
			s.shortened = append(slices.Clone(s.shortened), pod)
		}
	})
}

// changed notes what keeps a termination from getting on, empty for nothing, and reports
// whether that is news.
func (l *LocalState) changed(name, lastError string) (news bool) {
	if l.get(name).lastError == lastError {
		return false // also of one that was just deleted, of which nothing is to be known
	}
	l.update(name, func(s *localRecord) { s.lastError = lastError })
	return true
}
