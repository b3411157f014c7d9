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
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/controllers/source/store"
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
	// labelWait is for how long a message is hidden about a node whose labels may be on their way.
	labelWait = 10 * time.Second
	// roomWait is for how long a message is hidden for which the manager makes room.
	roomWait = 2 * time.Second
	// maxBootID is how long a boot ID the API takes.
	maxBootID = 64
)

// message is a received message and what becomes of it.
type message struct {
	id, handle string
	sent       time.Time
	receives   int // this one included
	facts      []event.Fact
	launch     *event.Launch
	adopted    event.AdoptedHook // what waits, if that is the outcome
	outcome    outcome
}

// says reports whether there is something in it to act on.
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
			c.adopter.Add(messages[i].adopted)
		}
	}
	c.health.handled()
}

// read returns the message with its facts, or with its outcome if it has none.
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
			c.log.Info("message cannot be read and stays in the queue", "messageID", m.id, "error", err.Error())
		}
	case document.Passed != "":
		m.outcome = skipped
		c.log.V(1).Info("message skipped", "messageID", m.id, "reason", document.Passed)
	}
	for _, err := range document.Unread {
		if c.health.unreadEntity(m.id, err) {
			unreadEntitiesTotal.Inc()
			c.log.Info("an entity of a message cannot be read; what the message says about others is stored", "messageID", m.id, "error", err.Error())
		}
	}
	m.facts, m.launch = document.Facts, document.Launch
	return m
}

// storeAll finds the outcome of every message that says something, side by side.
func (c *consumer) storeAll(ctx context.Context, messages []message) {
	var handles []string
	for i := range messages {
		if messages[i].says() {
			handles = append(handles, messages[i].handle)
		}
	}
	if len(handles) == 0 {
		return
	}
	defer c.extendVisibility(ctx, handles)()
	subs, err := c.subscribers(ctx)
	var storing sync.WaitGroup
	for i := range messages {
		if m := &messages[i]; m.says() {
			storing.Go(func() {
				c.storeMessage(ctx, m, subs, err)
				if m.outcome == stored {
					lagSeconds.Observe(c.opts.Clock.Since(m.sent).Seconds())
				}
			})
		}
	}
	storing.Wait()
}

// extendVisibility keeps messages hidden until stop is called.
func (c *consumer) extendVisibility(ctx context.Context, handles []string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var extending sync.WaitGroup
	extending.Go(func() {
		again := make([]visibilityChange, len(handles))
		for i, handle := range handles {
			again[i] = visibilityChange{handle, visibility}
		}
		for c.sleep(ctx, visibility/2); ctx.Err() == nil; c.sleep(ctx, visibility/2) {
			if _, err := c.client.changeVisibility(ctx, again); ctx.Err() == nil {
				c.health.worked(hiding, err)
			}
		}
	})
	return func() {
		cancel()
		extending.Wait()
	}
}

var errNoPolicy = errors.New("no policy names the queue any more")

// subscribers returns the policies that name the queue; errNoPolicy if there are none.
func (c *consumer) subscribers(ctx context.Context) (subscribers, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var policies v1alpha1.NodeTerminationPolicyList
	if err := c.opts.Cache.List(ctx, &policies); err != nil {
		return subscribers{}, err
	}
	subs := subscribersOf(policies.Items, c.queue)
	if len(subs.policies) == 0 {
		return subs, errNoPolicy
	}
	return subs, nil
}

// storeMessage finds what becomes of a message: the outcome that matters most of
// those of its facts. err is why nothing can be decided about any of them.
func (c *consumer) storeMessage(ctx context.Context, m *message, subs subscribers, err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	age := c.opts.Clock.Since(m.sent)
	if m.launch != nil {
		c.storeLaunch(m, subs, age, err)
	}
	ours := false // it is about a node of this cluster, too
	for _, fact := range m.facts {
		var node *corev1.Node
		result := failed
		err := err
		if err == nil {
			node, err = c.nodeOf(ctx, fact.InstanceID)
		}
		var adopts bool
		var ignored string // why a policy does not adopt its hook
		if hook := fact.Event.LifecycleHook; hook != nil && node == nil {
			adopts, ignored = c.adopter.Adopts(subs.policies, *hook)
		}
		if err == nil {
			result, err = subs.outcomeFor(fact.Event, adopts, node, age, c.opts.Clock.Now())
		}
		if node == nil && (result == retained || result == discarded) {
			result = c.byOwner(subs, fact.InstanceID, result, age)
		}
		ours = ours || node != nil
		if node == nil && fact.Event.LifecycleHook != nil {
			c.adoptUnjoined(m, fact, ignored, result)
		}
		if err == nil && (result == stored || result == stale) {
			result, err = c.put(ctx, fact, node, subs, result == stale)
		}
		if err != nil && result != full {
			result = failed
		}
		c.record(m, fact, subs, node, result, err)
		m.outcome = max(m.outcome, result)
	}
	if m.outcome == otherCluster && ours && age >= keepUnknown {
		m.outcome = discarded // or clusters that all have a part in it would never let it go
	}
}

// nodeOf returns the node of an instance, nil if it is none's. The error may say that it is not known yet.
func (c *consumer) nodeOf(ctx context.Context, instanceID string) (*corev1.Node, error) {
	node, err := c.opts.Identities.ByInstance(ctx, c.opts.Cache, instanceID)
	if err == nil && node == nil {
		err = c.opts.Identities.Pending()
	}
	return node, err
}

// put stores a fact about a node; one that is over only in the place of an earlier one.
func (c *consumer) put(ctx context.Context, fact event.Fact, node *corev1.Node, subs subscribers, over bool) (outcome, error) {
	fact.Event.Source = v1alpha1.SourceSQS
	fact.Event.BootID = bootID(node)
	if policy := ec2node.Governing(subs.all, node); policy != nil {
		fact.Event.PolicyName = policy.Name
	}
	if fact.Event.LifecycleHook != nil {
		fact.Region = c.client.region // groups send to a queue of their own Region
	}
	put := c.store.Put
	if over {
		put = c.store.Revise
	}
	result, err := put(ctx, fact, node.Name)
	switch {
	case errors.Is(err, store.ErrFull):
		return full, err
	case err != nil:
		return failed, err
	case result == store.Known:
		return known, nil
	case result == store.NothingToEnd && over:
		return stale, nil
	case result == store.NothingToEnd:
		return nothingToEnd, nil
	}
	return stored, nil
}

// bootID returns the node's boot ID, if it is known: one that is not Ready may still show
// that of the boot before.
func bootID(node *corev1.Node) string {
	if n := event.NodeOf(node); n.Ready && len(n.BootID) <= maxBootID {
		return n.BootID
	}
	return ""
}

// record counts and logs what became of one fact.
func (c *consumer) record(m *message, fact event.Fact, subs subscribers, node *corev1.Node, result outcome, err error) {
	c.health.event()
	log := c.log.WithValues("instance", fact.InstanceID, "kind", fact.Event.Kind, "event", fact.Event.ID, "messageID", m.id)
	if node != nil {
		log = log.WithValues("node", node.Name)
		if policy := ec2node.Governing(subs.all, node); policy != nil {
			log = log.WithValues("policy", policy.Name)
		}
	}
	switch {
	case result == stored:
		log.Info("event stored")
	case err != nil && c.logOnce.first(m.id, c.opts.Clock.Now()):
		log.Error(err, "event could not be stored, its message is given back to the queue")
	case err != nil:
		log.V(1).Info("event could not be stored again", "error", err.Error())
	default:
		log.V(1).Info("event not stored", "outcome", result.String())
	}
}

// finish deletes the messages that are done with and gives back the others.
func (c *consumer) finish(ctx context.Context, messages []message) {
	var done, release []string
	var back []visibilityChange
	for _, m := range messages {
		switch m.outcome {
		case unreadable: // the queue's redrive policy or retention decides
		case waiting:
			back = append(back, visibilityChange{m.handle, doubled(minWait, m.receives, maxWait)})
		case retained:
			back = append(back, visibilityChange{m.handle, doubled(minRetain, m.receives, maxRetain)})
		case otherCluster:
			if m.receives <= promptReceives {
				release = append(release, m.handle)
			} else {
				back = append(back, visibilityChange{m.handle, doubled(time.Second, m.receives-promptReceives, maxOther)})
			}
		case notGovernedYet:
			back = append(back, visibilityChange{m.handle, labelWait})
		case failed:
			back = append(back, visibilityChange{m.handle, doubled(minRetry, m.receives, maxRetry)})
		case full:
			back = append(back, visibilityChange{m.handle, roomWait})
		default:
			done = append(done, m.handle)
		}
	}
	if len(done) > 0 {
		lost, err := c.client.deleteMessages(ctx, done)
		c.finished(ctx, removing, lost, err)
	}
	if len(back) > 0 {
		lost, err := c.client.changeVisibility(ctx, back)
		c.finished(ctx, hiding, lost, err)
	}
	if len(release) > 0 {
		c.toRelease.add(release)
	}
	for _, m := range messages {
		messagesTotal.WithLabelValues(m.outcome.String()).Inc()
	}
}

// finished takes note of how a call went. Messages it failed for come back and are handled again.
func (c *consumer) finished(ctx context.Context, op awsapi.Operation, lost int, err error) {
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

// logOnce remembers the messages that the log has a line about. The zero value is empty.
type logOnce struct {
	mu     sync.Mutex
	logged recentSet
}

// first reports whether the message is new to it.
func (l *logOnce) first(messageID string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logged.count(now)
	return l.logged.add(messageID, now)
}
