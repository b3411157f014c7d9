// SPDX-License-Identifier: Apache-2.0

// Package webhook notifies webhooks of a termination: it reads what a webhook refers to, has
// the body rendered, sends it beside the reconciles, and says when to send again. What was
// delivered, and how often that was tried, is in the status of the NodeTermination.
//
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,namespace=node-termination-system,verbs=list;watch
package webhook

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// maxDeliveries is how many deliveries are under way at a time, and
	// maxDeliveriesEach how many of one webhook. Receivers that stall hold up no other
	// for longer than one attempt takes.
	maxDeliveries, maxDeliveriesEach = 16, 4
)

// Attempt identifies one try to notify one webhook of one step of a termination.
type Attempt struct {
	// Termination is the name of the NodeTermination.
	Termination string
	// Started tells a termination that begins anew from what it was before.
	Started int64
	// Policy is the UID of the policy that the webhook is in, and Webhook its name there.
	Policy  types.UID
	Webhook string
	// Step is the step that the webhook is notified of.
	Step v1alpha1.WebhookStep
	// Number counts the attempts at this step, from one.
	Number int32
}

// destination is where an attempt is sent.
type destination struct {
	policy  types.UID
	webhook string
}

func (a *Attempt) destination() destination { return destination{a.Policy, a.Webhook} }

// Dispatcher notifies webhooks beside the reconciles, which never wait for it. What it
// knows is lost with the process: a delivery whose outcome was not written by then is
// sent again by the next.
type Dispatcher struct {
	notify func(termination string)

	mu       sync.Mutex
	ctx      context.Context // nil: not started
	running  sync.WaitGroup
	queued   []*dispatch
	all      map[Attempt]*dispatch
	underWay int
	each     map[destination]int
}

// dispatch is an attempt and what becomes of it.
type dispatch struct {
	attempt Attempt
	send    func(context.Context) Outcome
	outcome *Outcome // nil until it has one
}

// NewDispatcher returns a Dispatcher that sends nothing before it is started. It calls
// notify when an attempt has an outcome, which must not block.
func NewDispatcher(notify func(termination string)) *Dispatcher {
	return &Dispatcher{notify: notify, all: map[Attempt]*dispatch{}, each: map[destination]int{}}
}

// NeedLeaderElection returns true: one replica notifies.
func (d *Dispatcher) NeedLeaderElection() bool { return true }

// Start sends until ctx is done.
func (d *Dispatcher) Start(ctx context.Context) error {
	d.mu.Lock()
	d.ctx = ctx
	d.startNext()
	d.mu.Unlock()
	<-ctx.Done()
	d.running.Wait()
	return nil
}

// Deliver queues an attempt, to be made by send, unless it knows it already, and returns
// its outcome; false while it has none. The answer stays the same until the attempt is
// forgotten.
func (d *Dispatcher) Deliver(a Attempt, send func(context.Context) Outcome) (Outcome, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.all[a]
	if known == nil {
		known = &dispatch{attempt: a, send: send}
		d.all[a] = known
		d.queued = append(d.queued, known)
		d.startNext()
	}
	if known.outcome == nil {
		return Outcome{}, false
	}
	return *known.outcome, true
}

// Forget drops the attempts about a termination that are not under way and of which keep
// returns false.
func (d *Dispatcher) Forget(termination string, keep func(Attempt) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	drop := func(known *dispatch) bool { return known.attempt.Termination == termination && !keep(known.attempt) }
	d.queued = slices.DeleteFunc(d.queued, drop)
	for a, known := range d.all {
		if drop(known) && (known.outcome != nil || !d.isUnderWay(known)) {
			delete(d.all, a)
		}
	}
}

func (d *Dispatcher) isUnderWay(known *dispatch) bool {
	return known.outcome == nil && !slices.Contains(d.queued, known)
}

// startNext begins the deliveries that there is room for: to those destinations first
// that the fewest are under way to, and of these the oldest first. d.mu is held.
func (d *Dispatcher) startNext() {
	if d.ctx == nil || d.ctx.Err() != nil {
		return
	}
	for d.underWay < maxDeliveries && len(d.queued) > 0 {
		i, least := 0, maxDeliveriesEach
		for j, queued := range d.queued {
			if n := d.each[queued.attempt.destination()]; n < least {
				i, least = j, n
			}
		}
		if least == maxDeliveriesEach {
			return
		}
		next := d.queued[i]
		d.queued = slices.Delete(d.queued, i, i+1)
		d.underWay++
		d.each[next.attempt.destination()]++
		d.running.Go(func() { d.deliver(d.ctx, next) })
	}
}

// deliver makes an attempt and keeps its outcome.
func (d *Dispatcher) deliver(ctx context.Context, next *dispatch) {
	outcome := next.send(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	to := next.attempt.destination()
	d.underWay--
	if d.each[to]--; d.each[to] == 0 {
		delete(d.each, to)
	}
	if ctx.Err() != nil {
		return // the process ends: the next leader sends it again
	}
	next.outcome, next.send = &outcome, nil
	d.startNext()
	d.notify(next.attempt.Termination)
}
