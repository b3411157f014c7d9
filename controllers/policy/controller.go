// SPDX-License-Identifier: Apache-2.0

// Package policy keeps the sources of all policies running and reports their state in
// each policy's status.
//
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies/status,verbs=patch
// Its rights in the watchers' namespace are in config/watcher/manager_role.yaml.
//
// +kubebuilder:rbac:groups="",namespace=node-termination-system,resources=pods,verbs=get
package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/identity"
	"github.com/nodetermination/operator/controllers/source/sqs"
	"github.com/nodetermination/operator/controllers/webhook"
)

// batchPeriod is how long changes are collected before policies are reconciled: a
// hundred nodes that join together are one reconcile.
const batchPeriod = time.Second

// terminationsBatchPeriod is the same for terminations that begin and end, of which a
// policy's status has only the number: when there are many, their pods come first.
const terminationsBatchPeriod = 5 * time.Second

// reconcileTimeout bounds one reconcile with all its writes.
const reconcileTimeout = 30 * time.Second

// allPolicies is the one request of this controller. Policies share queues and
// overlap on nodes, and there are few of them, so each reconcile is of all of them.
var allPolicies = reconcile.Request{NamespacedName: client.ObjectKey{Name: "policies"}}

// Reconciler starts and stops the sources that policies name and writes the policies' status.
type Reconciler struct {
	// Client reads from the manager's cache and writes. Of DaemonSets, the cache
	// need hold those of the watchers' namespace only.
	Client client.Client
	// Live reads from the API server: pods, which are not cached. It lists them
	// with the right that drains have.
	Live client.Reader
	// Queues are the consumers of SQS queues.
	Queues *sqs.Consumers
	// Identities finds the instances of nodes. Nil: by their providerID alone.
	Identities *identity.Finder
	// Watchers says how watchers run.
	Watchers WatcherOptions
	// Pod is the manager's own. Empty: it runs in none, or does not know.
	Pod types.NamespacedName
	// AWS assumes the roles of lifecycle hooks.
	AWS RoleAssumer
	// Clock says when to diagnose watchers again that are not ready, and to assume roles.
	Clock clock.PassiveClock

	// Webhooks reads what webhooks refer to.
	Webhooks *webhook.Resolver

	// checked are the webhooks of policies, by the policy's UID and their name.
	checked map[types.UID]map[string]checked
	// own is the manager's own container, once it is known.
	own *corev1.Container
	// causes are why the watchers of policies are not ready, by the policy's UID.
	causes map[types.UID]cause
	// roles are whether the roles of lifecycle hooks could be assumed.
	roles map[awsapi.Account]roleCheck
}

// Reconcile runs the sources of all policies and writes their status.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	snap, err := r.takeSnapshot(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.Queues.Ensure(snap.queues())
	r.forgetChecks(snap.policies)
	errs := []error{r.ensureWatchers(ctx, snap)}
	nextRole := r.checkRoles(ctx, snap)
	described := make([]v1alpha1.NodeTerminationPolicy, len(snap.policies))
	for i := range snap.policies {
		snap.policies[i].DeepCopyInto(&described[i])
		r.describe(ctx, &described[i], snap)
	}
	gauges.set(described)
	for i := range described {
		errs = append(errs, r.writeStatus(ctx, &snap.policies[i], &described[i]))
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctrl.Result{}, nil // the process ends, and that is what the errors say
	}
	var result ctrl.Result
	if len(r.causes) > 0 {
		result.RequeueAfter = diagnoseEvery
	}
	if wait := nextRole.Sub(r.Clock.Now()); !nextRole.IsZero() && (result.RequeueAfter == 0 || wait < result.RequeueAfter) {
		result.RequeueAfter = max(wait, time.Second)
	}
	return result, errors.Join(errs...)
}

// writeStatus patches a policy's status if it has changed.
func (r *Reconciler) writeStatus(ctx context.Context, before, after *v1alpha1.NodeTerminationPolicy) error {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	err := r.Client.Status().Patch(ctx, after, client.MergeFrom(before))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot write the status of NodeTerminationPolicy %s: %w", before.Name, err)
	}
	return nil
}

// SetupWithManager makes the reconciler one of the manager's controllers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	cache := mgr.GetCache()
	builder := ctrl.NewControllerManagedBy(mgr).
		Named("policy").
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTerminationPolicy{}, enqueueAfter[*v1alpha1.NodeTerminationPolicy](0),
			predicate.TypedGenerationChangedPredicate[*v1alpha1.NodeTerminationPolicy]{})).
		WatchesRawSource(source.Kind(cache, &corev1.Node{}, enqueueAfter[*corev1.Node](batchPeriod), nodeChanges)).
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTermination{}, enqueueAfter[*v1alpha1.NodeTermination](terminationsBatchPeriod), terminationChanges)).
		WatchesRawSource(source.Channel(r.Queues.Changed(), enqueueAfter[client.Object](0))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1,
			ReconciliationTimeout:   reconcileTimeout,
			EnableWarmup:            ptr.To(true), // a new leader knows the cluster already
		})
	if r.Identities != nil {
		builder.WatchesRawSource(source.Channel(r.Identities.Changed(), enqueueAfter[client.Object](batchPeriod)))
	}
	if r.Watchers.Namespace != "" {
		builder.WatchesRawSource(source.Kind(cache, &appsv1.DaemonSet{}, enqueueAfter[*appsv1.DaemonSet](batchPeriod)))
	}
	if r.Webhooks.Namespace != "" {
		builder.
			WatchesRawSource(source.Kind(cache, &corev1.Secret{}, enqueueAfter[*corev1.Secret](batchPeriod))).
			WatchesRawSource(source.Kind(cache, &corev1.ConfigMap{}, enqueueAfter[*corev1.ConfigMap](batchPeriod)))
	}
	return builder.Complete(r)
}

// enqueueAfter enqueues the one request after a delay.
func enqueueAfter[T client.Object](delay time.Duration) handler.TypedEventHandler[T, reconcile.Request] {
	add := func(q workqueue.TypedRateLimitingInterface[reconcile.Request]) { q.AddAfter(allPolicies, delay) }
	return handler.TypedFuncs[T, reconcile.Request]{
		CreateFunc: func(_ context.Context, _ event.TypedCreateEvent[T], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
		UpdateFunc: func(_ context.Context, _ event.TypedUpdateEvent[T], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
		DeleteFunc: func(_ context.Context, _ event.TypedDeleteEvent[T], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
		GenericFunc: func(_ context.Context, _ event.TypedGenericEvent[T], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
	}
}

// nodeChanges lets through what decides which policy selects a node.
var nodeChanges = predicate.TypedFuncs[*corev1.Node]{
	UpdateFunc: func(e event.TypedUpdateEvent[*corev1.Node]) bool {
		return !labels.Equals(e.ObjectOld.Labels, e.ObjectNew.Labels) || e.ObjectOld.Spec.ProviderID != e.ObjectNew.Spec.ProviderID
	},
}

// terminationChanges lets through what changes a policy's count of terminations.
var terminationChanges = predicate.TypedFuncs[*v1alpha1.NodeTermination]{
	UpdateFunc: func(e event.TypedUpdateEvent[*v1alpha1.NodeTermination]) bool {
		before, after := e.ObjectOld.Status, e.ObjectNew.Status
		return (before.CompletionTime == nil) != (after.CompletionTime == nil) ||
			ptr.Deref(before.PolicyRef, v1alpha1.PolicyReference{}).UID != ptr.Deref(after.PolicyRef, v1alpha1.PolicyReference{}).UID
	},
}
