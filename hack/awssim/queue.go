// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"container/heap"
	"container/list"
	"crypto/md5" //nolint:gosec // SQS's own checksum of a body
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const (
	// maxInFlight is a standard queue's limit of received and not yet deleted messages.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	maxInFlight = 120_000
	// maxVisibility is how long a message can be held from one receive on.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
	maxVisibility = 12 * time.Hour
)

// queue is a standard queue. Every message is either ready (in the list) or hidden until its time
// (delayed, or in flight). A heap holds all of them by the moment something happens to them of
// itself: a hidden one becomes ready, any one expires. sqsService.mu guards it.
type queue struct {
	name, url, arn string
	uid            string // tells this queue's receipt handles from those of an earlier one of the name
	created        time.Time
	attributes     map[string]string
	visibility     time.Duration
	retention      time.Duration
	delay          time.Duration
	receiveWait    time.Duration
	maxSize        int
	maxReceives    int    // 0: no dead-letter queue
	deadLetterARN  string // where messages go after maxReceives
	maxInFlight    int

	lastKey  uint64
	messages map[uint64]*message
	ready    *list.List // of *message, the next to deliver first
	timers   timers
	count    [3]int        // of messages per state
	changed  chan struct{} // closed and replaced when a waiting receive should check again
}

type messageState int

const (
	stateReady messageState = iota
	stateInFlight
	stateDelayed
)

type message struct {
	key           uint64 // of this copy: a duplicate has the same id, but another key
	id, body, md5 string
	sent          time.Time
	expires       time.Time
	visible       time.Time // while hidden: until when
	firstReceived time.Time
	lastReceived  time.Time
	receives      int
	copied        bool   // is a duplicate, or has been duplicated
	deadLetterOf  string // the ARN of the queue it was moved here from

	state   messageState
	element *list.Element // in queue.ready, while ready
	index   int           // in queue.timers
}

func newMessage(body string, now time.Time) *message {
	sum := md5.Sum([]byte(body)) //nolint:gosec // SQS's own checksum of a body
	return &message{id: newUUID(), body: body, md5: hex.EncodeToString(sum[:]), sent: now}
}

// wake lets waiting receives check again.
func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// put stores a message, hidden for the delay.
func (q *queue) put(m *message, now time.Time, delay time.Duration) {
	q.lastKey++
	m.key = q.lastKey
	m.expires = m.sent.Add(q.retention)
	m.visible = now.Add(delay)
	q.messages[m.key] = m
	heap.Push(&q.timers, m)
	q.enter(m, stateReady)
	if delay > 0 {
		q.hide(m, stateDelayed)
	}
	q.wake()
}

// enter puts m, which is in no state, into one.
func (q *queue) enter(m *message, state messageState) {
	m.state = state
	q.count[state]++
	if state == stateReady {
		m.element = q.ready.PushBack(m)
	}
	heap.Fix(&q.timers, m.index)
}

func (q *queue) leave(m *message) {
	q.count[m.state]--
	if m.state == stateReady {
		q.ready.Remove(m.element)
	}
}

func (q *queue) hide(m *message, state messageState) {
	q.leave(m)
	q.enter(m, state)
}

func (q *queue) remove(m *message) {
	q.leave(m)
	heap.Remove(&q.timers, m.index)
	delete(q.messages, m.key)
}

// settle brings the queue up to date: expired messages go, hidden ones whose time has come are ready.
func (q *queue) settle(now time.Time) {
	for len(q.timers) > 0 && !q.timers[0].due().After(now) {
		m := q.timers[0]
		if !m.expires.After(now) {
			q.remove(m)
			continue
		}
		q.leave(m)
		q.enter(m, stateReady)
	}
}

// nextChange returns when settle will next have something to do.
func (q *queue) nextChange() (at time.Time, ok bool) {
	if len(q.timers) == 0 {
		return time.Time{}, false
	}
	return q.timers[0].due(), true
}

// receive hands out up to limit ready messages. Messages received too often go to deadLetters, if any.
// full tells that the limit of messages in flight kept it from handing out one.
func (q *queue) receive(now time.Time, limit int, visibility time.Duration, fault Fault, deadLetters *queue) (out []*message, full bool) {
	for len(out) < limit && q.ready.Len() > 0 {
		next := q.ready.Front()
		if fault.NewestFirst {
			next = q.ready.Back()
		}
		m, _ := next.Value.(*message) // it holds nothing else
		if deadLetters != nil && m.receives >= q.maxReceives {
			q.remove(m)
			m.deadLetterOf = q.arn
			deadLetters.put(m, now, 0)
			continue
		}
		if q.count[stateInFlight] >= q.maxInFlight {
			return out, true
		}
		q.duplicate(m, now, fault.Duplicates)
		m.receives++
		m.lastReceived = now
		if m.receives == 1 {
			m.firstReceived = now
		}
		m.visible = now.Add(visibility)
		q.hide(m, stateInFlight)
		out = append(out, m)
	}
	return out, false
}

// duplicate adds copies of m, once, as SQS delivers them now and then: with the same ID, and there
// still when m has been deleted.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
func (q *queue) duplicate(m *message, now time.Time, copies int) {
	if m.copied || copies == 0 {
		return
	}
	m.copied = true
	for range copies {
		double := *m
		q.put(&double, now, 0)
	}
}

// handle returns the receipt handle of m's latest receive.
func (q *queue) handle(m *message) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "awssim %s %d %d", q.uid, m.key, m.receives))
}

// resolve finds the message of a receipt handle. It is nil if there is none any more or if the
// message has been received again since.
func (q *queue) resolve(handle string) (*message, error) {
	text, err := base64.StdEncoding.DecodeString(handle)
	var key uint64
	var receive int
	if err == nil {
		_, err = fmt.Fscanf(strings.NewReader(string(text)), "awssim "+q.uid+" %d %d", &key, &receive)
	}
	if err != nil {
		return nil, &apiError{Code: "ReceiptHandleIsInvalid", Message: fmt.Sprintf("The input receipt handle %q is not a valid receipt handle.", shorten(handle))}
	}
	m := q.messages[key]
	if m == nil || m.receives != receive {
		return nil, nil
	}
	return m, nil
}

// delete removes the message of the handle. A stale handle succeeds and removes nothing.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
func (q *queue) delete(handle string) error {
	m, err := q.resolve(handle)
	if m != nil {
		q.remove(m)
	}
	return err
}

// changeVisibility hides the message of the handle for that long from now on.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
func (q *queue) changeVisibility(now time.Time, handle string, seconds int) error {
	if seconds < 0 || seconds > int(maxVisibility/time.Second) {
		return invalidParameter("Value %d for parameter VisibilityTimeout is invalid. Reason: VisibilityTimeout must be between 0 and 43200.", seconds)
	}
	visible := now.Add(time.Duration(seconds) * time.Second)
	m, err := q.resolve(handle)
	switch {
	case err != nil:
		return err
	case m == nil:
		return invalidParameter("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", shorten(handle))
	case m.state != stateInFlight:
		return &apiError{Code: "AWS.SimpleQueueService.MessageNotInflight", Message: "The specified message isn't in flight."}
	case visible.Sub(m.lastReceived) > maxVisibility:
		return invalidParameter("Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", seconds)
	}
	m.visible = visible
	heap.Fix(&q.timers, m.index)
	q.wake()
	return nil
}

// timers is a heap of messages by due.
type timers []*message

// due returns when something next happens to the message of itself.
func (m *message) due() time.Time {
	if m.state == stateReady || m.expires.Before(m.visible) {
		return m.expires
	}
	return m.visible
}

// Len implements sort.Interface.
func (t timers) Len() int { return len(t) }

// Less implements sort.Interface.
func (t timers) Less(i, j int) bool { return t[i].due().Before(t[j].due()) }

// Swap implements sort.Interface.
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	m, _ := x.(*message) // it holds nothing else
	m.index = len(*t)
	*t = append(*t, m)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	m := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return m
}
