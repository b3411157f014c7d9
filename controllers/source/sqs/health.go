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
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// shortRetention is what a queue should keep messages for at the least: an
	// outage of the cluster should not lose any.
	shortRetention = time.Hour
	// problemLife is how long a problem of another operation than receiving
	// counts. It comes back with the message it is about, or is over.
	problemLife = 5 * time.Minute
	// notifyInterval is how often changed is called for what can wait, such as the time of
	// the last event.
	notifyInterval = 10 * time.Second
)

// Health is how a queue does.
type Health struct {
	// Ready: events are received.
	Ready bool
	// Reason is one of v1alpha1's reasons of sources. A queue that is ready may
	// have one that warns: ShortRetention.
	Reason string
	// Message says what to do. Empty: nothing.
	Message string
	// LastEventTime is when an event was last received, by the operator's clock.
	// Zero: none yet.
	LastEventTime time.Time
	// MaxReceiveCount is how often a message may be received before SQS moves it to the queue's
	// dead-letter queue. Zero: there is no redrive policy, or none is known.
	MaxReceiveCount int
}

// health summarizes how the calls about a queue go, as a Health.
type health struct {
	queue   Queue
	clock   clock.PassiveClock
	log     logr.Logger
	changed func() // must not block

	mu         sync.Mutex
	up         bool // the last receive went well
	problems   map[awsapi.Operation]noticed
	attributes queueAttributes
	lastEvent  time.Time
	unreadable recentSet
	unreadText string // of the latest message that could not be read
	// entities are those that could not be read in messages that could.
	entities   recentSet
	entityText string

	notified   Health // what changed was last called for
	notifiedAt time.Time
}

// noticed is what keeps an operation from working, and when it was last met.
type noticed struct {
	explanation
	at time.Time
}

func newHealth(queue Queue, clock clock.PassiveClock, log logr.Logger, changed func()) *health {
	return &health{queue: queue, clock: clock, log: log, changed: changed, problems: map[awsapi.Operation]noticed{}, notified: starting()}
}

// starting returns the Health of a queue that was not asked yet.
func starting() Health {
	return Health{Reason: v1alpha1.ReasonStarting, Message: "The queue has not answered yet."}
}

// worked takes note of a call that went well, or failed with err.
func (h *health) worked(op awsapi.Operation, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if op == receiving {
		h.up = err == nil
	}
	if err == nil {
		delete(h.problems, op)
	} else {
		h.problems[op] = noticed{explain(op, h.queue, err), h.clock.Now()}
	}
	h.notify()
}

// isUp reports whether the last receive went well.
func (h *health) isUp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up
}

// unreadEntity takes note of an entity that cannot be read, in a message that says something about others, and
// reports whether it is the first time, as far as is known.
func (h *health) unreadEntity(messageID string, err error) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := v1alpha1.TruncateMessage(err.Error(), maxDetail)
	if first = h.entities.add(messageID+" "+text, h.clock.Now()); first {
		h.entityText = text
	}
	return first
}

// setAttributes takes note of the queue's attributes.
func (h *health) setAttributes(attributes queueAttributes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attributes = attributes
	h.notify()
}

// event takes note that an event was received.
func (h *health) event() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastEvent = h.clock.Now()
}

// unread takes note of a message that cannot be read, and reports whether it is
// the first time for that message, as far as is known.
func (h *health) unread(messageID string, err error) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first = h.unreadable.add(messageID, h.clock.Now()); first {
		h.unreadText = v1alpha1.TruncateMessage(err.Error(), maxDetail)
	}
	return first
}

// handled takes note that a batch was handled.
func (h *health) handled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notify()
}

// health returns how the queue does now.
func (h *health) health() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now()
}

// now returns what health does. h.mu is held.
func (h *health) now() Health {
	at := h.clock.Now()
	state := Health{Ready: true, Reason: v1alpha1.ReasonReady, LastEventTime: h.lastEvent, MaxReceiveCount: h.attributes.maxReceiveCount}
	var messages []string
	for _, op := range []awsapi.Operation{receiving, removing, hiding, describing, completing} {
		met, ok := h.problems[op]
		if !ok || op != receiving && at.Sub(met.at) > problemLife {
			continue
		}
		if state.Ready {
			state.Ready, state.Reason = false, met.reason
		}
		messages = append(messages, met.message)
	}
	if state.Ready && !h.up {
		return starting()
	}
	if retention := h.attributes.retention; retention > 0 && retention < shortRetention {
		if state.Ready {
			state.Reason = v1alpha1.ReasonShortRetention
		}
		messages = append(messages, fmt.Sprintf(
			"The queue keeps messages for %s only, so an outage of the cluster loses them: set its MessageRetentionPeriod to at least 3600 seconds.", retention))
	}
	if n := h.unreadable.count(at); n > 0 {
		messages = append(messages, fmt.Sprintf(
			"%s of the last hour cannot be read and %s left in the queue, see the log; the latest: %s.",
			amount(n, "message"), isOrAre(n), h.unreadText))
	}
	if n := h.entities.count(at); n > 0 {
		messages = append(messages, fmt.Sprintf(
			"Of messages of the last hour %s cannot be read, while what they say about other instances is stored, see the log; the latest: %s.",
			amount(n, "part"), h.entityText))
	}
	state.Message = v1alpha1.TruncateMessage(strings.Join(messages, " "), maxMessage)
	return state
}

// notify calls changed, at once where it is about being ready.
func (h *health) notify() {
	state, at := h.now(), h.clock.Now()
	turned := state.Ready != h.notified.Ready || state.Reason != h.notified.Reason
	redriven := state.MaxReceiveCount != h.notified.MaxReceiveCount
	if state == h.notified || !turned && !redriven && at.Sub(h.notifiedAt) < notifyInterval {
		return
	}
	if turned && state.Ready {
		h.log.Info("queue is up", "reason", state.Reason, "message", state.Message)
	} else if turned {
		h.log.Info("queue is not up", "reason", state.Reason, "message", state.Message)
	}
	h.notified, h.notifiedAt = state, at
	h.changed()
}

// amount returns a number that changes seldom, as every change is written to a status.
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

// isOrAre returns the verb for so many messages.
func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
