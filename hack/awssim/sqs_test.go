// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// epoch is where the clock of tests that stop it stands.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func stopped() time.Time { return epoch }

// testQueue is a queue, the SDK's client of it and the simulator it is in.
type testQueue struct {
	*sqs.Client
	sim *Server
	url string
	t   *testing.T
}

func newTestQueue(t *testing.T, opts Options, attributes map[string]string) testQueue {
	t.Helper()
	s := start(t, opts)
	url, err := s.CreateQueue("events", attributes)
	if err != nil {
		t.Fatal(err)
	}
	return testQueue{sqs.NewFromConfig(sdk(t, s)), s, url, t}
}

func (q testQueue) send(bodies ...string) {
	q.t.Helper()
	for _, body := range bodies {
		if _, err := q.SendMessage(q.t.Context(), &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body}); err != nil {
			q.t.Fatal(err)
		}
	}
}

// receive takes what is there, without waiting.
func (q testQueue) receive(edit ...func(*sqs.ReceiveMessageInput)) []types.Message {
	q.t.Helper()
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: 10,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	for _, f := range edit {
		f(in)
	}
	out, err := q.ReceiveMessage(q.t.Context(), in)
	if err != nil {
		q.t.Fatal(err)
	}
	return out.Messages
}

func (q testQueue) remove(m types.Message) {
	q.t.Helper()
	if _, err := q.DeleteMessage(q.t.Context(), &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		q.t.Fatal(err)
	}
}

func (q testQueue) hide(m types.Message, seconds int32) error {
	_, err := q.ChangeMessageVisibility(q.t.Context(), &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &q.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds,
	})
	return err
}

func bodies(messages []types.Message) []string {
	all := make([]string, 0, len(messages))
	for _, m := range messages {
		all = append(all, *m.Body)
	}
	return all
}

func (q testQueue) expect(what string, got []types.Message, want ...string) {
	q.t.Helper()
	if !slices.Equal(bodies(got), want) {
		q.t.Fatalf("%s: received %q, want %q", what, bodies(got), want)
	}
}

func TestSQSRoundTrip(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, nil)
	q.send("a <&> \"é\"")
	got := q.receive()
	q.expect("first receive", got, "a <&> \"é\"")
	want := map[string]string{
		"SentTimestamp":                    strconv.FormatInt(epoch.UnixMilli(), 10),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(epoch.UnixMilli(), 10),
		"ApproximateReceiveCount":          "1",
		"SenderId":                         "AIDAEXAMPLE",
	}
	if !maps.Equal(got[0].Attributes, want) {
		t.Errorf("attributes %v, want %v", got[0].Attributes, want)
	}
	q.expect("while in flight", q.receive())
	q.remove(got[0])
	q.sim.Advance(time.Hour)
	q.expect("after the delete", q.receive())
	q.remove(got[0]) // again: succeeds
}

func TestSQSOnlyTheAttributesAskedFor(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.send("a")
	got := q.receive(func(in *sqs.ReceiveMessageInput) {
		in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"ApproximateReceiveCount"}
	})
	if want := map[string]string{"ApproximateReceiveCount": "1"}; !maps.Equal(got[0].Attributes, want) {
		t.Errorf("attributes %v, want %v", got[0].Attributes, want)
	}
}

func TestSQSVisibility(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, map[string]string{"VisibilityTimeout": "60"})
	q.send("a")
	first := q.receive()
	q.sim.Advance(59 * time.Second)
	q.expect("before the timeout", q.receive())
	q.sim.Advance(time.Second)
	second := q.receive()
	q.expect("at the timeout", second, "a")
	if n := second[0].Attributes["ApproximateReceiveCount"]; n != "2" {
		t.Errorf("receive count %s, want 2", n)
	}
	if got, want := second[0].Attributes["ApproximateFirstReceiveTimestamp"], strconv.FormatInt(epoch.UnixMilli(), 10); got != want {
		t.Errorf("first received %s, want %s", got, want)
	}

	if err := q.hide(first[0], 10); errorCode(err) != "InvalidParameterValue" {
		t.Errorf("a stale handle's visibility: %v, want InvalidParameterValue", err)
	}
	q.remove(first[0]) // succeeds and deletes nothing
	if err := q.hide(second[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := q.hide(second[0], 10); !is[*types.MessageNotInflight](err) {
		t.Errorf("visibility of a message that is not in flight: %v", err)
	}
	third := q.receive()
	q.expect("given back", third, "a")

	if err := q.hide(third[0], 12*60*60); err != nil {
		t.Fatal(err)
	}
	q.sim.Advance(time.Hour)
	if err := q.hide(third[0], 12*60*60); errorCode(err) != "InvalidParameterValue" {
		t.Errorf("more than 12 hours in all: %v, want InvalidParameterValue", err)
	}
	q.sim.Advance(11 * time.Hour)
	q.remove(third[0]) // its visibility has expired, but nobody received it since
	q.expect("after the delete", q.receive())
}

func TestSQSReceiveWithoutHiding(t *testing.T) {
	q := newTestQueue(t, Options{}, map[string]string{"VisibilityTimeout": "0"})
	q.send("a", "b")
	q.expect("first", q.receive(), "a", "b")
	q.expect("second", q.receive(), "a", "b")
}

func TestSQSDelay(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, nil)
	body := "later"
	if _, err := q.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: &body, DelaySeconds: 30}); err != nil {
		t.Fatal(err)
	}
	q.expect("before", q.receive())
	q.sim.Advance(30 * time.Second)
	q.expect("after", q.receive(), "later")
}

func TestSQSBatches(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	sent := must[*sqs.SendMessageBatchOutput](t)(q.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("1"), MessageBody: aws.String("a")},
		{Id: aws.String("2"), MessageBody: aws.String("b"), DelaySeconds: 901},
		{Id: aws.String("3"), MessageBody: aws.String("c")},
	}}))
	if len(sent.Successful) != 2 || len(sent.Failed) != 1 || *sent.Failed[0].Id != "2" || !sent.Failed[0].SenderFault {
		t.Fatalf("sent %d, failed %+v; want 2 sent and entry 2 failed", len(sent.Successful), sent.Failed)
	}
	got := q.receive()
	q.expect("sent", got, "a", "c")

	changed := must[*sqs.ChangeMessageVisibilityBatchOutput](t)(q.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("a"), ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 0},
		{Id: aws.String("c"), ReceiptHandle: got[1].ReceiptHandle, VisibilityTimeout: 43_201},
	}}))
	if len(changed.Successful) != 1 || len(changed.Failed) != 1 || *changed.Failed[0].Code != "InvalidParameterValue" {
		t.Fatalf("changed %d, failed %+v", len(changed.Successful), changed.Failed)
	}
	got[0] = q.receive()[0]

	deleted := must[*sqs.DeleteMessageBatchOutput](t)(q.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: []types.DeleteMessageBatchRequestEntry{
		{Id: aws.String("a"), ReceiptHandle: got[0].ReceiptHandle},
		{Id: aws.String("bad"), ReceiptHandle: aws.String("bad")},
		{Id: aws.String("c"), ReceiptHandle: got[1].ReceiptHandle},
	}}))
	if len(deleted.Successful) != 2 || len(deleted.Failed) != 1 || *deleted.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Fatalf("deleted %d, failed %+v", len(deleted.Successful), deleted.Failed)
	}
	if left := must[[]Message](t)(q.sim.Messages(q.url)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSQSErrors(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	ctx, nowhere := t.Context(), aws.String(strings.Replace(q.url, "events", "nowhere", 1))
	entries := func(ids ...string) *sqs.DeleteMessageBatchInput {
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: []types.DeleteMessageBatchRequestEntry{}}
		for _, id := range ids {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: aws.String("h")})
		}
		return in
	}
	for _, test := range []struct {
		name string
		call func() error
		as   any // a pointer to the SDK's typed error, or
		code string
	}{
		{"no such queue", func() error {
			_, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: nowhere})
			return err
		}, new(*types.QueueDoesNotExist), "AWS.SimpleQueueService.NonExistentQueue"},
		{"another account's queue", func() error {
			_, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(q.sim.URL() + "/111111111111/events")})
			return err
		}, new(*types.QueueDoesNotExist), "AWS.SimpleQueueService.NonExistentQueue"},
		{"a handle that is none", func() error {
			_, err := q.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: aws.String("x")})
			return err
		}, new(*types.ReceiptHandleIsInvalid), "ReceiptHandleIsInvalid"},
		{"too many messages asked for", func() error {
			_, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: 11})
			return err
		}, nil, "InvalidParameterValue"},
		{"too long a wait", func() error {
			_, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, WaitTimeSeconds: 21})
			return err
		}, nil, "InvalidParameterValue"},
		{"too long a message", func() error {
			_, err := q.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(strings.Repeat("x", 1<<20+1))})
			return err
		}, nil, "InvalidParameterValue"},
		{"an empty batch", func() error {
			_, err := q.DeleteMessageBatch(ctx, entries())
			return err
		}, new(*types.EmptyBatchRequest), "AWS.SimpleQueueService.EmptyBatchRequest"},
		{"too large a batch", func() error {
			_, err := q.DeleteMessageBatch(ctx, entries("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"))
			return err
		}, new(*types.TooManyEntriesInBatchRequest), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"},
		{"a batch that repeats an id", func() error {
			_, err := q.DeleteMessageBatch(ctx, entries("1", "1"))
			return err
		}, new(*types.BatchEntryIdsNotDistinct), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"},
		{"a batch with a bad id", func() error {
			_, err := q.DeleteMessageBatch(ctx, entries("a b"))
			return err
		}, new(*types.InvalidBatchEntryId), "AWS.SimpleQueueService.InvalidBatchEntryId"},
		{"an action that is not simulated", func() error {
			_, err := q.ListQueues(ctx, &sqs.ListQueuesInput{})
			return err
		}, nil, "InvalidAction"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.call()
			if test.as != nil && !errors.As(err, test.as) {
				t.Errorf("error %v is not a %T", err, test.as)
			}
			if errorCode(err) != test.code {
				t.Errorf("error %v, want code %s", err, test.code)
			}
		})
	}
}

// The time for thousands of messages grows with their number, not with its square.
func TestSQSThousandsOfMessages(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	const n = 3_000
	for i := range n {
		must[string](t)(q.sim.SendMessage(q.url, strconv.Itoa(i)))
	}
	begun, seen := time.Now(), 0
	for range n / 10 {
		got := q.receive()
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url}
		for i, m := range got {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
		}
		must[*sqs.DeleteMessageBatchOutput](t)(q.DeleteMessageBatch(t.Context(), in))
		seen += len(got)
	}
	if left := must[[]Message](t)(q.sim.Messages(q.url)); seen != n || len(left) != 0 {
		t.Errorf("received %d and left %d, want %d and 0", seen, len(left), n)
	}
	t.Logf("received and deleted %d messages in %v", n, time.Since(begun).Round(time.Millisecond))
}

func TestEnvIsAllTheSDKNeeds(t *testing.T) {
	s := start(t, Options{Region: "eu-west-1"})
	for _, variable := range s.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	url := must[string](t)(s.CreateQueue("events", nil))
	cfg := must[aws.Config](t)(config.LoadDefaultConfig(t.Context()))
	out := must[*sqs.GetQueueUrlOutput](t)(sqs.NewFromConfig(cfg).GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("events")}))
	if *out.QueueUrl != url {
		t.Errorf("queue URL %q, want %q", *out.QueueUrl, url)
	}
}
