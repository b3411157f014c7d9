// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/identity"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// maxCompletions bounds how many hooks of a queue are completed side by side.
	maxCompletions = 4
	// busyDelay is how long to wait after a completion that was not sent, as too many calls
	// were under way. It doubles while that lasts.
	busyDelay = 500 * time.Millisecond
	// tagsAge is for how long an instance's tags are believed, and ec2Retry when EC2 is
	// asked again that did not answer.
	tagsAge, ec2Retry = 10 * time.Minute, 5 * time.Second
)

// Queue is where the messages about adopted hooks stay.
type Queue interface {
	// Region returns the queue's, and so that of the groups that send to it.
	Region() string
	// Policies returns those that name the queue; none if none does any more.
	Policies(ctx context.Context) ([]*v1alpha1.NodeTerminationPolicy, error)
	// Release makes messages visible, so that whoever reads the queue receives them at once.
	Release(ctx context.Context, receipts []string)
	// Done deletes a message about which nothing is left to be done.
	Done(ctx context.Context, receipt string)
	// Completed takes note of how the completion of a hook went.
	Completed(err error)
}

// AWS asks about instances and completes lifecycle actions, as awsapi.Client does.
type AWS interface {
	// Instance returns what EC2 said of an instance at most maxAge ago. It answers at
	// once; what is not known is asked for.
	Instance(at awsapi.Account, id string, maxAge time.Duration) (instance awsapi.Instance, known bool, err error)
	// Complete ends the group's wait. Its error is awsapi.ErrNoAction, awsapi.ErrBusy, or
	// says what to do.
	Complete(ctx context.Context, action awsapi.Action, result awsapi.Result) error
}

// AdopterOptions are those of an Adopter. All but Identities are required.
type AdopterOptions struct {
	// Queue has the messages about the hooks.
	Queue Queue
	// AWS completes the hooks.
	AWS AWS
	// Cache has the nodes, indexed by node.InstanceIDIndex.
	Cache client.Reader
	// Identities finds the nodes of instances. Nil: by their providerID alone.
	Identities *identity.Finder
	// Log gets a line for every hook that is completed.
	Log logr.Logger
	// Clock decides when to try again.
	Clock clock.Clock
}

// Adopter completes the hooks of a queue's messages that policies adopt. What it
// remembers is lost with the process and comes back with the messages.
type Adopter struct {
	AdopterOptions
	hooks *adoptedSet
}

// NewAdopter returns an Adopter that does nothing before Run.
func NewAdopter(opts AdopterOptions) *Adopter {
	return &Adopter{AdopterOptions: opts, hooks: newAdoptedSet()}
}

// Adopts reports whether one of the policies adopts a hook. If none does although one
// of them names it, ignored says why.
func (a *Adopter) Adopts(policies []*v1alpha1.NodeTerminationPolicy, hook v1alpha1.LifecycleHook) (adopts bool, ignored string) {
	adopting, ignored := Adopters(policies, hook)
	return len(adopting) > 0, ignored
}

// Add has a hook completed as soon as that can be done. One that is known gets the
// latest receipt of its message.
func (a *Adopter) Add(hook event.AdoptedHook) { a.hooks.add(hook) }

// NodeReady has the hooks of an instance looked at, as its node is Ready.
func (a *Adopter) NodeReady(instanceID string) { a.hooks.nodeReady(instanceID) }

// Run completes hooks until listen ends, and returns when no call is under way; work is
// the context of calls.
func (a *Adopter) Run(listen, work context.Context) {
	var completing sync.WaitGroup
	for listen.Err() == nil {
		due, next := a.hooks.take(a.Clock.Now(), maxCompletions)
		for _, hook := range due {
			completing.Go(func() { a.try(work, hook) })
		}
		a.await(listen, next)
	}
	completing.Wait()
}

// ReleaseAll releases the messages of the hooks that were not completed, to whoever reads
// the queue next.
func (a *Adopter) ReleaseAll(ctx context.Context) { a.Queue.Release(ctx, a.hooks.receipts()) }

// await waits until there may be something to do: at next, if it is set, or when woken up.
func (a *Adopter) await(ctx context.Context, next time.Time) {
	var atNext <-chan time.Time
	if !next.IsZero() {
		timer := a.Clock.NewTimer(next.Sub(a.Clock.Now()))
		defer timer.Stop()
		atNext = timer.C()
	}
	select {
	case <-a.hooks.wake:
	case <-atNext:
	case <-ctx.Done():
	}
}

// try completes a hook if that can be done now.
func (a *Adopter) try(ctx context.Context, hook *adopted) {
	log := a.Log.WithValues("instance", hook.InstanceID, "autoScalingGroup", hook.Hook.AutoScalingGroupName, "hook", hook.Hook.Name)
	in, err := a.read(ctx, hook, log)
	if err != nil { // of the cache
		a.putBackFailed(hook)
		log.V(1).Info("it is not known whether the lifecycle hook can be completed", "error", err.Error())
		return
	}
	switch nextStep(in) {
	case waitForTag:
		if !hook.tagLogged {
			hook.tagLogged = true
			log.Info("adopted lifecycle hook waits, as the instance does not have the policy's instanceTag", "tags", requiredTags(in.adopting))
		}
		a.hooks.putBack(hook, time.Time{})
	case waitForNode:
		a.hooks.putBack(hook, time.Time{})
	case askEC2:
		a.hooks.putBack(hook, a.Clock.Now().Add(ec2Retry))
	case giveUp: // what becomes of its message is decided anew
		a.Queue.Release(ctx, []string{a.hooks.remove(hook)})
	case complete:
		a.complete(ctx, hook, a.account(in.adopting), log)
	}
}

// read returns the policies, the instance and its node as they are now.
func (a *Adopter) read(ctx context.Context, hook *adopted, log logr.Logger) (in adoptedInput, err error) {
	in.hook = hook.AdoptedHook
	policies, err := a.Queue.Policies(ctx)
	if err != nil {
		return in, err
	}
	in.adopting, _ = Adopters(policies, hook.Hook)
	if len(requiredTags(in.adopting)) > 0 {
		instance, known, err := a.AWS.Instance(a.account(in.adopting), hook.InstanceID, tagsAge)
		switch {
		case known:
			in.instance = &instance
		case err != nil:
			log.V(1).Info("it is not known whether an instance has the policy's instanceTag", "error", err.Error())
		}
	}
	in.node, err = a.Identities.ByInstance(ctx, a.Cache, hook.InstanceID)
	return in, err
}

// account returns that of a hook's group: in the queue's region, and by the role of the first
// policy that adopts the hook.
func (a *Adopter) account(adopting []*v1alpha1.NodeTerminationPolicy) awsapi.Account {
	return awsapi.Account{Region: a.Queue.Region(), RoleARN: adopting[0].Spec.LifecycleHook.Role()}
}

// complete ends the group's wait. Afterwards, or if it does not wait any more, the message is deleted.
func (a *Adopter) complete(ctx context.Context, hook *adopted, at awsapi.Account, log logr.Logger) {
	err := a.AWS.Complete(ctx, awsapi.Action{
		Account: at, Group: hook.Hook.AutoScalingGroupName, Hook: hook.Hook.Name,
		Token: hook.Hook.Token, InstanceID: hook.InstanceID,
	}, awsapi.Continue)
	switch {
	case errors.Is(err, awsapi.ErrBusy):
		hook.unsent++
		delay := delayAfter(hook.unsent, wait.Backoff{Duration: busyDelay, Factor: 2, Steps: 7, Cap: maxRetryDelay})
		a.hooks.putBack(hook, a.Clock.Now().Add(delay))
		return
	case errors.Is(err, awsapi.ErrNoAction) && !hook.noAction: // it may have begun this moment
		hook.noAction = true
		a.hooks.putBack(hook, a.Clock.Now().Add(noActionRetry))
		return
	case err != nil && !errors.Is(err, awsapi.ErrNoAction):
		if ctx.Err() == nil {
			a.Queue.Completed(err)
		}
		a.putBackFailed(hook)
		log.V(1).Info("lifecycle hook not completed", "error", err.Error())
		return
	}
	a.Queue.Completed(nil)
	if err == nil {
		log.Info("adopted lifecycle hook completed", "launch", hook.Launching)
	} else {
		log.Info("adopted lifecycle hook waits no more", "launch", hook.Launching, "answer", err.Error())
	}
	a.Queue.Done(ctx, a.hooks.remove(hook))
}

// putBackFailed has a hook tried again after a second, which doubles up to ten; the
// latter half of it is random.
func (a *Adopter) putBackFailed(hook *adopted) {
	hook.failures++
	delay := delayAfter(hook.failures, wait.Backoff{Duration: time.Second / 2, Factor: 2, Jitter: 1, Steps: 6, Cap: 5 * time.Second})
	a.hooks.putBack(hook, a.Clock.Now().Add(delay))
}
