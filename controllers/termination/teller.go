// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/webhook"
)

const (
	// maxDeliveries is how many deliveries are under way at a time, and
	// maxDeliveriesEach how many of one webhook. Receivers that stall hold up no other
	// for longer than one attempt takes.
	maxDeliveries, maxDeliveriesEach = 16, 4
)

// attempt is one try to tell one webhook of one step of a termination.
type attempt struct {
	termination string
	// started tells a termination that begins anew from what it was before.
	started int64
	policy  types.UID
	webhook string
	step    v1alpha1.WebhookStep
	number  int32
}

// receiver is who an attempt is sent to.
type receiver struct {
	policy  types.UID
	webhook string
}

func (a *attempt) receiver() receiver { return receiver{a.policy, a.webhook} }

// Teller sends what webhooks are told, beside the reconciles, which never wait for
// it. What it knows is lost with the process: a delivery whose outcome was not
// written by then is sent again by the next.
type Teller struct {
	// Notify is called when an attempt has an outcome. It must not block.
	Notify func(termination string)

	mu       sync.Mutex
	ctx      context.Context // nil: not started
	running  sync.WaitGroup
	queued   []*delivery
	all      map[attempt]*delivery
	underWay int
	each     map[receiver]int
}

// delivery is an attempt and what becomes of it.
type delivery struct {
	attempt attempt
	send    func(context.Context) webhook.Outcome
	outcome *webhook.Outcome // nil until it has one
}

// NeedLeaderElection is true: one replica tells people.
func (t *Teller) NeedLeaderElection() bool { return true }

// Start sends until ctx is done.
func (t *Teller) Start(ctx context.Context) error {
	t.mu.Lock()
	t.ctx = ctx
	t.next()
	t.mu.Unlock()
	<-ctx.Done()
	t.running.Wait()
	return nil
}

// outcomeOf is what became of an attempt, which is made if it was not yet; false
// while it has no outcome. The answer stays the same until the attempt is forgotten.
func (t *Teller) outcomeOf(a attempt, send func(context.Context) webhook.Outcome) (webhook.Outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.all[a]
	if known == nil {
		if t.all == nil {
			t.all = map[attempt]*delivery{}
			t.each = map[receiver]int{}
		}
		known = &delivery{attempt: a, send: send}
		t.all[a] = known
		t.queued = append(t.queued, known)
		t.next()
	}
	if known.outcome == nil {
		return webhook.Outcome{}, false
	}
	return *known.outcome, true
}

// forget drops the attempts about a termination that are not under way and of which keep is false.
func (t *Teller) forget(termination string, keep func(attempt) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	drop := func(d *delivery) bool { return d.attempt.termination == termination && !keep(d.attempt) }
	t.queued = slices.DeleteFunc(t.queued, drop)
	for a, known := range t.all {
		if drop(known) && (known.outcome != nil || !t.isUnderWay(known)) {
			delete(t.all, a)
		}
	}
}

func (t *Teller) isUnderWay(d *delivery) bool {
	return d.outcome == nil && !slices.Contains(t.queued, d)
}

// next begins the deliveries that there is room for: to those receivers first that the
// fewest are under way to, and of these the oldest first. t.mu is held.
func (t *Teller) next() {
	if t.ctx == nil || t.ctx.Err() != nil {
		return
	}
	for t.underWay < maxDeliveries && len(t.queued) > 0 {
		i, least := 0, maxDeliveriesEach
		for j, d := range t.queued {
			if n := t.each[d.attempt.receiver()]; n < least {
				i, least = j, n
			}
		}
		if least == maxDeliveriesEach {
			return
		}
		d := t.queued[i]
		t.queued = slices.Delete(t.queued, i, i+1)
		t.underWay++
		t.each[d.attempt.receiver()]++
		t.running.Go(func() { t.deliver(t.ctx, d) })
	}
}

func (t *Teller) deliver(ctx context.Context, d *delivery) {
	outcome := d.send(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	to := d.attempt.receiver()
	t.underWay--
	if t.each[to]--; t.each[to] == 0 {
		delete(t.each, to)
	}
	if ctx.Err() != nil {
		return // the process ends: the next leader sends it again
	}
	d.outcome, d.send = &outcome, nil
	t.next()
	t.Notify(d.attempt.termination)
}
