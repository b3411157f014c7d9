// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// blockersDelay is how long changes of blockers are collected before an owner is notified.
	blockersDelay = 100 * time.Millisecond
	// budgetsTimeout is how long evictions wait for the budgets to be known. They
	// save requests; without them the API server's answers have to do.
	budgetsTimeout = 5 * time.Second
)

// ExecutorOptions are what an Executor works with.
type ExecutorOptions struct {
	// Client evicts and deletes. See NewClient.
	Client corev1client.CoreV1Interface
	// Budgets is where PodDisruptionBudgets are watched: a manager's GetCache.
	// Nil: they are not watched; tests call budgetChanged.
	Budgets interface {
		GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error)
	}
	// StillExists reports, right before a pod is evicted, whether it, by its UID, is
	// still there: see PodWatcher.Has. A wrong precondition costs the budget an
	// allowance. Nil: it is.
	StillExists func(pod Pod) bool
	// OnEvicted is called when a pod was evicted or deleted, from any goroutine; it must not
	// block. Nil: nothing is called.
	OnEvicted func(owner string, action Action)
	// Notify is called when Blockers of an owner have changed, once for many
	// changes, from one goroutine; it should not block. Nil: nothing is called.
	Notify func(owner string)
	// MinInFlight and MaxInFlight bound how many requests are in flight at a time; how many is
	// found while it runs. Zero: DefaultMinInFlight, and DefaultMaxInFlight.
	MinInFlight, MaxInFlight int
	// Clock is for tests. Nil: the real one.
	Clock clock.WithTicker
}

// Executor evicts and deletes pods. It is declarative: Set says all that is wanted for
// an owner, and the Executor goes on trying until something else is wanted.
//
// Requests go out side by side, as many as the API server answers best, the nearest deadline
// of all owners first, but only a few at a time under one disruption budget. Under a budget that blocks none
// is sent before the budget changes, or a long while has passed; so pods that are
// blocked for good cost next to nothing and hold up no others.
type Executor struct {
	client  corev1client.CoreV1Interface
	options ExecutorOptions
	clock   clock.WithTicker
	changes changes // of owners
	running sync.WaitGroup

	mu    sync.Mutex
	queue *queue
	wake  chan struct{}
}

// NewExecutor returns an Executor that sends nothing before it is started.
func NewExecutor(options ExecutorOptions) *Executor {
	options.MaxInFlight = cmp.Or(options.MaxInFlight, DefaultMaxInFlight)
	options.MinInFlight = min(cmp.Or(options.MinInFlight, DefaultMinInFlight), options.MaxInFlight)
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.StillExists == nil {
		options.StillExists = func(Pod) bool { return true }
	}
	if options.OnEvicted == nil {
		options.OnEvicted = func(string, Action) {}
	}
	if options.Notify == nil {
		options.Notify = func(string) {}
	}
	return &Executor{
		client:  options.Client,
		options: options,
		clock:   options.Clock,
		changes: newChanges(options.Clock),
		queue:   newQueue(newLimiter(options.MinInFlight, options.MaxInFlight)),
		wake:    make(chan struct{}, 1),
	}
}

// Set replaces everything that is wanted for an owner, a NodeTermination's name.
// Nil cancels it. Requests that were sent already cannot be taken back.
func (e *Executor) Set(owner string, actions []Action) {
	e.update(func(q *queue, now time.Time) { q.set(owner, actions, now) })
}

// Blockers returns why pods that an owner wants gone could not be evicted so far, by UID.
func (e *Executor) Blockers(owner string) map[types.UID]Blocker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.blockers(owner)
}

// budgetChanged records a disruption budget, new or changed.
func (e *Executor) budgetChanged(budget *policyv1.PodDisruptionBudget) {
	e.update(func(q *queue, now time.Time) { q.setBudget(budget, now) })
}

// budgetDeleted records the end of a disruption budget.
func (e *Executor) budgetDeleted(namespace, name string) {
	e.update(func(q *queue, _ time.Time) { q.removeBudget(namespace, name) })
}

// NeedLeaderElection returns true: one replica evicts pods.
func (e *Executor) NeedLeaderElection() bool {
	return true
}

// Start evicts pods until ctx is done, and returns once no request is in flight.
func (e *Executor) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	e.running.Go(func() { notifyOf(ctx, e.changes, e.options.Notify) })
	defer e.running.Wait()
	defer cancel()

	if e.options.Budgets != nil {
		if err := e.watchBudgets(ctx); err != nil {
			return err
		}
	}
	for {
		timer := e.sendAll(ctx)
		select {
		case <-ctx.Done():
			stop(timer)
			return nil
		case <-e.wake:
			stop(timer)
		case <-expiry(timer):
		}
	}
}

// sendAll sends what can be sent now. The timer says when to call it again; nil:
// when something has changed.
func (e *Executor) sendAll(ctx context.Context) clock.Timer {
	for ctx.Err() == nil {
		e.mu.Lock()
		now := e.clock.Now()
		accepted, next := e.queue.unconfirmed(now)
		it, at := e.queue.next(now)
		e.noteChanges()
		e.mu.Unlock()
		for node := range accepted {
			e.running.Go(func() { e.confirm(ctx, node, accepted[node]) })
		}
		if nearer(at, next) {
			next = at
		}
		if it == nil {
			if next.IsZero() {
				return nil
			}
			return e.clock.NewTimer(next.Sub(now))
		}
		e.running.Go(func() { e.send(ctx, it) })
	}
	return nil
}

// send makes one request. The item's sent action is not changed meanwhile.
func (e *Executor) send(ctx context.Context, it *item) {
	action := it.sent
	answer := response{outcome: absent}
	if e.options.StillExists(action.Pod) {
		e.mark(ctx, it)
		now := e.clock.Now()
		err := sendAction(ctx, e.client.RESTClient(), &action, now)
		if ctx.Err() != nil {
			return // stopped: what became of it does not matter any more
		}
		answer = newResponse(action.Method, err)
		if answer.outcome == conflict && !e.options.StillExists(action.Pod) {
			answer = response{outcome: gone}
		}
		count(&action, now, answer.outcome)
		log.FromContext(ctx).V(1).Info("sent a request to evict or delete a pod", "instance", it.owner, "node", action.Pod.Node,
			"pod", action.Pod.String(), "method", action.Method, "result", answer.outcome, "reason", answer.reason)
		if answer.outcome == evicted || answer.outcome == deleted {
			e.options.OnEvicted(it.owner, action)
		}
	}
	e.update(func(q *queue, now time.Time) { q.finish(it, answer, now) })
}

// mark gives a pod that is deleted past a refusal the condition DisruptionTarget. It is tried once,
// and the pod is deleted whatever comes of it.
func (e *Executor) mark(ctx context.Context, it *item) {
	if it.sent.Overrides.Kind == "" || it.marked {
		return
	}
	it.marked = true
	if err := markDisrupted(ctx, e.client.RESTClient(), &it.sent, e.clock.Now()); err != nil {
		log.FromContext(ctx).Info("A pod is deleted without the condition DisruptionTarget", "instance", it.owner, "node", it.sent.Pod.Node,
			"pod", it.sent.Pod.String(), "error", err.Error())
	}
}

// update changes the queue and has the consequences carried out.
func (e *Executor) update(change func(q *queue, now time.Time)) {
	e.mu.Lock()
	change(e.queue, e.clock.Now())
	e.noteChanges()
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// noteChanges has the owners notified whose blockers changed. The queue is locked.
func (e *Executor) noteChanges() {
	for owner := range e.queue.changed {
		e.changes.AddAfter(owner, blockersDelay)
	}
	clear(e.queue.changed)
}

// watchBudgets begins to watch disruption budgets, and waits a while until
// all are known.
func (e *Executor) watchBudgets(ctx context.Context) error {
	informer, err := e.options.Budgets.GetInformer(ctx, &policyv1.PodDisruptionBudget{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("cannot watch PodDisruptionBudgets: %w", err)
	}
	changed := func(obj any) {
		if budget, ok := obj.(*policyv1.PodDisruptionBudget); ok {
			e.budgetChanged(budget)
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, obj any) { changed(obj) },
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if budget, ok := obj.(*policyv1.PodDisruptionBudget); ok {
				e.budgetDeleted(budget.Namespace, budget.Name)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("cannot watch PodDisruptionBudgets: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) })

	timer := e.clock.NewTimer(budgetsTimeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-registration.HasSyncedChecker().Done():
	case <-timer.C():
		log.FromContext(ctx).Error(errors.New("PodDisruptionBudgets cannot be listed"),
			"pods are evicted without knowing their budgets, which costs more requests", "waited", budgetsTimeout)
	}
	return nil
}

// stop stops a timer, if there is one.
func stop(timer clock.Timer) {
	if timer != nil {
		timer.Stop()
	}
}

// expiry returns when a timer expires: never, if there is none.
func expiry(timer clock.Timer) <-chan time.Time {
	if timer == nil {
		return nil
	}
	return timer.C()
}
