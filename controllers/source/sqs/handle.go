// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// apiTimeout bounds one read of the policies.
	apiTimeout = 10 * time.Second
	// handleTimeout bounds the storing of one message, which may be about many instances.
	handleTimeout = time.Minute
	// minRetain and maxRetain bound for how long a message about an unknown
	// instance is hidden, which doubles.
	minRetain, maxRetain = 30 * time.Second, 15 * time.Minute
	// minRetry and maxRetry bound for how long a message is hidden that could not
	// be stored, which doubles: little, against two minutes' notice.
	minRetry, maxRetry = 2 * time.Second, 30 * time.Second
)

// message is a received message and what becomes of it.
type message struct {
	id, handle string
	sent       time.Time
	receives   int // this one included
	facts      []event.Fact
	launch     *event.Launch
	adopted    *adopted // what waits, if that is the outcome
	outcome    outcome
}

// says is whether there is something in it to act on.
func (m *message) says() bool { return len(m.facts) > 0 || m.launch != nil }

// handle stores what the messages say and deletes them or gives them back. No
// message holds up another, and all of them stay hidden until it returns. Adopted
// hooks are completed beside it.
func (c *consumer) handle(ctx context.Context, received []types.Message) {
	messages := make([]message, len(received))
	for i := range received {
		messages[i] = c.read(&received[i])
	}
	c.storeAll(ctx, messages)
	c.finish(ctx, messages)
	for i := range messages {
		if messages[i].outcome == waiting {
			c.adoptions.add(messages[i].adopted)
		}
	}
	c.health.handled()
}

// read is the message with its facts, or with its outcome if it has none.
func (c *consumer) read(received *types.Message) message {
	now := c.opts.Clock.Now()
	m := message{
		id:       aws.ToString(received.MessageId),
		handle:   aws.ToString(received.ReceiptHandle),
		sent:     now,
		receives: 1,
	}
	if sent, err := strconv.ParseInt(received.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		m.sent = time.UnixMilli(sent)
	}
	if n, err := strconv.Atoi(received.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]); err == nil {
		m.receives = n
	}
	document, err := event.Parse([]byte(aws.ToString(received.Body)), m.sent)
	switch {
	case err != nil:
		m.outcome = unreadable
		if c.health.unread(m.id, err) {
			c.log.Info("message cannot be read and is left in the queue", "messageID", m.id, "error", err.Error())
		}
	case document.Passed != "":
		m.outcome = passed
		c.log.V(1).Info("message passed over", "messageID", m.id, "why", document.Passed)
	}
	m.facts, m.launch = document.Facts, document.Launch
	return m
}

// storeAll finds the outcome of every message that says something, side by side.
func (c *consumer) storeAll(ctx context.Context, messages []message) {
	var held []string
	for i := range messages {
		if messages[i].says() {
			held = append(held, messages[i].handle)
		}
	}
	if len(held) == 0 {
		return
	}
	defer c.hold(ctx, held)()
	readers, err := c.audience(ctx)
	var storing sync.WaitGroup
	for i := range messages {
		if m := &messages[i]; m.says() {
			storing.Go(func() {
				c.storeMessage(ctx, m, readers, err)
				if m.outcome == stored {
					lagSeconds.Observe(c.opts.Clock.Since(m.sent).Seconds())
				}
			})
		}
	}
	storing.Wait()
}

// hold keeps messages hidden until it is released.
func (c *consumer) hold(ctx context.Context, handles []string) (release func()) {
	ctx, cancel := context.WithCancel(ctx)
	var holding sync.WaitGroup
	holding.Go(func() {
		again := make([]hidden, len(handles))
		for i, handle := range handles {
			again[i] = hidden{handle, visibility}
		}
		for c.sleep(ctx, visibility/2); ctx.Err() == nil; c.sleep(ctx, visibility/2) {
			if _, err := c.client.hide(ctx, again); ctx.Err() == nil {
				c.health.worked(hiding, err)
			}
		}
	})
	return func() {
		cancel()
		holding.Wait()
	}
}

var errNoPolicy = errors.New("no policy names the queue any more")

// audience is the policies that name the queue; errNoPolicy if there are none.
func (c *consumer) audience(ctx context.Context) (audience, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var policies v1alpha1.NodeTerminationPolicyList
	if err := c.opts.Cache.List(ctx, &policies); err != nil {
		return audience{}, err
	}
	a := audienceOf(policies.Items, c.queue)
	if len(a.policies) == 0 {
		return a, errNoPolicy
	}
	return a, nil
}

// storeMessage finds what becomes of a message: the outcome that matters most of
// those of its facts. err is why none of them can be judged.
func (c *consumer) storeMessage(ctx context.Context, m *message, readers audience, err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	age := c.opts.Clock.Since(m.sent)
	if m.launch != nil {
		c.storeLaunch(m, readers, age, err)
	}
	for _, fact := range m.facts {
		var node *corev1.Node
		result := failed
		err := err
		if err == nil {
			node, err = ec2node.ByInstance(ctx, c.opts.Cache, fact.InstanceID)
		}
		if err == nil {
			result, err = readers.judge(fact.Event, node, age)
		}
		if node == nil && fact.Event.LifecycleHook != nil {
			c.adoptUnjoined(m, fact, readers, result)
		}
		if err == nil && result == stored {
			result, err = c.put(ctx, fact, node.Name)
		}
		if err != nil {
			result = failed
		}
		c.record(m, fact, readers, node, result, err)
		m.outcome = max(m.outcome, result)
	}
}

// put stores a fact.
func (c *consumer) put(ctx context.Context, fact event.Fact, nodeName string) (outcome, error) {
	fact.Event.Source = v1alpha1.SourceSQS
	done, err := c.store.Put(ctx, fact, nodeName)
	switch {
	case err != nil:
		return failed, err
	case !done:
		return nothingToEnd, nil
	}
	return stored, nil
}

// record counts and logs what became of one fact.
func (c *consumer) record(m *message, fact event.Fact, readers audience, node *corev1.Node, result outcome, err error) {
	c.health.event()
	log := c.log.WithValues("instance", fact.InstanceID, "kind", fact.Event.Kind, "event", fact.Event.ID, "messageID", m.id)
	if node != nil {
		log = log.WithValues("node", node.Name)
		if policy := ec2node.Governing(readers.all, node); policy != nil {
			log = log.WithValues("policy", policy.Name)
		}
	}
	switch {
	case result == stored:
		log.Info("event stored")
	case result == failed && c.told.first(m.id, c.opts.Clock.Now()):
		log.Error(err, "event could not be stored, its message is given back to the queue")
	case result == failed:
		log.V(1).Info("event could not be stored again", "error", err.Error())
	default:
		log.V(1).Info("event not stored", "outcome", result.String())
	}
}

// finish deletes the messages that are done with and gives back the others.
func (c *consumer) finish(ctx context.Context, messages []message) {
	var done []string
	var back []hidden
	for _, m := range messages {
		switch m.outcome {
		case unreadable: // left alone
		case waiting:
			back = append(back, hidden{m.handle, doubled(minWait, m.receives, maxWait)})
		case retained:
			back = append(back, hidden{m.handle, doubled(minRetain, m.receives, maxRetain)})
		case failed:
			back = append(back, hidden{m.handle, doubled(minRetry, m.receives, maxRetry)})
		default:
			done = append(done, m.handle)
		}
	}
	if len(done) > 0 {
		lost, err := c.client.remove(ctx, done)
		c.finished(ctx, removing, lost, err)
	}
	if len(back) > 0 {
		lost, err := c.client.hide(ctx, back)
		c.finished(ctx, hiding, lost, err)
	}
	for _, m := range messages {
		messagesTotal.WithLabelValues(m.outcome.String()).Inc()
	}
}

// finished notes how a call went. Messages it failed for come back and are handled again.
func (c *consumer) finished(ctx context.Context, op operation, lost int, err error) {
	if ctx.Err() == nil {
		c.health.worked(op, err)
	}
	if lost > 0 {
		log := c.log.V(1)
		if err != nil {
			log = log.WithValues("error", err.Error())
		}
		log.Info("messages will come back", "operation", op, "messages", lost)
	}
}

// told remembers the messages that were complained of. The zero value is empty.
type told struct {
	mu     sync.Mutex
	recent recent
}

// first is whether the message is new to it.
func (t *told) first(messageID string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.count(now)
	return t.recent.add(messageID, now)
}
