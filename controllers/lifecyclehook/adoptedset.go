// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"slices"
	"sync"
	"time"

	"github.com/nodetermination/operator/controllers/source/event"
)

// maxAdopted is how many hooks of a queue are remembered at a time. The messages of
// more come back until there is room.
const maxAdopted = 4096

// adopted is an adopted hook that has not been completed yet. It is remembered so that
// it can be completed at the right moment; what counts is its message, which stays in the
// queue until then.
type adopted struct {
	event.AdoptedHook

	due       bool // whether to look if it can be completed
	busy      bool // that is being done
	failures  int  // calls that failed in a row
	unsent    int  // completions that were not sent
	noAction  bool // Auto Scaling did not know the action when it was last completed
	retry     time.Time
	tagLogged bool // the log says that the instance lacks the tag
}

// adoptedSet remembers the adopted hooks of a queue, to complete them as soon as that
// can be done. wake holds an element while there may be something to do.
type adoptedSet struct {
	wake chan struct{}

	mu    sync.Mutex
	hooks map[string][]*adopted // by instance
	count int
	busy  int
}

func newAdoptedSet() *adoptedSet {
	return &adoptedSet{wake: make(chan struct{}, 1), hooks: map[string][]*adopted{}}
}

// add remembers a hook, or the latest receipt of one that is known, and makes it due.
func (s *adoptedSet) add(hook event.AdoptedHook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wakeUp()
	for _, known := range s.hooks[hook.InstanceID] {
		if known.Hook == hook.Hook && known.Launching == hook.Launching {
			known.Receipt, known.due = hook.Receipt, true
			return
		}
	}
	if s.count < maxAdopted {
		s.hooks[hook.InstanceID] = append(s.hooks[hook.InstanceID], &adopted{AdoptedHook: hook, due: true})
		s.count++
	}
}

// nodeReady makes the hooks of an instance due, as its node is Ready.
func (s *adoptedSet) nodeReady(instanceID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hook := range s.hooks[instanceID] {
		hook.due = true
		s.wakeUp()
	}
}

// take returns the hooks that are due, which are busy until they are put back or
// removed, with at most so many busy at a time. next is when to come again, zero if that
// is not a matter of time. Hooks at which no group can wait any more are forgotten.
func (s *adoptedSet) take(now time.Time, most int) (due []*adopted, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hooks := range s.hooks {
		for _, hook := range slices.Clone(hooks) {
			switch {
			case hook.busy:
			case now.Sub(hook.Sent) >= event.MaxHookWait:
				s.delete(hook)
			case !hook.due:
			case hook.retry.After(now):
				if next.IsZero() || hook.retry.Before(next) {
					next = hook.retry
				}
			case s.busy < most: // the others are taken when one is put back
				s.busy++
				hook.busy, hook.due = true, false
				due = append(due, hook)
			}
		}
	}
	return due, next
}

// putBack has a hook wait: for a change of its node, or until retry if that is set.
func (s *adoptedSet) putBack(hook *adopted, retry time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	hook.busy, hook.retry = false, retry
	hook.due = hook.due || !retry.IsZero()
	s.wakeUp()
}

// remove forgets a hook about which nothing is left to be done, and returns the latest
// receipt of its message.
func (s *adoptedSet) remove(hook *adopted) (receipt string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.delete(hook)
	s.wakeUp()
	return hook.Receipt
}

// receipts returns those of all messages.
func (s *adoptedSet) receipts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var receipts []string
	for _, hooks := range s.hooks {
		for _, hook := range hooks {
			receipts = append(receipts, hook.Receipt)
		}
	}
	return receipts
}

// delete takes a hook out. s.mu is held.
func (s *adoptedSet) delete(hook *adopted) {
	others := slices.DeleteFunc(s.hooks[hook.InstanceID], func(other *adopted) bool { return other == hook })
	s.hooks[hook.InstanceID] = others
	if len(others) == 0 {
		delete(s.hooks, hook.InstanceID)
	}
	s.count--
}

// wakeUp wakes whoever completes the hooks.
func (s *adoptedSet) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
