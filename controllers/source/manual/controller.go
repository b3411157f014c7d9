// SPDX-License-Identifier: Apache-2.0

// Package manual watches the annotation nodetermination.dev/drain, by which people
// request the drain of a Node:
//
//	kubectl annotate node ip-10-0-3-7.ec2.internal nodetermination.dev/drain="kernel update"
//	kubectl annotate node ip-10-0-3-7.ec2.internal nodetermination.dev/drain-
//
// Its value, which may be empty, is the event's description and follows it.
// Removing the annotation cancels the drain, and nothing else does: neither a reboot
// nor a drain that has ended. The annotation is the record of what people want, so a
// NodeTermination that is deleted while the annotation is there is created again.
// A node that no policy selects gets a NodeTermination as well, whose status says so.
//
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations,verbs=get;list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
package manual

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/controllers/source/store"
)

const (
	// workers bounds the nodes that are reconciled in parallel.
	workers = 8
	// reconcileTimeout bounds one reconcile with all its calls.
	reconcileTimeout = 30 * time.Second
	// identityRetry is when an annotated node is looked at again whose instance is not known.
	identityRetry = 5 * time.Second
)

// Reconciler makes the annotation of a Node an event. All of its fields but Identities are required.
type Reconciler struct {
	// Cache has the NodeTerminations, and the nodes indexed by ec2node.InstanceIDIndex.
	Cache client.Reader
	// Live reads both from the API server.
	Live client.Reader
	// Client writes NodeTerminations.
	Client client.Writer
	// Identities finds the instances of nodes. Nil: by their providerID alone.
	Identities *identity.Finder
	// Clock says when an annotation was first seen.
	Clock clock.PassiveClock
}

// SetupWithManager makes the reconciler one of the manager's controllers.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	cache := mgr.GetCache()
	return ctrl.NewControllerManagedBy(mgr).
		Named("manual").
		WatchesRawSource(source.Kind(cache, &corev1.Node{}, &handler.TypedEnqueueRequestForObject[*corev1.Node]{}, nodeChanges)).
		WatchesRawSource(source.Kind(cache, &v1alpha1.NodeTermination{}, handler.TypedEnqueueRequestsFromMapFunc(nodeOf),
			predicate.TypedGenerationChangedPredicate[*v1alpha1.NodeTermination]{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   reconcileTimeout,
			EnableWarmup:            ptr.To(true), // a new leader knows the cluster already
		}).
		Complete(r)
}

// nodeChanges lets through what may change an annotation's meaning; the rest of a
// node, such as its heartbeats, changes all the time.
var nodeChanges = predicate.TypedFuncs[*corev1.Node]{
	UpdateFunc: func(e crevent.TypedUpdateEvent[*corev1.Node]) bool {
		before, hadAnnotation := e.ObjectOld.Annotations[v1alpha1.AnnotationDrain]
		after, hasAnnotation := e.ObjectNew.Annotations[v1alpha1.AnnotationDrain]
		return hadAnnotation != hasAnnotation || before != after ||
			e.ObjectOld.UID != e.ObjectNew.UID || e.ObjectOld.Spec.ProviderID != e.ObjectNew.Spec.ProviderID
	},
	DeleteFunc: func(crevent.TypedDeleteEvent[*corev1.Node]) bool { return false },
}

// nodeOf returns the request for the node of a NodeTermination.
func nodeOf(_ context.Context, nt *v1alpha1.NodeTermination) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: nt.Spec.NodeName}}}
}

// Reconcile stores the annotation of one node. The cache is enough to know that there
// is nothing to do. Before anything is written, the API server is asked: the cache may
// not know yet that the annotation was removed, or what was stored for it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node := &corev1.Node{}
	if err := r.Cache.Get(ctx, req.NamespacedName, node); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	log := logf.FromContext(ctx)
	instanceID, ours := r.Identities.InstanceID(node)
	if why, _ := r.Identities.Unidentified(node); why != "" && isAnnotated(node) { // which the log says already
		return ctrl.Result{RequeueAfter: identityRetry}, nil
	}
	if !ours {
		logIgnored(log, node, "its providerID names no EC2 instance, or EKS Auto Mode runs it")
		return ctrl.Result{}, nil
	}
	newest, err := r.Identities.ByInstance(ctx, r.Cache, instanceID)
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case newest == nil || newest.UID != node.UID:
		logIgnored(log, node, "its instance has registered again under another name")
		return ctrl.Result{}, nil
	}
	if events, err := r.missingEvents(ctx, r.Cache, instanceID, node); err != nil || len(events) == 0 {
		return ctrl.Result{}, err
	}
	live := &corev1.Node{}
	if err := r.Live.Get(ctx, req.NamespacedName, live); err != nil || live.UID != node.UID {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	events, err := r.missingEvents(ctx, r.Live, instanceID, live)
	if err != nil {
		return ctrl.Result{}, err
	}
	var policies v1alpha1.NodeTerminationPolicyList
	if err := r.Cache.List(ctx, &policies); err != nil {
		return ctrl.Result{}, fmt.Errorf("cannot list policies: %w", err)
	}
	log = log.WithValues("instance", instanceID)
	if policy := ec2node.Governing(policies.Items, live); policy != nil {
		log = log.WithValues("policy", policy.Name)
	}
	facts := store.Store{Live: r.Live, Client: r.Client, Log: log, Clock: r.Clock}
	for _, e := range events {
		result, err := facts.Put(ctx, event.Fact{InstanceID: instanceID, Event: e}, node.Name)
		switch {
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("cannot store the annotation of node %s: %w", node.Name, err)
		case result != store.Stored:
			continue
		}
		log.Info("event stored", "node", node.Name, "kind", e.Kind, "event", e.ID,
			"reason", e.Description, "cancelled", ptr.Deref(e.Cancelled, false))
	}
	return ctrl.Result{}, nil
}

// missingEvents returns the events that the NodeTermination of a node's instance lacks.
func (r *Reconciler) missingEvents(ctx context.Context, reader client.Reader, instanceID string, node *corev1.Node) ([]v1alpha1.Event, error) {
	nt := &v1alpha1.NodeTermination{}
	switch err := reader.Get(ctx, client.ObjectKey{Name: instanceID}, nt); {
	case apierrors.IsNotFound(err):
		nt = nil
	case err != nil:
		return nil, fmt.Errorf("cannot read NodeTermination %s: %w", instanceID, err)
	}
	return missing(node, nt, r.Clock.Now()), nil
}

// isAnnotated reports whether people request the drain of a node.
func isAnnotated(node *corev1.Node) bool {
	_, annotated := node.Annotations[v1alpha1.AnnotationDrain]
	return annotated
}

// logIgnored logs why the annotation of a node has no effect.
func logIgnored(log logr.Logger, node *corev1.Node, why string) {
	if isAnnotated(node) {
		log.Info("node is not drained for its annotation: "+why,
			"node", node.Name, "annotation", v1alpha1.AnnotationDrain, "providerID", node.Spec.ProviderID)
	}
}
