// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// minWait and maxWait bound for how long the message of an adopted hook is hidden, which
// doubles. If the process is killed, another receives it as much later.
const minWait, maxWait = 30 * time.Second, 2 * time.Minute

// Adopter completes the lifecycle hooks in a queue's messages that policies adopt. Its
// methods may be called from any goroutine.
type Adopter interface {
	// Adopts reports whether one of the policies has a hook completed at which none of
	// its nodes waits. If none does although one of them names it, ignored says why.
	Adopts(policies []*v1alpha1.NodeTerminationPolicy, hook v1alpha1.LifecycleHook) (adopts bool, ignored string)
	// Add has a hook completed as soon as that can be done. Its message stays hidden in the
	// queue and comes back now and then, which adds the hook again.
	Add(hook event.AdoptedHook)
	// NodeReady is called when an instance's node is Ready.
	NodeReady(instanceID string)
	// Run completes hooks until listen ends, and returns when no call is under way; work
	// is the context of calls.
	Run(listen, work context.Context)
	// ReleaseAll releases the messages of all hooks that were not completed.
	ReleaseAll(ctx context.Context)
}

// AdoptedQueue is a queue as its Adopter needs it.
type AdoptedQueue struct {
	// Log is for lines about the queue's hooks.
	Log logr.Logger

	consumer *consumer
}

// Region returns the queue's, and so that of the groups that send to it. It is known
// when hooks are added.
func (q AdoptedQueue) Region() string { return q.consumer.client.region }

// Policies returns those that name the queue; none if none does any more.
func (q AdoptedQueue) Policies(ctx context.Context) ([]*v1alpha1.NodeTerminationPolicy, error) {
	subs, err := q.consumer.subscribers(ctx)
	if errors.Is(err, errNoPolicy) {
		return nil, nil
	}
	return subs.policies, err
}

// Release makes messages visible, so that whoever reads the queue receives them at once.
func (q AdoptedQueue) Release(ctx context.Context, receipts []string) {
	q.consumer.release(ctx, receipts)
}

// Done deletes a message about which nothing is left to be done.
func (q AdoptedQueue) Done(ctx context.Context, receipt string) {
	c := q.consumer
	lost, err := c.client.deleteMessages(ctx, []string{receipt})
	c.finished(ctx, removing, lost, err)
}

// Completed notes in the queue's Health how the completion of a hook went.
func (q AdoptedQueue) Completed(err error) { q.consumer.health.worked(completing, err) }

// launchOutcome returns what becomes of a message of that age about a launch hook.
func launchOutcome(adopts bool, age time.Duration) outcome {
	switch {
	case !adopts:
		return skipped
	case age >= event.MaxHookWait:
		return discarded
	}
	return waiting
}

// storeLaunch finds what becomes of a message about a launch hook, of which nothing
// is stored: it is given back until the hook is completed, if a policy adopts it.
func (c *consumer) storeLaunch(m *message, subs subscribers, age time.Duration, err error) {
	c.health.event()
	log := c.log.WithValues("instance", m.launch.InstanceID, "messageID", m.id,
		"autoScalingGroup", m.launch.Hook.AutoScalingGroupName, "hook", m.launch.Hook.Name)
	if err != nil {
		m.outcome = failed
		log.V(1).Info("launch hook could not be looked at", "error", err.Error())
		return
	}
	adopts, ignored := c.adopter.Adopts(subs.policies, m.launch.Hook)
	if m.outcome = launchOutcome(adopts, age); !adopts {
		m.outcome = c.byOwner(subs, m.launch.InstanceID, skipped, age)
	}
	switch {
	case m.outcome == waiting:
		m.adopt(m.launch.InstanceID, &m.launch.Hook, true)
		if m.receives == 1 {
			log.Info("launch hook is adopted: it is completed once the instance's node is Ready", "destination", m.launch.Hook.Destination)
		}
	case ignored != "" && m.outcome == skipped:
		log.Info("lifecycle hook is ignored", "reason", ignored)
	default:
		log.V(1).Info("launch hook not adopted", "outcome", m.outcome.String())
	}
}

// adopt has a hook completed that the message is about.
func (m *message) adopt(instanceID string, hook *v1alpha1.LifecycleHook, launching bool) {
	m.adopted = event.AdoptedHook{InstanceID: instanceID, Hook: *hook, Launching: launching, Sent: m.sent, Receipt: m.handle}
}

// adoptUnjoined has the termination hook of an instance without a node completed, if
// that is what becomes of its fact, or logs why it is ignored although a policy adopts it.
func (c *consumer) adoptUnjoined(m *message, fact event.Fact, ignored string, result outcome) {
	hook := fact.Event.LifecycleHook
	if result == waiting {
		m.adopt(fact.InstanceID, hook, false)
		return
	}
	if ignored != "" && c.logOnce.first(m.id, c.opts.Clock.Now()) {
		c.log.Info("lifecycle hook is ignored", "reason", ignored, "instance", fact.InstanceID, "messageID", m.id,
			"autoScalingGroup", hook.AutoScalingGroupName, "hook", hook.Name)
	}
}
