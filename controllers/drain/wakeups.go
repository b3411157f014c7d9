// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// wakeups pass on that something changed, many changes of one owner as one: the
// first is held back for a moment, and what follows in the meantime joins it.
type wakeups struct {
	notify func(owner string)
	delay  time.Duration
	clock  clock.Clock

	mu      sync.Mutex
	pending map[string]struct{}
	changed chan struct{}
}

func newWakeups(notify func(string), delay time.Duration, clock clock.Clock) *wakeups {
	return &wakeups{notify: notify, delay: delay, clock: clock, pending: map[string]struct{}{}, changed: make(chan struct{}, 1)}
}

// add notes that an owner has to be woken. It never blocks.
func (w *wakeups) add(owner string) {
	w.mu.Lock()
	w.pending[owner] = struct{}{}
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// run wakes the owners until ctx is done.
func (w *wakeups) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
		timer := w.clock.NewTimer(w.delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		w.mu.Lock()
		owners := w.pending
		w.pending = map[string]struct{}{}
		w.mu.Unlock()
		for owner := range owners {
			w.notify(owner)
		}
	}
}
