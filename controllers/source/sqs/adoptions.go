// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"slices"
	"sync"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxAdopted is how many hooks of a queue are remembered at a time. The messages of
// more come back until there is room.
const maxAdopted = 4096

// adopted is a hook that a policy adopts and that has not been completed yet. It is
// remembered so that it can be completed at the right moment; what counts is its
// message, which stays in the queue until then.
type adopted struct {
	instanceID string
	hook       v1alpha1.LifecycleHook
	// launching: it is a launch hook, which waits for the instance's node. Otherwise
	// it is a termination hook of an instance that has no node.
	launching bool
	sent      time.Time // when its message entered the queue
	handle    string    // the latest receipt of its message

	look     bool // whether to look if it can be completed
	busy     bool // that is being done
	failures int  // calls that failed in a row
	retry    time.Time
}

// adoptions remembers the adopted hooks of a queue, to complete them as soon as it
// can be done. wake holds an element while there may be something to do.
type adoptions struct {
	wake chan struct{}

	mu    sync.Mutex
	hooks map[string][]*adopted // by instance
	count int
	busy  int
}

func newAdoptions() *adoptions {
	return &adoptions{wake: make(chan struct{}, 1), hooks: map[string][]*adopted{}}
}

// add remembers a hook, or the latest receipt of one that is known, and has it looked at.
func (a *adoptions) add(hook *adopted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.stir()
	hook.look = true
	for _, known := range a.hooks[hook.instanceID] {
		if known.hook == hook.hook && known.launching == hook.launching {
			known.handle, known.look = hook.handle, true
			return
		}
	}
	if a.count < maxAdopted {
		a.hooks[hook.instanceID] = append(a.hooks[hook.instanceID], hook)
		a.count++
	}
}

// nodeReady is told that an instance's node is Ready.
func (a *adoptions) nodeReady(instanceID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, hook := range a.hooks[instanceID] {
		hook.look = true
		a.stir()
	}
}

// take is the hooks to look at now, which are busy until they are put back or
// forgotten, with at most so many busy at a time. next is when to come again, zero
// if that is not a matter of time.
func (a *adoptions) take(now time.Time, most int) (due []*adopted, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, hooks := range a.hooks {
		for _, hook := range slices.Clone(hooks) {
			switch {
			case hook.busy:
			case now.Sub(hook.sent) >= hookLife:
				a.drop(hook)
			case !hook.look:
			case hook.retry.After(now):
				if next.IsZero() || hook.retry.Before(next) {
					next = hook.retry
				}
			case a.busy < most: // the others are looked at when one is put back
				a.busy++
				hook.busy, hook.look = true, false
				due = append(due, hook)
			}
		}
	}
	return due, next
}

// putBack has a hook wait: for a change of its node, or until retry if that is set.
func (a *adoptions) putBack(hook *adopted, retry time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy--
	hook.busy, hook.retry = false, retry
	hook.look = hook.look || !retry.IsZero()
	a.stir()
}

// forget is told that nothing is left to be done about a hook, and returns the
// latest receipt of its message.
func (a *adoptions) forget(hook *adopted) (handle string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy--
	a.drop(hook)
	a.stir()
	return hook.handle
}

// handles are the receipts of all messages.
func (a *adoptions) handles() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var handles []string
	for _, hooks := range a.hooks {
		for _, hook := range hooks {
			handles = append(handles, hook.handle)
		}
	}
	return handles
}

// drop takes a hook out. a.mu is held.
func (a *adoptions) drop(hook *adopted) {
	left := slices.DeleteFunc(a.hooks[hook.instanceID], func(other *adopted) bool { return other == hook })
	a.hooks[hook.instanceID] = left
	if len(left) == 0 {
		delete(a.hooks, hook.instanceID)
	}
	a.count--
}

// stir wakes whoever completes the hooks.
func (a *adoptions) stir() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
