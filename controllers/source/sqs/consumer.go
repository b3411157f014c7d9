// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodetermination/operator/controllers/source/store"
)

const (
	// minBackoff and maxBackoff bound the wait after a failed receive, which doubles:
	// little, as once AWS answers again two minutes' notice may be running.
	minBackoff, maxBackoff = time.Second, 10 * time.Second
	// tooSoon is when a long poll that found nothing cannot have waited.
	tooSoon = time.Second
	// attributesEvery is how often the queue's attributes are looked at.
	attributesEvery = 10 * time.Minute
)

// consumer reads one queue.
type consumer struct {
	queue  Queue
	opts   Options
	log    logr.Logger
	health *health
	store  store.Store
	// logOnce is for what is wrong with a message, which comes back.
	logOnce logOnce
	adopter Adopter
	// toRelease are messages that another cluster is to receive.
	toRelease *releases

	stop      context.CancelFunc // nil until it runs
	client    *queueClient
	pool      receiverPool
	receivers sync.WaitGroup
}

// newConsumer returns a consumer of a queue. The memory is of what all queues have stored.
func newConsumer(queue Queue, opts Options, memory *store.Memory, changed func()) *consumer {
	log := opts.Log.WithValues("queue", queue.URL)
	c := &consumer{
		queue:     queue,
		opts:      opts,
		log:       log,
		toRelease: newReleases(),

		health: newHealth(queue, opts.Clock, log, changed),
		store:  store.Store{Live: opts.Live, Client: opts.Client, Log: log, Clock: opts.Clock, Memory: memory},
	}
	c.adopter = opts.NewAdopter(AdoptedQueue{Log: log, consumer: c})
	return c
}

// run reads the queue until listen ends, and returns when all that was received
// until then is handled, or work has ended as well.
func (c *consumer) run(listen, work context.Context) {
	if !c.connect(listen) {
		return
	}
	c.pool.start()
	c.receivers.Go(func() { c.receive(listen, work) })
	c.receivers.Go(func() { c.watchAttributes(listen) })
	c.receivers.Go(func() { c.releaseSoon(listen, work) })
	c.receivers.Go(func() { c.adopter.Run(listen, work) })
	c.receivers.Wait()
	c.release(work, c.toRelease.take())
	c.adopter.ReleaseAll(work) // to whoever reads the queue next
}

// connect makes the client, as soon as there is a configuration to make it from.
func (c *consumer) connect(ctx context.Context) (connected bool) {
	for failures := 1; ctx.Err() == nil; failures++ {
		client, err := newQueueClient(ctx, c.opts.LoadAWSConfig, c.queue)
		if err == nil {
			c.client = client
			return true
		}
		c.health.worked(receiving, err)
		c.sleep(ctx, backoff(failures))
	}
	return false
}

// receive runs one receiver: it takes batches and handles them until listen ends
// or it is one too many.
func (c *consumer) receive(listen, work context.Context) {
	for failures := 0; listen.Err() == nil; {
		timeout := longPoll
		if !c.health.isUp() {
			timeout = 0 // a quick answer tells that the queue is there
		}
		asked := c.opts.Clock.Now()
		messages, err := c.client.receive(listen, timeout)
		switch {
		case listen.Err() != nil && err != nil:
			return
		case err != nil:
			failures++
			c.health.worked(receiving, err)
			if !c.pool.failed() {
				return
			}
			c.log.V(1).Info("receiving failed", "error", err.Error())
			c.sleep(listen, backoff(failures))
			continue
		}
		failures = 0
		c.health.worked(receiving, nil)
		stay, scaleUp := c.pool.received(len(messages))
		if scaleUp {
			c.receivers.Go(func() { c.receive(listen, work) })
		}
		switch {
		case len(messages) > 0:
			c.handle(work, messages)
			stay = c.pool.handled(len(messages))
		case stay && timeout > 0 && c.opts.Clock.Since(asked) < tooSoon:
			c.sleep(listen, tooSoon)
		}
		if !stay {
			return
		}
	}
}

// watchAttributes looks now and then for how long messages stay in the queue.
// That is for advice only, so a failure is no problem of the queue.
func (c *consumer) watchAttributes(ctx context.Context) {
	for ctx.Err() == nil {
		attributes, err := c.client.attributes(ctx)
		if err == nil {
			c.health.setAttributes(attributes)
		} else {
			c.log.V(1).Info("the queue's attributes are not known", "error", err.Error())
		}
		c.sleep(ctx, attributesEvery)
	}
}

// sleep waits unless ctx ends.
func (c *consumer) sleep(ctx context.Context, d time.Duration) {
	timer := c.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// backoff returns how long to wait after so many failures in a row: it doubles, and
// the latter half of it is random.
func backoff(failures int) time.Duration {
	return wait.Jitter(doubled(minBackoff, failures, maxBackoff)/2, 1)
}

// doubled returns first at the first time and twice as much every time after, up to most.
func doubled(first time.Duration, times int, most time.Duration) time.Duration {
	backoff := wait.Backoff{Duration: first, Factor: 2, Steps: times - 1, Cap: most}
	for backoff.Steps > 0 {
		backoff.Step()
	}
	return backoff.Duration
}
