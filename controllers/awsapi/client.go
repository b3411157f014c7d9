// SPDX-License-Identifier: Apache-2.0

// Package awsapi calls AWS for the manager: it loads the AWS configuration (config.go),
// with the roles of other accounts (account.go), and explains the errors of all calls, those
// about queues included, in words that a status can show (errors.go). Client asks about lifecycle hooks (autoscaling.go) and
// about instances (instances.go). It knows nothing of Kubernetes.
package awsapi

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// callTimeout bounds a call with the SDK's retries: a reconcile worker waits for it.
	callTimeout = 4 * time.Second
	// maxAttempts and maxRetryDelay bound the SDK's own retries of one call.
	maxAttempts   = 2
	maxRetryDelay = 200 * time.Millisecond
	// maxCalls is how many calls are under way at most: fewer than there are workers
	// that reconcile, so that an AWS that does not answer leaves some to drain.
	maxCalls = 8
	// forgetAfter is how long what EC2 said is kept without being asked for,
	// forgetEvery how often it is looked through.
	forgetAfter = time.Hour
	forgetEvery = 10 * time.Minute
)

// ErrBusy is that too many calls to AWS are under way. Nothing was sent; try again soon.
var ErrBusy = errors.New("too many calls to AWS are under way; this one is tried again soon")

// Options of a Client. The zero value is ready to use.
type Options struct {
	// Log gets a line when EC2 does not answer about instances.
	Log logr.Logger
	// Clock decides about ages. Default: the machine's. Timeouts of calls are always by the machine's.
	Clock clock.Clock
	// LoadAWSConfig loads the AWS configuration. Default config.LoadDefaultConfig.
	LoadAWSConfig LoadFunc
	// Notify is called when Client.Instance has something new to say about the
	// instance, an answer or an error. It must not block. Default: nobody is notified.
	Notify func(instanceID string)
}

// Client makes the calls, side by side and each within four seconds. It connects
// to an account's region when that is first needed, and assumes a role once for it. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	timeout time.Duration
	slots   chan struct{}   // holds an element for every call under way
	wake    chan struct{}   // holds an element while instances are wanted
	hooks   *cache.Expiring // []Hook by groupKey

	mu        sync.Mutex
	accounts  map[Account]*connection
	instances map[instanceKey]*knownInstance
	wanted    []instanceKey // instances to ask EC2 about
	swept     time.Time     // when old instances were last dropped
}

// connection is what calls an account in a region.
type connection struct {
	credentials aws.CredentialsProvider
	autoScaling *autoscaling.Client
	ec2         *ec2.Client
}

// New returns a Client, which makes no call before it is asked to.
func New(opts Options) *Client {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Notify == nil {
		opts.Notify = func(string) {}
	}
	return &Client{
		opts:      opts,
		timeout:   callTimeout,
		slots:     make(chan struct{}, maxCalls),
		wake:      make(chan struct{}, 1),
		hooks:     cache.NewExpiringWithClock(opts.Clock),
		accounts:  map[Account]*connection{},
		instances: map[instanceKey]*knownInstance{},
		swept:     opts.Clock.Now(),
	}
}

// call makes a call, or returns ErrBusy if too many are under way.
func (c *Client) call(ctx context.Context, at Account, op Operation, do func(context.Context, *connection) error) error {
	select {
	case c.slots <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-c.slots }()
	return c.send(ctx, at, op, do)
}

// send makes a call for which there is a slot.
func (c *Client) send(ctx context.Context, at Account, op Operation, do func(context.Context, *connection) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	to, err := c.connect(ctx, at)
	if err == nil {
		err = do(ctx, to)
	}
	if err == nil || errors.Is(err, ErrNoAction) {
		return err
	}
	explained := Explain(op, at, err)
	if explained.Cause == CredentialsNotAccepted && explained.Operation != AssumeRole && to != nil {
		to.forgetRole()
	}
	return explained
}

// connect returns what calls the account. It is made without the lock, as loading the
// configuration may ask the metadata service.
func (c *Client) connect(ctx context.Context, at Account) (*connection, error) {
	c.mu.Lock()
	known := c.accounts[at]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	cfg, err := LoadConfig(ctx, ConfigOptions{
		Load: c.opts.LoadAWSConfig, Region: at.Region, RoleARN: at.RoleARN, MaxAttempts: maxAttempts, MaxBackoff: maxRetryDelay,
	})
	if err != nil {
		return nil, err
	}
	made := &connection{cfg.Credentials, autoscaling.NewFromConfig(cfg), ec2.NewFromConfig(cfg)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.accounts[at]; other != nil {
		return other, nil
	}
	c.accounts[at] = made
	return made, nil
}

// dropInstances drops the instances that nobody has asked for in an hour. c.mu is held.
func (c *Client) dropInstances(now time.Time) {
	if now.Sub(c.swept) < forgetEvery {
		return
	}
	c.swept = now
	maps.DeleteFunc(c.instances, func(_ instanceKey, known *knownInstance) bool {
		return now.Sub(known.asked) > forgetAfter && !known.pending
	})
}
