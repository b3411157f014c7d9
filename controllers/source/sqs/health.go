// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// shortRetention is what a queue should keep messages for at the least: an
	// outage of the cluster should not lose any.
	shortRetention = time.Hour
	// problemLife is how long a problem of another operation than receiving
	// counts. It comes back with the message it is about, or is over.
	problemLife = 5 * time.Minute
	// quiet is how often those who watch are told of changes that can wait,
	// such as the time of the last event.
	quiet = 10 * time.Second
)

// Health is how a queue does.
type Health struct {
	// Ready is whether events are heard.
	Ready bool
	// Reason is one of v1alpha1's reasons of sources. A queue that is ready may
	// have one that warns: ShortRetention.
	Reason string
	// Message says what to do. Empty: nothing.
	Message string
	// LastEventTime is when an event was last heard, by the operator's clock.
	// Zero: none yet.
	LastEventTime time.Time
}

// health gathers what receivers notice into a Health.
type health struct {
	queue   Queue
	clock   clock.PassiveClock
	log     logr.Logger
	changed func() // must not block

	mu         sync.Mutex
	heard      bool // the last receive went well
	problems   map[operation]noticed
	retention  time.Duration // zero: not known
	lastEvent  time.Time
	unreadable recent
	unreadText string // of the latest message that could not be read

	told   Health // what those who watch know
	toldAt time.Time
}

// noticed is a problem and when it was last met.
type noticed struct {
	problem
	at time.Time
}

func newHealth(queue Queue, clock clock.PassiveClock, log logr.Logger, changed func()) *health {
	return &health{queue: queue, clock: clock, log: log, changed: changed, problems: map[operation]noticed{}, told: starting()}
}

// starting is the Health of a queue that nobody has asked yet.
func starting() Health {
	return Health{Reason: v1alpha1.ReasonStarting, Message: "The queue has not answered yet."}
}

// worked is told of a call that went well, or failed with err.
func (h *health) worked(op operation, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if op == receiving {
		h.heard = err == nil
	}
	if err == nil {
		delete(h.problems, op)
	} else {
		h.problems[op] = noticed{problemOf(op, h.queue, err), h.clock.Now()}
	}
	h.tell()
}

// isHeard is whether the last receive went well.
func (h *health) isHeard() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard
}

// keeps is told for how long the queue keeps messages.
func (h *health) keeps(retention time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retention = retention
	h.tell()
}

// event is told that an event was heard.
func (h *health) event() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastEvent = h.clock.Now()
}

// unread is told of a message that cannot be read, and reports whether it is
// the first time for that message, as far as is known.
func (h *health) unread(messageID string, err error) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first = h.unreadable.add(messageID, h.clock.Now()); first {
		h.unreadText = cut(err.Error(), maxCause)
	}
	return first
}

// handled is told that a batch was handled.
func (h *health) handled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell()
}

// health is how the queue does now.
func (h *health) health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now()
}

func (h *health) now() Health {
	at := h.clock.Now()
	state := Health{Ready: true, Reason: v1alpha1.ReasonReady, LastEventTime: h.lastEvent}
	var messages []string
	for _, op := range []operation{receiving, removing, hiding, completing} {
		met, ok := h.problems[op]
		if !ok || op != receiving && at.Sub(met.at) > problemLife {
			continue
		}
		if state.Ready {
			state.Ready, state.Reason = false, met.reason
		}
		messages = append(messages, met.message)
	}
	if state.Ready && !h.heard {
		return starting()
	}
	if h.retention > 0 && h.retention < shortRetention {
		if state.Ready {
			state.Reason = v1alpha1.ReasonShortRetention
		}
		messages = append(messages, fmt.Sprintf(
			"The queue keeps messages for %s only, so an outage of the cluster loses them: set its MessageRetentionPeriod to at least 3600 seconds.", h.retention))
	}
	if n := h.unreadable.count(at); n > 0 {
		messages = append(messages, fmt.Sprintf(
			"%s of the last hour cannot be read and %s left in the queue, see the log; the latest: %s.",
			amount(n, "message"), isOrAre(n), h.unreadText))
	}
	state.Message = cut(strings.Join(messages, " "), maxMessage)
	return state
}

// tell tells those who watch, at once where it is about being ready.
func (h *health) tell() {
	state, at := h.now(), h.clock.Now()
	turned := state.Ready != h.told.Ready || state.Reason != h.told.Reason
	if state == h.told || !turned && at.Sub(h.toldAt) < quiet {
		return
	}
	if turned && state.Ready {
		h.log.Info("queue is heard", "reason", state.Reason, "message", state.Message)
	} else if turned {
		h.log.Info("queue is not heard", "reason", state.Reason, "message", state.Message)
	}
	h.told, h.toldAt = state, at
	h.changed()
}

// amount is a number that changes seldom, as every change is written to a status.
func amount(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case n <= 10:
		return fmt.Sprintf("%d %ss", n, noun)
	}
	bound := 10
	for bound*10 < n {
		bound *= 10
	}
	return fmt.Sprintf("More than %d %ss", bound, noun)
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
