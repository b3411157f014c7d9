// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// queue is the controller's.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Queue wakes terminations: it is the controller's one way in, for watches and for what
// this process finds out. Nearest deadlines go first.
type Queue struct {
	cache client.Reader
	local *LocalState
	log   logr.Logger
	clock clock.PassiveClock
	// identities is the Reconciler's.
	identities *identity.Finder

	mu    sync.Mutex
	queue queue // nil: not started
}

// NewQueue returns a Queue for a Reconciler, which starts it. cache is the manager's;
// local is the Reconciler's as well. What is woken before the start is not kept: all
// terminations are reconciled then.
func NewQueue(cache client.Reader, local *LocalState, log logr.Logger, clock clock.PassiveClock) *Queue {
	return &Queue{cache: cache, local: local, log: log, clock: clock}
}

// Start implements source.Source: the controller calls it with its queue.
func (q *Queue) Start(_ context.Context, queue queue) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = queue
	return nil
}

// Wake asks for a reconcile of a termination. It does not block.
func (q *Queue) Wake(name string) {
	q.mu.Lock()
	to := q.queue
	q.mu.Unlock()
	if to != nil {
		add(to, name, q.priorityOf(context.Background(), name))
	}
}

// WakeNode asks for a reconcile of the termination of a node whose pods have changed.
func (q *Queue) WakeNode(nodeName string) {
	node := &corev1.Node{}
	// A node that is not in the cache is gone, and its deletion wakes its termination.
	if q.cache.Get(context.Background(), types.NamespacedName{Name: nodeName}, node) != nil {
		return
	}
	if id, ok := q.identities.InstanceID(node); ok {
		q.Wake(id)
	}
}

func (q *Queue) ofTermination(_ context.Context, nt *v1alpha1.NodeTermination) []string {
	return []string{nt.Name}
}

// ofNode returns the termination of the node's instance, and the one by which something
// was applied to the node, which may have been deleted.
func (q *Queue) ofNode(ctx context.Context, node *corev1.Node) []string {
	var names []string
	if applied, found := ec2node.AppliedOn(node); found {
		names = append(names, applied.InstanceID)
	}
	id, ok := q.identities.InstanceID(node)
	if ok && !slices.Contains(names, id) && q.cache.Get(ctx, types.NamespacedName{Name: id}, &v1alpha1.NodeTermination{}) == nil {
		names = append(names, id)
	}
	return names
}

// ofPolicy returns every termination that has not ended: the policy may govern it, or come to.
func (q *Queue) ofPolicy(ctx context.Context, _ *v1alpha1.NodeTerminationPolicy) []string {
	var list v1alpha1.NodeTerminationList
	if err := q.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		q.log.Error(err, "Cannot list NodeTerminations")
		return nil
	}
	var names []string
	for i := range list.Items {
		if list.Items[i].Status.CompletionTime == nil {
			names = append(names, list.Items[i].Name)
		}
	}
	return names
}

// nodeChanges lets through what a reconcile looks at; the rest of a node, such as
// its heartbeats, changes all the time.
var nodeChanges = predicate.TypedFuncs[*corev1.Node]{
	UpdateFunc: func(e event.TypedUpdateEvent[*corev1.Node]) bool {
		before, beforeReady := ec2node.ReadySince(e.ObjectOld)
		after, afterReady := ec2node.ReadySince(e.ObjectNew)
		return e.ObjectOld.UID != e.ObjectNew.UID ||
			e.ObjectOld.Spec.Unschedulable != e.ObjectNew.Spec.Unschedulable ||
			e.ObjectOld.Spec.ProviderID != e.ObjectNew.Spec.ProviderID ||
			!maps.Equal(e.ObjectOld.Labels, e.ObjectNew.Labels) ||
			e.ObjectOld.Annotations[v1alpha1.AnnotationApplied] != e.ObjectNew.Annotations[v1alpha1.AnnotationApplied] ||
			e.ObjectOld.Annotations[v1alpha1.AnnotationHold] != e.ObjectNew.Annotations[v1alpha1.AnnotationHold] ||
			e.ObjectOld.Status.NodeInfo.BootID != e.ObjectNew.Status.NodeInfo.BootID ||
			e.ObjectOld.Status.NodeInfo.SystemUUID != e.ObjectNew.Status.NodeInfo.SystemUUID ||
			!before.Equal(after) || beforeReady != afterReady
	},
}

// byDeadline returns a handler that enqueues the terminations an object concerns, nearest deadline first.
func byDeadline[T client.Object](q *Queue, concerned func(context.Context, T) []string) handler.TypedEventHandler[T, reconcile.Request] {
	enqueue := func(ctx context.Context, object T, to queue) {
		for _, name := range concerned(ctx, object) {
			add(to, name, q.priorityOf(ctx, name))
		}
	}
	return handler.TypedFuncs[T, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[T], to queue) { enqueue(ctx, e.Object, to) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[T], to queue) {
			enqueue(ctx, e.ObjectNew, to)
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				enqueue(ctx, e.ObjectOld, to) // a deletion that was seen only by what came after it
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[T], to queue) { enqueue(ctx, e.Object, to) },
	}
}

// add enqueues a termination.
func add(to queue, name string, priority int) {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
	if pq, ok := to.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		return
	}
	to.Add(request)
}

// priorityOf returns the place of a termination in the queue.
func (q *Queue) priorityOf(ctx context.Context, name string) int {
	nt := &v1alpha1.NodeTermination{}
	if q.cache.Get(ctx, types.NamespacedName{Name: name}, nt) != nil {
		return 0
	}
	if unproven(nt) && !q.runsOn(ctx, nt) {
		return lowestPriority
	}
	return priority(nearestDeadline(nt), q.clock.Now(), nt.Status.StartTime != nil || q.local.get(name).begun)
}

// runsOn reports whether the node that a termination names runs on its instance, as far as the cache knows.
func (q *Queue) runsOn(ctx context.Context, nt *v1alpha1.NodeTermination) bool {
	node, err := q.identities.ByInstance(ctx, q.cache, nt.Spec.InstanceID)
	return err != nil || node != nil && node.Name == nt.Spec.NodeName
}

// lowestPriority is that of what a watcher's word alone stands for: with its token, somebody
// can write very many.
const lowestPriority = -1

// maxClasses bounds the classes of deadlines, each with two priorities: with the lowest one, more than
// 25 of these make the metrics of controller-runtime's queue wrong.
const maxClasses = 11

// priority returns a class by whole minutes left before the deadline, the least without
// one. What is not begun goes before all that is: a cordon is one request, and pods
// that come to the node meanwhile have to leave it again. A crowd that is being
// drained has something to look at all the time, and would keep it waiting.
func priority(deadline, now time.Time, begun bool) int {
	class := 0
	if !deadline.IsZero() {
		minutes := int(min(max(deadline.Sub(now), 0), maxClasses*time.Minute) / time.Minute)
		class = maxClasses - min(minutes, maxClasses-1)
	}
	if !begun {
		class += maxClasses + 1
	}
	return class
}

// nearestDeadline returns that of the events that may count; zero once all is done.
func nearestDeadline(nt *v1alpha1.NodeTermination) time.Time {
	var nearest time.Time
	if nt.Status.CompletionTime != nil && nt.Status.ObservedGeneration == nt.Generation {
		return nearest
	}
	for _, e := range nt.Spec.Events {
		state := stateOf(e, nt.Status.Events)
		if e.Deadline != nil && (state == "" || state == v1alpha1.EventActive) && nearer(e.Deadline.Time, nearest) {
			nearest = e.Deadline.Time
		}
	}
	return nearest
}
