// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// workers bounds the reconciles under way. They only wait for the API
	// server's answers; evictions and watches do not hold one.
	workers = 16
	// maxRetryDelay bounds the back-off after errors: a deadline is two minutes away.
	maxRetryDelay = 5 * time.Second
	minRetryDelay = 50 * time.Millisecond
	// reconcileTimeout bounds one reconcile with all its calls.
	reconcileTimeout = 30 * time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager makes the reconciler one of the manager's controllers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	cache := mgr.GetCache()
	terminations.of(cache, r.Clock, mgr.Elected())
	r.log = mgr.GetLogger().WithValues("controller", "termination")
	return ctrl.NewControllerManagedBy(mgr).
		Named("termination").
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTermination{}, byDeadline(r, r.ofTermination))).
		WatchesRawSource(source.Kind(cache, &corev1.Node{}, byDeadline(r, r.ofNode), nodeChanges)).
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTerminationPolicy{}, byDeadline(r, r.ofPolicy), predicate.TypedGenerationChangedPredicate[*v1alpha1.NodeTerminationPolicy]{})).
		WatchesRawSource(&r.wake).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   reconcileTimeout,
			EnableWarmup:            ptr.To(true), // a new leader knows the cluster already
			LogConstructor:          r.controllerLog,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetryDelay, maxRetryDelay),
		}).
		Complete(r)
}

// Wake asks for a reconcile of a termination whose drain has got somewhere.
func (r *Reconciler) Wake(name string) {
	r.wake.add(r, name)
}

// WakeNode asks for a reconcile of the termination of a node whose pods have changed.
func (r *Reconciler) WakeNode(nodeName string) {
	node := &corev1.Node{}
	// A node that is not in the cache is gone, and its deletion wakes its termination.
	if r.Client.Get(context.Background(), types.NamespacedName{Name: nodeName}, node) != nil {
		return
	}
	if id, ok := ec2node.InstanceID(node); ok {
		r.Wake(id)
	}
}

func (r *Reconciler) ofTermination(_ context.Context, nt *v1alpha1.NodeTermination) []string {
	return []string{nt.Name}
}

// ofNode is the termination of the node's instance, whether or not it exists: the
// node may carry marks of one that was deleted.
func (r *Reconciler) ofNode(ctx context.Context, node *corev1.Node) []string {
	var names []string
	if m, marked := marksOn(node); marked {
		names = append(names, m.InstanceID)
	}
	if id, ok := ec2node.InstanceID(node); ok && !slices.Contains(names, id) && r.known(ctx, id) {
		names = append(names, id)
	}
	return names
}

// ofPolicy is every termination that has not ended: the policy may govern it, or come to.
func (r *Reconciler) ofPolicy(ctx context.Context, _ *v1alpha1.NodeTerminationPolicy) []string {
	var list v1alpha1.NodeTerminationList
	if err := r.Client.List(ctx, &list); err != nil {
		r.log.Error(err, "Cannot list NodeTerminations")
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

func (r *Reconciler) known(ctx context.Context, name string) bool {
	return r.Client.Get(ctx, types.NamespacedName{Name: name}, &v1alpha1.NodeTermination{}) == nil
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
			e.ObjectOld.Status.NodeInfo.BootID != e.ObjectNew.Status.NodeInfo.BootID ||
			!before.Equal(after) || beforeReady != afterReady
	},
}

// byDeadline enqueues the terminations an object concerns, nearest deadline first.
func byDeadline[T client.Object](r *Reconciler, concerned func(context.Context, T) []string) handler.TypedEventHandler[T, reconcile.Request] {
	enqueue := func(ctx context.Context, object T, q queue) {
		for _, name := range concerned(ctx, object) {
			add(q, name, r.priorityOf(ctx, name))
		}
	}
	return handler.TypedFuncs[T, reconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[T], q queue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[T], q queue) {
			enqueue(ctx, e.ObjectNew, q)
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				enqueue(ctx, e.ObjectOld, q) // a deletion that was seen only by what came after it
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[T], q queue) { enqueue(ctx, e.Object, q) },
	}
}

func add(q queue, name string, priority int) {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		return
	}
	q.Add(request)
}

// wake is a source that is woken by hand.
type wake struct {
	mu    sync.Mutex
	queue queue
}

// Start is called by the controller with its queue.
func (w *wake) Start(_ context.Context, q queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = q
	return nil
}

func (w *wake) add(r *Reconciler, name string) {
	w.mu.Lock()
	q := w.queue
	w.mu.Unlock()
	if q != nil {
		add(q, name, r.priorityOf(context.Background(), name))
	}
}

// priorityOf is the place of a termination in the queue.
func (r *Reconciler) priorityOf(ctx context.Context, name string) int {
	nt := &v1alpha1.NodeTermination{}
	if r.Client.Get(ctx, types.NamespacedName{Name: name}, nt) != nil {
		return 0
	}
	return priority(nearestDeadline(nt), r.Clock.Now(), nt.Status.StartTime != nil || r.memory.recall(name).begun)
}

// maxClasses bounds the classes of deadlines, each with two priorities: more than
// 25 of these make the metrics of controller-runtime's queue wrong.
const maxClasses = 11

// priority is a class by whole minutes left before the deadline, the least without
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

// nearestDeadline is that of the events that may count; zero once all is done.
func nearestDeadline(nt *v1alpha1.NodeTermination) time.Time {
	var nearest time.Time
	if nt.Status.CompletionTime != nil && nt.Status.ObservedGeneration == nt.Generation {
		return nearest
	}
	states := eventStates(nt.Status.Events)
	for _, e := range nt.Spec.Events {
		state, known := states[e.ID]
		if e.Deadline != nil && (!known || state == v1alpha1.EventActive) && nearer(e.Deadline.Time, nearest) {
			nearest = e.Deadline.Time
		}
	}
	return nearest
}

// result is when and with which priority to look again; after an error that is after
// a back-off.
func (r *Reconciler) result(s *scope, err error) ctrl.Result {
	result := ctrl.Result{Priority: ptr.To(priority(s.decision.deadline, s.now, s.nt.Status.StartTime != nil))}
	if !s.next.IsZero() && err == nil {
		result.RequeueAfter = max(s.next.Sub(s.now), time.Millisecond)
	}
	return result
}
