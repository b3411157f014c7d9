// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// maxCompletions bounds how many hooks of a queue are completed side by side.
	maxCompletions = 4
	// busyDelay is how long to wait after a completion that was not sent as too many calls are under way.
	busyDelay = 500 * time.Millisecond
	// minWait and maxWait bound for how long the message of an adopted hook is
	// hidden, which doubles. If the process is killed, another hears of the hook as
	// much later.
	minWait, maxWait = 30 * time.Second, 2 * time.Minute
	// tagsAge is for how long an instance's tags are believed, and ec2Look when EC2 is
	// asked again that did not answer.
	tagsAge, ec2Look = 10 * time.Minute, 5 * time.Second
)

// Hooks completes lifecycle actions, as awsapi.Client does.
type Hooks interface {
	// Instance is what EC2 said of an instance at most maxAge ago. It answers at once;
	// what is not known is asked for.
	Instance(region, id string, maxAge time.Duration) (in awsapi.Instance, known bool, err error)
	// Complete ends the group's wait. Its error is awsapi.ErrNoAction, awsapi.ErrBusy,
	// or says what to do.
	Complete(ctx context.Context, action awsapi.Action, result awsapi.Result) error
}

// completeHooks completes the adopted hooks of the queue as soon as it can be done,
// until listen ends, and returns when no call is under way.
func (c *consumer) completeHooks(listen, work context.Context) {
	var completing sync.WaitGroup
	for listen.Err() == nil {
		due, next := c.adoptions.take(c.opts.Clock.Now(), maxCompletions)
		for _, hook := range due {
			completing.Go(func() { c.tryHook(work, hook) })
		}
		c.awaitHooks(listen, next)
	}
	completing.Wait()
}

// awaitHooks waits until there may be something to do: at next, if it is set, or when stirred.
func (c *consumer) awaitHooks(ctx context.Context, next time.Time) {
	var atNext <-chan time.Time
	if !next.IsZero() {
		timer := c.opts.Clock.NewTimer(next.Sub(c.opts.Clock.Now()))
		defer timer.Stop()
		atNext = timer.C()
	}
	select {
	case <-c.adoptions.wake:
	case <-atNext:
	case <-ctx.Done():
	}
}

// tryHook completes a hook if it can be done now.
func (c *consumer) tryHook(ctx context.Context, hook *adopted) {
	log := c.log.WithValues("instance", hook.instanceID, "autoScalingGroup", hook.hook.AutoScalingGroupName, "hook", hook.hook.Name)
	now, err := c.whatNow(ctx, hook)
	switch {
	case err != nil: // of the cache
		c.putBackFailed(hook)
		log.V(1).Info("it is not known whether the lifecycle hook can be completed", "error", err.Error())
		return
	case now == wait:
		c.adoptions.putBack(hook, time.Time{})
		return
	case now == ask:
		c.adoptions.putBack(hook, c.opts.Clock.Now().Add(ec2Look))
		return
	case now == leave: // what becomes of its message is judged anew
		c.giveBack(ctx, []string{c.adoptions.forget(hook)})
		return
	}
	err = c.opts.Hooks.Complete(ctx, awsapi.Action{
		Region: c.client.region, Group: hook.hook.AutoScalingGroupName, Hook: hook.hook.Name,
		Token: hook.hook.Token, InstanceID: hook.instanceID,
	}, awsapi.Continue)
	switch {
	case errors.Is(err, awsapi.ErrBusy):
		c.adoptions.putBack(hook, c.opts.Clock.Now().Add(busyDelay))
		return
	case err != nil && !errors.Is(err, awsapi.ErrNoAction):
		if ctx.Err() == nil {
			c.health.worked(completing, err)
		}
		c.putBackFailed(hook)
		log.V(1).Info("lifecycle hook not completed", "error", err.Error())
		return
	}
	c.health.worked(completing, nil)
	if err == nil {
		log.Info("adopted lifecycle hook completed", "launch", hook.launching)
	} else {
		log.Info("adopted lifecycle hook waits no more", "launch", hook.launching, "answer", err.Error())
	}
	lost, err := c.client.remove(ctx, []string{c.adoptions.forget(hook)})
	c.finished(ctx, removing, lost, err)
}

// putBackFailed has a hook tried again, later every time.
func (c *consumer) putBackFailed(hook *adopted) {
	hook.failures++
	c.adoptions.putBack(hook, c.opts.Clock.Now().Add(backoff(hook.failures)))
}

// step is what to do about an adopted hook.
type step int

const (
	// wait: the instance's node is not Ready yet.
	wait step = iota
	// ask: EC2 has not said yet whether it is this operator's.
	ask
	// leave: it is not, or no longer, this operator's.
	leave
	// proceed: the instance has no more to wait for.
	proceed
)

// whatNow looks at the policies and the instance's node as they are now.
func (c *consumer) whatNow(ctx context.Context, hook *adopted) (step, error) {
	readers, err := c.audience(ctx)
	if errors.Is(err, errNoPolicy) {
		return leave, nil
	}
	if err != nil {
		return wait, err
	}
	adopting, _ := readers.adopters(hook.hook)
	if len(adopting) == 0 {
		return leave, nil
	}
	if step := c.tagged(hook, tagsOf(adopting)); step != proceed {
		return step, nil
	}
	if hook.launching && hook.hook.Destination == event.WarmPool {
		return proceed, nil
	}
	node, err := ec2node.ByInstance(ctx, c.opts.Cache, hook.instanceID)
	switch {
	case err != nil:
		return wait, err
	case !hook.launching && node != nil:
		return leave, nil
	case !hook.launching:
		return proceed, nil
	case node == nil:
		return wait, nil
	}
	if _, ready := ec2node.ReadySince(node); !ready {
		return wait, nil
	}
	return proceed, nil
}

// tagged is proceed if the instance of a hook has one of the tags. It may be given one yet.
func (c *consumer) tagged(hook *adopted, tags []string) step {
	if len(tags) == 0 {
		return proceed
	}
	instance, known, err := c.opts.Hooks.Instance(c.client.region, hook.instanceID, tagsAge)
	has := slices.ContainsFunc(instance.TagKeys, func(key string) bool { return slices.Contains(tags, key) })
	switch {
	case known && has:
		return proceed
	case known && c.told.first("tag of "+hook.instanceID+" "+hook.hook.Name, c.opts.Clock.Now()):
		c.log.Info("adopted lifecycle hook waits, as the instance does not have the policy's instanceTag", "tags", tags,
			"instance", hook.instanceID, "autoScalingGroup", hook.hook.AutoScalingGroupName, "hook", hook.hook.Name)
	case !known && err != nil:
		c.log.V(1).Info("it is not known whether an instance has the policy's instanceTag", "instance", hook.instanceID, "error", err.Error())
	}
	if !known {
		return ask
	}
	return wait
}

// giveBack makes messages visible, so that whoever reads the queue hears of them at once.
func (c *consumer) giveBack(ctx context.Context, handles []string) {
	for handles := range slices.Chunk(handles, batchSize) {
		messages := make([]hidden, len(handles))
		for i, handle := range handles {
			messages[i] = hidden{handle: handle}
		}
		lost, err := c.client.hide(ctx, messages)
		c.finished(ctx, hiding, lost, err)
	}
}
