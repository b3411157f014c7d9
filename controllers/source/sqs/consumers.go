// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/store"
)

// stopTimeout is how long messages that are being handled may take when the
// manager stops. What is not done by then comes back in the queue.
const stopTimeout = 5 * time.Second

// Options of Consumers. All but Identities and LoadAWSConfig are required.
type Options struct {
	// Cache has the nodes, indexed by ec2node.InstanceIDIndex, and the policies.
	Cache client.Reader
	// Live reads NodeTerminations from the API server, past every cache.
	Live client.Reader
	// Client writes NodeTerminations.
	Client client.Writer
	// Log gets a line for every event and for every problem of a queue.
	Log logr.Logger
	// Nodes has the informer of nodes, which become Ready.
	Nodes cache.Informers
	// Identities finds the nodes of instances. Nil: by their providerID alone.
	Identities *identity.Finder
	// NewAdopter returns what completes the lifecycle hooks in a queue's messages that policies adopt.
	NewAdopter func(AdoptedQueue) Adopter
	// AWS says whose instances are that are no nodes of this cluster.
	AWS Instances
	// Clock decides about ages, and about when to try again.
	Clock clock.Clock
	// LoadAWSConfig loads the AWS configuration. Default config.LoadDefaultConfig.
	LoadAWSConfig awsapi.LoadFunc
}

// Consumers keeps one consumer running per queue that a policy names.
type Consumers struct {
	opts    Options
	memory  *store.Memory
	changed chan crevent.GenericEvent
	running sync.WaitGroup

	mu        sync.Mutex
	consumers map[Queue]*consumer
	// listen and work are the contexts of receiving and handling; nil until Start.
	listen, work context.Context
}

// NewConsumers returns Consumers without any queue yet.
func NewConsumers(opts Options) *Consumers {
	return &Consumers{
		opts:      opts,
		memory:    store.NewMemory(),
		changed:   make(chan crevent.GenericEvent, 1),
		consumers: map[Queue]*consumer{},
	}
}

// NeedLeaderElection tells the manager that one replica reads the queues.
func (c *Consumers) NeedLeaderElection() bool { return true }

// Start reads the queues until ctx ends, then waits for the messages that are
// being handled, for at most five seconds. It is to be called once, when the
// cache is in sync. Its error is why nodes cannot be watched.
func (c *Consumers) Start(ctx context.Context) error {
	unwatch, err := c.watchNodes(ctx)
	if err != nil {
		return err
	}
	defer unwatch()
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	c.mu.Lock()
	c.listen, c.work = ctx, work
	for _, consumer := range c.consumers {
		c.run(consumer)
	}
	c.mu.Unlock()

	<-ctx.Done()
	c.mu.Lock() // those who run after this end at once
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.running.Wait()
	}()
	c.mu.Unlock()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		c.opts.Log.Info("messages that are still being handled come back in their queues", "after", stopTimeout)
	}
	return nil
}

// watchNodes calls every queue's Adopter about nodes that are Ready, until unwatch is called.
func (c *Consumers) watchNodes(ctx context.Context) (unwatch func(), err error) {
	informer, err := c.opts.Nodes.GetInformer(ctx, &corev1.Node{})
	if err != nil {
		return nil, fmt.Errorf("cannot watch nodes: %w", err)
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    c.nodeChanged,
		UpdateFunc: func(_, node any) { c.nodeChanged(node) },
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch nodes: %w", err)
	}
	return func() { _ = informer.RemoveEventHandler(handler) }, nil // fails only for a handler of another informer
}

// nodeChanged passes on that a node is Ready.
func (c *Consumers) nodeChanged(object any) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return
	}
	instanceID, ours := c.opts.Identities.InstanceID(node)
	if _, ready := ec2node.ReadySince(node); ours && ready {
		c.NodeReady(instanceID)
	}
}

// NodeReady passes on that the node of an instance may be Ready, to every queue's Adopter.
func (c *Consumers) NodeReady(instanceID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, consumer := range c.consumers {
		consumer.adopter.NodeReady(instanceID)
	}
}

// Ensure makes the queues the ones that are read: it starts those that are new
// and stops those that are no longer named. It may be called before Start, and
// returns at once.
func (c *Consumers) Ensure(queues []Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	named := map[Queue]bool{}
	for _, queue := range queues {
		named[queue] = true
		if c.consumers[queue] == nil {
			c.consumers[queue] = newConsumer(queue, c.opts, c.memory, c.notify)
			c.run(c.consumers[queue])
		}
	}
	for queue, consumer := range c.consumers {
		if named[queue] {
			continue
		}
		if consumer.stop != nil {
			consumer.stop()
		}
		delete(c.consumers, queue)
	}
}

// run starts a consumer, if Start was called and is not over.
func (c *Consumers) run(consumer *consumer) {
	if c.listen == nil || c.listen.Err() != nil {
		return
	}
	listen, stop := context.WithCancel(c.listen)
	consumer.stop = stop
	work := c.work
	c.running.Go(func() {
		defer stop()
		consumer.log.Info("queue is being read")
		consumer.run(listen, work)
		consumer.log.Info("queue is no longer read")
	})
}

// Health returns how a queue does. A queue that is not read yet is starting.
func (c *Consumers) Health(queue Queue) Health {
	c.mu.Lock()
	consumer := c.consumers[queue]
	c.mu.Unlock()
	if consumer == nil {
		return starting()
	}
	return consumer.health.health()
}

// Changed receives when the Health of one queue or several has changed, for
// source.Channel. It holds one event at most, which has no object: whoever
// reads it looks at every queue.
func (c *Consumers) Changed() <-chan crevent.GenericEvent { return c.changed }

// notify makes Changed receive.
func (c *Consumers) notify() {
	select {
	case c.changed <- crevent.GenericEvent{}:
	default:
	}
}
