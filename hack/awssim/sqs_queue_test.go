// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func TestSQSRetention(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, map[string]string{"MessageRetentionPeriod": "60"})
	q.send("ready", "in flight")
	q.receive(func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 1; in.VisibilityTimeout = 600 })
	q.sim.Advance(59 * time.Second)
	if n := len(must[[]Message](t)(q.sim.Messages(q.url))); n != 2 {
		t.Fatalf("%d messages before the retention ends, want 2", n)
	}
	q.sim.Advance(time.Second)
	if n := len(must[[]Message](t)(q.sim.Messages(q.url))); n != 0 {
		t.Fatalf("%d messages after the retention ended, want 0", n)
	}
}

func TestSQSRedrive(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, nil)
	dead := q
	dead.url = q.url
	q.url = must[string](t)(q.sim.CreateQueue("source", map[string]string{
		"VisibilityTimeout": "10",
		"RedrivePolicy":     fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"2"}`, q.sim.QueueARN("events")),
	}))
	q.send("poison")
	for range 2 {
		q.expect("within the count", q.receive(), "poison")
		q.sim.Advance(10 * time.Second)
	}
	q.expect("beyond the count", q.receive())
	got := dead.receive()
	dead.expect("dead letter", got, "poison")
	if arn := got[0].Attributes["DeadLetterQueueSourceArn"]; arn != q.sim.QueueARN("source") {
		t.Errorf("dead letter's source is %q", arn)
	}
	if want := strconv.FormatInt(epoch.UnixMilli(), 10); got[0].Attributes["SentTimestamp"] != want {
		t.Errorf("dead letter sent at %s, want when it was first sent, %s", got[0].Attributes["SentTimestamp"], want)
	}
}

func TestSQSInFlightLimit(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.sim.sqs.queues["events"].maxInFlight = 2
	q.send("a", "b", "c")
	q.expect("up to the limit", q.receive(), "a", "b")
	_, err := q.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &q.url})
	if !is[*types.OverLimit](err) {
		t.Errorf("short poll beyond the limit: %v, want OverLimit", err)
	}
	q.expect("long poll beyond the limit", q.receive(func(in *sqs.ReceiveMessageInput) { in.WaitTimeSeconds = 1 }))
}

func TestSQSQueueAttributes(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, map[string]string{"MessageRetentionPeriod": "300"})
	q.send("a", "b", "c")
	q.receive(func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 1 })
	get := func(names ...types.QueueAttributeName) map[string]string {
		return must[*sqs.GetQueueAttributesOutput](t)(q.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: names})).Attributes
	}
	want := map[string]string{
		"MessageRetentionPeriod": "300", "ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1",
	}
	if got := get("MessageRetentionPeriod", "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"); !maps.Equal(got, want) {
		t.Errorf("attributes %v, want %v", got, want)
	}
	all := get(types.QueueAttributeNameAll)
	for name, value := range map[string]string{
		"VisibilityTimeout": "30", "DelaySeconds": "0", "MaximumMessageSize": "1048576", "ReceiveMessageWaitTimeSeconds": "0",
		"QueueArn": "arn:aws:sqs:us-east-1:123456789012:events", "CreatedTimestamp": strconv.FormatInt(epoch.Unix(), 10),
	} {
		if all[name] != value {
			t.Errorf("attribute %s is %q, want %q", name, all[name], value)
		}
	}
}

func TestSQSQueues(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	create := func(name string, attributes map[string]string) (string, error) {
		out, err := q.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			return "", err
		}
		return *out.QueueUrl, nil
	}
	url := must[string](t)(create("other", map[string]string{"VisibilityTimeout": "7"}))
	if again := must[string](t)(create("other", map[string]string{"VisibilityTimeout": "7"})); again != url {
		t.Errorf("created again with URL %q, want %q", again, url)
	}
	found := must[*sqs.GetQueueUrlOutput](t)(q.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("other")}))
	if *found.QueueUrl != url {
		t.Errorf("found URL %q, want %q", *found.QueueUrl, url)
	}
	if _, err := create("other", map[string]string{"VisibilityTimeout": "8"}); !is[*types.QueueNameExists](err) {
		t.Errorf("created again with other attributes: %v", err)
	}
	for name, attributes := range map[string]map[string]string{
		"InvalidParameterValue": {"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:nowhere","maxReceiveCount":3}`},
		"InvalidAttributeName":  {"Colour": "red"},
		"InvalidAttributeValue": {"MessageRetentionPeriod": "59"},
	} {
		if _, err := create("third", attributes); errorCode(err) != name {
			t.Errorf("created with %v: %v, want %s", attributes, err, name)
		}
	}
	if _, err := create("a.fifo", nil); !is[*types.UnsupportedOperation](err) {
		t.Errorf("created a FIFO queue: %v", err)
	}

	// The endpoint is the simulator's whatever the URL's host, as with a real queue's URL in a policy.
	q.url = "https://sqs.us-east-1.amazonaws.com/123456789012/other"
	q.send("a", "b")
	q.receive(func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 1 })
	if _, err := q.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &q.url}); err != nil {
		t.Fatal(err)
	}
	if left := must[[]Message](t)(q.sim.Messages(url)); len(left) != 0 {
		t.Errorf("left after the purge: %v", left)
	}
	if _, err := q.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &q.url}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("other")}); !is[*types.QueueDoesNotExist](err) {
		t.Errorf("URL of a deleted queue: %v", err)
	}
}
