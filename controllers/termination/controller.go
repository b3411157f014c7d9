// SPDX-License-Identifier: Apache-2.0

// Package termination turns a NodeTermination into a drained node. A reconcile
// is a list of phases over one scope with one status write; what takes time is
// left to the drain executor or to another look later, so a restart continues
// where the last process stopped.
//
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations/status,verbs=patch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
package termination

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// act lists what finds out what is true, decides, and changes the node and its pods. The
// first phase that does not continue, or fails, ends the list.
var act = []func(*Reconciler, context.Context, *scope) (verdict, error){
	(*Reconciler).identify,
	(*Reconciler).returnToService,
	(*Reconciler).classify,
	(*Reconciler).startOver,
	(*Reconciler).govern,
	(*Reconciler).trackHooks,
	(*Reconciler).confirm,
	(*Reconciler).decide,
	(*Reconciler).noteTombstone,
	(*Reconciler).requireTag,
	(*Reconciler).dryRun,
	(*Reconciler).endWithNode,
	(*Reconciler).suspend,
	(*Reconciler).answerUncordon,
	(*Reconciler).restore,
	(*Reconciler).hold,
	(*Reconciler).schedule,
	(*Reconciler).cordon,
	(*Reconciler).drain,
}

// report lists what follows from that, whatever came of it. The status is then written.
var report = []func(*Reconciler, context.Context, *scope){
	(*Reconciler).updateLocal,
	(*Reconciler).callHooks,
	(*Reconciler).complete,
	(*Reconciler).awaitService,
	(*Reconciler).notify,
	(*Reconciler).stopIdleDrain,
	(*Reconciler).releaseBudget,
	(*Reconciler).summarize,
}

// cleanup lists what has to wait for the status to be written. The first phase that fails
// ends the list.
var cleanup = []func(*Reconciler, context.Context, *scope) error{
	(*Reconciler).recordEvents,
	(*Reconciler).measure,
	(*Reconciler).prune,
	(*Reconciler).expire,
}

// Reconcile brings one termination a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, req.NamespacedName)
	if !errors.Is(ctx.Err(), context.Canceled) { // else the process ends
		r.logOnce(req.Name, err)
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, key types.NamespacedName) (ctrl.Result, error) {
	s, err := r.read(ctx, key)
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case s == nil:
		return r.undo(ctx, key.Name)
	}
	if r.act(ctx, s) == postponed {
		return r.result(s, s.err)
	}
	for _, phase := range report {
		phase(r, ctx, s)
	}
	err = r.writeStatus(ctx, s)
	for _, phase := range cleanup {
		if err == nil {
			err = phase(r, ctx, s)
		}
	}
	return r.result(s, errors.Join(s.err, client.IgnoreNotFound(err))) // its deletion brings us back
}

// read reads what a reconcile is about; nil if the NodeTermination was deleted.
func (r *Reconciler) read(ctx context.Context, key types.NamespacedName) (*scope, error) {
	nt := &v1alpha1.NodeTermination{}
	if err := r.Client.Get(ctx, key, nt); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot read NodeTermination %s: %w", key.Name, err)
	}
	var policies v1alpha1.NodeTerminationPolicyList
	if err := r.Client.List(ctx, &policies); err != nil {
		return nil, fmt.Errorf("cannot list policies: %w", err)
	}
	s := &scope{now: r.Clock.Now(), before: nt, nt: nt.DeepCopy(), policies: policies.Items}
	renameOldValues(&s.nt.Status)
	return s, nil
}

// act goes through the phases of act.
func (r *Reconciler) act(ctx context.Context, s *scope) (v verdict) {
	for _, phase := range act {
		if v, s.err = phase(r, ctx, s); v != proceed || s.err != nil {
			return v
		}
	}
	return ended
}

// result returns when and with which priority to look again; after an error that is after
// a back-off.
func (r *Reconciler) result(s *scope, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		s.lookAgain(s.now.Add(conflictRetry))
		err = nil
	}
	result := ctrl.Result{Priority: ptr.To(priority(s.decision.deadline, s.now, s.nt.Status.StartTime != nil))}
	if !s.next.IsZero() && err == nil {
		result.RequeueAfter = max(s.next.Sub(s.now), time.Millisecond)
	}
	return result, err
}

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

// SetupWithManager makes the reconciler one of the manager's controllers, and the
// terminations in the manager's cache metrics.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	cache := mgr.GetCache()
	if err := metrics.Registry.Register(&terminationCollector{client: cache, clock: r.Clock, elected: mgr.Elected()}); err != nil {
		return fmt.Errorf("cannot register the metrics of terminations: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("termination").
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTermination{}, r.Queue.noteArrivals(byDeadline(r.Queue, r.Queue.ofTermination)))).
		WatchesRawSource(source.Kind(cache, &corev1.Node{}, byDeadline(r.Queue, r.Queue.ofNode), nodeChanges)).
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTerminationPolicy{}, byDeadline(r.Queue, r.Queue.ofPolicy), predicate.TypedGenerationChangedPredicate[*v1alpha1.NodeTerminationPolicy]{})).
		WatchesRawSource(r.Queue).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   reconcileTimeout,
			EnableWarmup:            ptr.To(true), // a new leader knows the cluster already
			LogConstructor:          r.controllerLog,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minRetryDelay, maxRetryDelay),
		}).
		Complete(r)
}
