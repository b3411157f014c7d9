// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// appID is in the user agent of every call, and the name of the sessions of roles.
	appID = "node-termination-operator"
	// batchSize is the most messages that SQS takes or gives in one call.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	batchSize = 10
	// longPoll is how long a receive waits for messages, the longest SQS allows.
	longPoll = 20 * time.Second
	// visibility is how long a message is hidden from others after it was
	// received or its hold renewed. If the process dies, another hears of the
	// message this much later: it must be short against two minutes' notice.
	visibility = 20 * time.Second
	// callTimeout bounds a call with the SDK's retries, beyond what it waits for messages.
	callTimeout = 10 * time.Second
	// attempts and retryDelay bound the SDK's own retries of one call.
	attempts   = 3
	retryDelay = time.Second
	// renewBefore is how long before they expire a role's credentials are asked for anew.
	renewBefore = time.Minute
)

// LoadAWSConfig loads the AWS configuration, such as config.LoadDefaultConfig.
type LoadAWSConfig func(context.Context, ...func(*config.LoadOptions) error) (aws.Config, error)

// errNoRegion: nothing says which region the queue is in.
var errNoRegion = errors.New("no AWS region is known")

// credentialsError is why there are no credentials to call with.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "no AWS credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// roleError is why a role cannot be assumed.
type roleError struct{ err error }

func (e *roleError) Error() string { return "the role cannot be assumed: " + e.err.Error() }
func (e *roleError) Unwrap() error { return e.err }

// queueClient makes the calls about one queue, each with a timeout.
type queueClient struct {
	sqs *sqs.Client
	url string
	// region is the queue's, and so that of the groups that write to it.
	region string
	// own are the manager's credentials, role those of the queue's role, if it has one.
	own, role aws.CredentialsProvider
}

// newQueueClient makes no call. Its error is errNoRegion or what is wrong with the configuration.
func newQueueClient(ctx context.Context, load LoadAWSConfig, queue Queue) (*queueClient, error) {
	cfg, err := load(ctx,
		config.WithAppID(appID),
		config.WithRegion(queue.Region), // empty leaves it to the SDK's chain
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, retryDelay })
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errNoRegion
	}
	c := &queueClient{url: queue.URL, region: cfg.Region, own: cfg.Credentials}
	if queue.RoleARN != "" {
		c.role = assumed(cfg, queue.RoleARN)
		cfg.Credentials = c.role
	}
	c.sqs = sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		if endpoint := endpointOf(queue.URL); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	return c, nil
}

// assumed are the credentials of a role, kept until shortly before they expire.
func assumed(cfg aws.Config, roleARN string) aws.CredentialsProvider {
	provider := roleProvider{stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), roleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = appID
	})}
	return aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
}

// roleProvider makes every error a roleError, so that it is told from the
// queue's in whichever call it comes up.
type roleProvider struct{ provider aws.CredentialsProvider }

// Retrieve assumes the role.
func (p roleProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := p.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &roleError{err}
	}
	return credentials, nil
}

// authenticate gets the credentials, which are cached. They are asked for by
// themselves, so that their errors are told from the queue's.
func (c *queueClient) authenticate(ctx context.Context) error {
	if _, err := c.own.Retrieve(ctx); err != nil {
		return &credentialsError{err}
	}
	if c.role == nil {
		return nil
	}
	_, err := c.role.Retrieve(ctx)
	return err
}

// receive waits for up to ten messages, which are then hidden for the visibility timeout.
func (c *queueClient) receive(ctx context.Context, wait time.Duration) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	if err := c.authenticate(ctx); err != nil {
		return nil, err
	}
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

// remove deletes up to ten messages. Those that fail come back by themselves;
// their number is returned.
func (c *queueClient) remove(ctx context.Context, handles []string) (failed int, err error) {
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

// hidden is a received message and for how long it is to be invisible from now on.
type hidden struct {
	handle string
	until  time.Duration
}

// hide makes up to ten messages invisible. Those that fail come back when their old time is over; their number is returned.
func (c *queueClient) hide(ctx context.Context, messages []hidden) (failed int, err error) {
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

// retention is for how long the queue keeps a message.
func (c *queueClient) retention(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	const name = types.QueueAttributeNameMessageRetentionPeriod
	out, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &c.url, AttributeNames: []types.QueueAttributeName{name},
	})
	if err != nil {
		return 0, err
	}
	period, err := strconv.ParseInt(out.Attributes[string(name)], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return time.Duration(period) * time.Second, nil
}

func seconds(d time.Duration) int32 {
	return int32(d / time.Second)
}
