// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// batchSize is the most messages that SQS takes or gives in one call.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	batchSize = 10
	// longPoll is how long a receive waits for messages, the longest SQS allows.
	longPoll = 20 * time.Second
	// visibility is how long a message is hidden from others after it was
	// received or its hold renewed. If the process dies, another receives the
	// message this much later: it must be short against two minutes' notice.
	visibility = 20 * time.Second
	// callTimeout bounds a call with the SDK's retries, beyond what it waits for messages.
	callTimeout = 10 * time.Second
	// maxAttempts and maxRetryDelay bound the SDK's own retries of one call.
	maxAttempts   = 3
	maxRetryDelay = time.Second
)

// queueClient makes the calls about one queue, each with a timeout.
type queueClient struct {
	sqs *sqs.Client
	url string
	// region is the queue's, and so that of the groups that write to it.
	region string
}

// newQueueClient makes no call. Its error is for explain.
func newQueueClient(ctx context.Context, load awsapi.LoadFunc, queue Queue) (*queueClient, error) {
	cfg, err := awsapi.LoadConfig(ctx, awsapi.ConfigOptions{
		Load: load, Region: queue.Region, RoleARN: queue.RoleARN, MaxAttempts: maxAttempts, MaxBackoff: maxRetryDelay,
	})
	if err != nil {
		return nil, err
	}
	client := sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		if endpoint := endpointOf(queue.URL); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	return &queueClient{sqs: client, url: queue.URL, region: cfg.Region}, nil
}

// receive waits for up to ten messages, which are then hidden for the visibility timeout.
func (c *queueClient) receive(ctx context.Context, wait time.Duration) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	out, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            &c.url,
		MaxNumberOfMessages: batchSize,
		WaitTimeSeconds:     seconds(wait),
		VisibilityTimeout:   seconds(visibility),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameSentTimestamp,
			types.MessageSystemAttributeNameApproximateReceiveCount,
		},
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// deleteMessages deletes up to ten messages. Those that fail come back by themselves;
// their number is returned.
func (c *queueClient) deleteMessages(ctx context.Context, handles []string) (failed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entries := make([]types.DeleteMessageBatchRequestEntry, len(handles))
	for i := range handles {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &handles[i]}
	}
	out, err := c.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &c.url, Entries: entries})
	if err != nil {
		return len(handles), err
	}
	return len(out.Failed), nil
}

// visibilityChange is a received message and for how long it is to be invisible from now on.
type visibilityChange struct {
	handle string
	until  time.Duration
}

// changeVisibility makes up to ten messages invisible. Those that fail come back when their old time is over; their number is returned.
func (c *queueClient) changeVisibility(ctx context.Context, messages []visibilityChange) (failed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(messages))
	for i := range messages {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &messages[i].handle, VisibilityTimeout: seconds(messages[i].until),
		}
	}
	out, err := c.sqs.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &c.url, Entries: entries})
	if err != nil {
		return len(messages), err
	}
	return len(out.Failed), nil
}

// queueAttributes are those that decide for how long messages stay in the queue.
type queueAttributes struct {
	// retention is for how long the queue keeps a message. Zero: not known.
	retention time.Duration
	// maxReceiveCount is that of the redrive policy. Zero: there is none, or it is not known.
	maxReceiveCount int
}

// attributes returns the queue's attributes.
func (c *queueClient) attributes(ctx context.Context) (queueAttributes, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	const period, redrive = types.QueueAttributeNameMessageRetentionPeriod, types.QueueAttributeNameRedrivePolicy
	out, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &c.url, AttributeNames: []types.QueueAttributeName{period, redrive},
	})
	if err != nil {
		return queueAttributes{}, err
	}
	seconds, err := strconv.ParseInt(out.Attributes[string(period)], 10, 32)
	if err != nil {
		return queueAttributes{}, fmt.Errorf("%s: %w", period, err)
	}
	count, err := maxReceiveCount(out.Attributes[string(redrive)])
	if err != nil {
		return queueAttributes{}, fmt.Errorf("%s: %w", redrive, err)
	}
	return queueAttributes{time.Duration(seconds) * time.Second, count}, nil
}

// maxReceiveCount returns that of a redrive policy, zero if there is none. AWS writes a number,
// and takes it as text as well.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
func maxReceiveCount(redrivePolicy string) (int, error) {
	if redrivePolicy == "" {
		return 0, nil
	}
	var policy struct {
		MaxReceiveCount json.Number `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(redrivePolicy), &policy); err != nil {
		return 0, err
	}
	count, err := policy.MaxReceiveCount.Int64()
	return int(count), err
}

// seconds returns a duration as SQS takes it.
func seconds(d time.Duration) int32 {
	return int32(d / time.Second)
}
