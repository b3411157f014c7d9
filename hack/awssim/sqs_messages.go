// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

type sendEntry struct {
	ID                string `json:"Id"`
	MessageBody       string
	DelaySeconds      *int
	MessageAttributes map[string]any
}

// send stores a message. A copy is returned, as it is delivered meanwhile.
func (s *sqsService) send(queueURL string, in sendEntry) (sent message, err error) {
	err = s.within(queueURL, func(q *queue, now time.Time) error {
		delay := q.delay
		if in.DelaySeconds != nil {
			delay = time.Duration(*in.DelaySeconds) * time.Second
		}
		switch {
		case len(in.MessageAttributes) > 0:
			return &apiError{Code: "AWS.SimpleQueueService.UnsupportedOperation", Message: "awssim does not simulate message attributes."}
		case in.MessageBody == "":
			return &apiError{Code: "MissingParameter", Message: "The request must contain the parameter MessageBody."}
		case len(in.MessageBody) > q.maxSize:
			return invalidParameter("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.maxSize)
		case !utf8.ValidString(in.MessageBody):
			return &apiError{Code: "InvalidMessageContents", Message: "Invalid characters found in the message body."}
		case delay < 0 || delay > 15*time.Minute:
			return invalidParameter("Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.", *in.DelaySeconds)
		}
		m := newMessage(in.MessageBody, now)
		sent = *m
		q.put(m, now, delay)
		return nil
	})
	return sent, err
}

func (s *sqsService) sendMessage(req *request) (any, error) {
	in, err := decode[struct {
		queueInput
		sendEntry
	}](req)
	if err != nil {
		return nil, err
	}
	m, err := s.send(in.QueueURL, in.sendEntry)
	return sendResult{MessageID: m.id, MD5OfMessageBody: m.md5}, err
}

type sendResult struct {
	ID               string `json:"Id,omitempty"`
	MessageID        string `json:"MessageId"`
	MD5OfMessageBody string
}

type receiveInput struct {
	queueInput
	AttributeNames              []string
	MessageSystemAttributeNames []string
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
}

func (in receiveInput) validate() error {
	bounds := func(name string, value *int, low, high int) error {
		if value != nil && (*value < low || *value > high) {
			return invalidParameter("Value %d for parameter %s is invalid. Reason: Must be between %d and %d, if provided.", *value, name, low, high)
		}
		return nil
	}
	for _, err := range []error{
		bounds("MaxNumberOfMessages", in.MaxNumberOfMessages, 1, 10),
		bounds("VisibilityTimeout", in.VisibilityTimeout, 0, 43_200),
		bounds("WaitTimeSeconds", in.WaitTimeSeconds, 0, 20),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// receiveMessage waits on the wall clock, as its client does; everything about the messages goes
// by the simulator's clock.
func (s *sqsService) receiveMessage(req *request) (any, error) {
	in, err := decode[receiveInput](req)
	if err != nil {
		return nil, err
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	started := time.Now()
	for {
		got, err := s.tryReceive(req, in)
		remaining := got.wait - time.Since(started)
		if err != nil || len(got.messages) > 0 || remaining <= 0 {
			return receiveResult{got.messages}, err
		}
		timer := time.NewTimer(min(remaining, got.next))
		select {
		case <-timer.C:
		case <-got.changed:
		case <-req.ctx.Done():
		}
		timer.Stop()
		if err := req.ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// attempt is the outcome of one attempt to receive.
type attempt struct {
	messages []receivedMessage
	wait     time.Duration   // how long to wait for messages in all
	next     time.Duration   // until time itself changes the queue
	changed  <-chan struct{} // closed when somebody has changed it
}

type receiveResult struct {
	Messages []receivedMessage `json:",omitempty"`
}

type receivedMessage struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	Body          string
	MD5OfBody     string
	Attributes    map[string]string `json:",omitempty"`
}

func (s *sqsService) tryReceive(req *request, in receiveInput) (got attempt, err error) {
	err = s.within(in.QueueURL, func(q *queue, now time.Time) error {
		limit, visibility := 1, q.visibility
		if in.MaxNumberOfMessages != nil {
			limit = *in.MaxNumberOfMessages
		}
		if in.VisibilityTimeout != nil {
			visibility = time.Duration(*in.VisibilityTimeout) * time.Second
		}
		got.wait = q.receiveWait
		if in.WaitTimeSeconds != nil {
			got.wait = time.Duration(*in.WaitTimeSeconds) * time.Second
		}
		var fault Fault
		if q.ready.Len() > 0 {
			fault = s.server.faults.match(req, true)
		}
		messages, full := q.receive(now, limit, visibility, fault, s.deadLetters(q))
		if full && len(messages) == 0 && got.wait == 0 { // a long poll just finds nothing
			return &apiError{Code: "OverLimit", Message: "Too many messages in flight."}
		}
		for _, m := range messages {
			got.messages = append(got.messages, receivedMessage{
				MessageID: m.id, ReceiptHandle: q.handle(m), Body: m.body, MD5OfBody: m.md5, Attributes: in.attributes(m),
			})
		}
		got.changed, got.next = q.changed, got.wait
		if at, ok := q.nextChange(); ok {
			// Not shorter than this, or a clock that stands still would make it spin.
			got.next = max(at.Sub(now), 10*time.Millisecond)
		}
		return nil
	})
	return got, err
}

// attributes returns the system attributes of m that were asked for, times in milliseconds.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
func (in receiveInput) attributes(m *message) map[string]string {
	asked := slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames)
	if len(asked) == 0 {
		return nil
	}
	all := map[string]string{
		"SenderId":                         "AIDAEXAMPLE",
		"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
		"ApproximateReceiveCount":          strconv.Itoa(m.receives),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.firstReceived.UnixMilli(), 10),
	}
	if m.deadLetterOf != "" {
		all["DeadLetterQueueSourceArn"] = m.deadLetterOf
	}
	if !slices.Contains(asked, "All") {
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(asked, name) })
	}
	return all
}

type handleEntry struct {
	ID                string `json:"Id"`
	ReceiptHandle     string
	VisibilityTimeout int
}

func (s *sqsService) deleteMessage(req *request) (any, error) {
	in, err := decode[struct {
		queueInput
		handleEntry
	}](req)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.within(in.QueueURL, func(q *queue, _ time.Time) error { return q.delete(in.ReceiptHandle) })
}

func (s *sqsService) changeMessageVisibility(req *request) (any, error) {
	in, err := decode[struct {
		queueInput
		handleEntry
	}](req)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.within(in.QueueURL, func(q *queue, now time.Time) error {
		return q.changeVisibility(now, in.ReceiptHandle, in.VisibilityTimeout)
	})
}

// batch is the input of an action on up to ten entries.
type batch[E any] struct {
	queueInput
	Entries []E
}

type batchFailure struct {
	ID          string `json:"Id"`
	Code        string
	Message     string
	SenderFault bool
}

// runBatch carries out each entry by itself: one that fails is reported beside those that succeeded.
func runBatch[E any](s *sqsService, req *request, id func(E) string, run func(queueURL string, entry E) (any, error)) (any, error) {
	in, err := decode[batch[E]](req)
	if err != nil {
		return nil, err
	}
	if err := s.within(in.QueueURL, func(*queue, time.Time) error { return nil }); err != nil {
		return nil, err
	}
	ids := make([]string, len(in.Entries))
	for i, entry := range in.Entries {
		ids[i] = id(entry)
	}
	if err := checkBatch(ids); err != nil {
		return nil, err
	}
	succeeded, failed := []any{}, []batchFailure{}
	for i, entry := range in.Entries {
		var result any
		var err error
		if i < req.fault.FailEntries {
			err = req.fault.asError("sqs")
		} else {
			result, err = run(in.QueueURL, entry)
		}
		failure, ok := errors.AsType[*apiError](err)
		switch {
		case ok:
			failed = append(failed, batchFailure{ids[i], failure.Code, failure.Message, failure.fault() == "Sender"})
		case err != nil:
			return nil, err
		default:
			succeeded = append(succeeded, result)
		}
	}
	return map[string]any{"Successful": succeeded, "Failed": failed}, nil
}

var batchID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func checkBatch(ids []string) error {
	seen := map[string]bool{}
	switch {
	case len(ids) == 0:
		return &apiError{Code: "AWS.SimpleQueueService.EmptyBatchRequest", Message: "There should be at least one entry in the request."}
	case len(ids) > 10:
		return &apiError{Code: "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", Message: fmt.Sprintf("Maximum number of entries per request are 10. You have sent %d.", len(ids))}
	}
	for _, id := range ids {
		if !batchID.MatchString(id) {
			return &apiError{Code: "AWS.SimpleQueueService.InvalidBatchEntryId", Message: "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."}
		}
		if seen[id] {
			return &apiError{Code: "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", Message: "Id " + id + " repeated."}
		}
		seen[id] = true
	}
	return nil
}

func (s *sqsService) sendMessageBatch(req *request) (any, error) {
	return runBatch(s, req, func(e sendEntry) string { return e.ID }, func(queueURL string, entry sendEntry) (any, error) {
		m, err := s.send(queueURL, entry)
		return sendResult{ID: entry.ID, MessageID: m.id, MD5OfMessageBody: m.md5}, err
	})
}

func (s *sqsService) deleteMessageBatch(req *request) (any, error) {
	return s.handleBatch(req, func(q *queue, _ time.Time, entry handleEntry) error { return q.delete(entry.ReceiptHandle) })
}

func (s *sqsService) changeMessageVisibilityBatch(req *request) (any, error) {
	return s.handleBatch(req, func(q *queue, now time.Time, entry handleEntry) error {
		return q.changeVisibility(now, entry.ReceiptHandle, entry.VisibilityTimeout)
	})
}

func (s *sqsService) handleBatch(req *request, run func(*queue, time.Time, handleEntry) error) (any, error) {
	return runBatch(s, req, func(e handleEntry) string { return e.ID }, func(queueURL string, entry handleEntry) (any, error) {
		err := s.within(queueURL, func(q *queue, now time.Time) error { return run(q, now, entry) })
		return map[string]string{"Id": entry.ID}, err
	})
}
