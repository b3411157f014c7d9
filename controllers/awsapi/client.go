// SPDX-License-Identifier: Apache-2.0

// Package awsapi asks AWS what the manager needs beside its queues: about
// lifecycle hooks (hooks.go) and about instances (instances.go). It knows nothing
// of Kubernetes. What goes wrong is told in words that a status can show
// (problem.go).
package awsapi

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
)

const (
	// appID is in the user agent of every call.
	appID = "node-termination-operator"
	// callTimeout bounds a call with the SDK's retries: a reconcile worker waits for it.
	callTimeout = 4 * time.Second
	// attempts and retryDelay bound the SDK's own retries of one call.
	attempts   = 2
	retryDelay = 200 * time.Millisecond
	// maxCalls is how many calls are under way at most: fewer than there are workers
	// that reconcile, so that an AWS that does not answer leaves some to drain.
	maxCalls = 8
	// forgetAfter is how long what was learned is kept without being asked for,
	// forgetEvery how often it is looked through.
	forgetAfter = time.Hour
	forgetEvery = 10 * time.Minute
)

// Options of a Client. The zero value is ready to use.
type Options struct {
	// Log gets a line when EC2 does not answer about instances.
	Log logr.Logger
	// Clock decides about ages. Default: the machine's. Timeouts of calls are always by the machine's.
	Clock clock.Clock
	// LoadAWSConfig loads the AWS configuration. Default config.LoadDefaultConfig.
	LoadAWSConfig func(context.Context, ...func(*config.LoadOptions) error) (aws.Config, error)
	// Notify is called when Client.Instance has something new to say about the
	// instance, an answer or an error. It must not block. Default: nobody is told.
	Notify func(instanceID string)
}

// Client makes the calls, side by side and each within four seconds. It connects
// to a region when that is first needed. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	timeout time.Duration
	slots   chan struct{} // holds an element for every call under way
	wake    chan struct{} // holds an element while instances are wanted

	mu        sync.Mutex
	regions   map[string]*connection
	hooks     map[hookKey]*knownHooks
	instances map[instanceKey]*knownInstance
	wanted    []instanceKey // instances to ask EC2 about
	swept     time.Time     // when old entries were last dropped
}

// connection is what calls a region.
type connection struct {
	autoScaling *autoscaling.Client
	ec2         *ec2.Client
	credentials aws.CredentialsProvider
}

// New returns a Client, which makes no call before it is asked to.
func New(opts Options) *Client {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.LoadAWSConfig == nil {
		opts.LoadAWSConfig = config.LoadDefaultConfig
	}
	if opts.Notify == nil {
		opts.Notify = func(string) {}
	}
	return &Client{
		opts:      opts,
		timeout:   callTimeout,
		slots:     make(chan struct{}, maxCalls),
		wake:      make(chan struct{}, 1),
		regions:   map[string]*connection{},
		hooks:     map[hookKey]*knownHooks{},
		instances: map[instanceKey]*knownInstance{},
		swept:     opts.Clock.Now(),
	}
}

// call makes a call, or returns ErrBusy if too many are under way.
func (c *Client) call(ctx context.Context, region string, op operation, do func(context.Context, *connection) error) error {
	select {
	case c.slots <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-c.slots }()
	return c.send(ctx, region, op, do)
}

// send makes a call for which there is a slot.
func (c *Client) send(ctx context.Context, region string, op operation, do func(context.Context, *connection) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	to, err := c.connect(ctx, region)
	if err == nil {
		// Cached. Asked for by themselves, so that their errors are told from the service's.
		if _, err = to.credentials.Retrieve(ctx); err != nil {
			err = &credentialsError{err}
		}
	}
	if err == nil {
		err = do(ctx, to)
	}
	if err != nil {
		return explain(op, region, err)
	}
	return nil
}

// connect finds or makes what calls the region. It is made without the lock, as
// loading the configuration may ask the metadata service.
func (c *Client) connect(ctx context.Context, region string) (*connection, error) {
	c.mu.Lock()
	known := c.regions[region]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	cfg, err := c.opts.LoadAWSConfig(ctx,
		config.WithAppID(appID),
		config.WithRegion(region), // empty leaves it to the SDK's chain
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = attempts, retryDelay
				o.RateLimiter = ratelimit.None // the callers back off
			})
		}),
	)
	if err != nil {
		return nil, &configError{err}
	}
	if cfg.Region == "" {
		return nil, errNoRegion
	}
	made := &connection{autoscaling.NewFromConfig(cfg), ec2.NewFromConfig(cfg), cfg.Credentials}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.regions[region]; other != nil {
		return other, nil
	}
	c.regions[region] = made
	return made, nil
}

// forget drops what nobody has asked for in an hour. c.mu is held.
func (c *Client) forget(now time.Time) {
	if now.Sub(c.swept) < forgetEvery {
		return
	}
	c.swept = now
	for key, known := range c.hooks {
		if now.Sub(known.asked) > forgetAfter {
			delete(c.hooks, key)
		}
	}
	for key, known := range c.instances {
		if now.Sub(known.asked) > forgetAfter && !known.pending {
			delete(c.instances, key)
		}
	}
}
