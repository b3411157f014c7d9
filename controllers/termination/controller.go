// SPDX-License-Identifier: Apache-2.0

// Package termination turns a NodeTermination into a drained node. A reconcile
// is a list of phases over one scope with one status write at the end; what
// takes time is left to the drain executor or to another look later, so a
// restart continues where the last process stopped.
//
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations,verbs=list;watch;patch;delete
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

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/leader"
	"github.com/nodetermination/operator/controllers/webhook"
)

// conflictRetry is how soon a reconcile that lost a race of writes is tried again.
const conflictRetry = 50 * time.Millisecond

// Reconciler drains the nodes that NodeTerminations are about.
type Reconciler struct {
	// Client reads from the manager's cache, in which Nodes are indexed by
	// ec2node.InstanceIDIndex, and writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Executor tells pods to go.
	Executor *drain.Executor
	// Watches follow the pods of the nodes being drained.
	Watches *drain.PodWatcher
	// Cloud asks Auto Scaling and EC2.
	Cloud *awsapi.Client
	// Dispatcher notifies webhooks through Sender, Webhooks reads what they refer to.
	Dispatcher *webhook.Dispatcher
	Sender     *webhook.Sender
	Webhooks   *webhook.Resolver
	// Announcer emits events of Kubernetes.
	Announcer *Announcer
	// Replica is this process, whose pod goes last.
	Replica *leader.Replica
	// Clock tells the time.
	Clock clock.PassiveClock

	log    logr.Logger
	wake   wake
	memory memory
	pace   pace
}

// phase is one step of a reconcile; it reports whether the reconcile ends here.
type phase func(*Reconciler, context.Context, *scope) (done bool, err error)

// phases in order: first what is true, then what is wanted, then what is done about it.
var phases = []phase{
	(*Reconciler).identify,
	(*Reconciler).returnToService,
	(*Reconciler).classify,
	(*Reconciler).govern,
	(*Reconciler).noticeHooks,
	(*Reconciler).decide,
	(*Reconciler).requireTag,
	(*Reconciler).dryRun,
	(*Reconciler).endWithNode,
	(*Reconciler).suspend,
	(*Reconciler).restore,
	(*Reconciler).schedule,
	(*Reconciler).cordon,
	(*Reconciler).drain,
}

// Reconcile brings one termination a step further.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	result, err := r.step(ctx, req)
	if !errors.Is(ctx.Err(), context.Canceled) { // else the process ends
		r.complain(req.Name, err)
	}
	return result, err
}

func (r *Reconciler) step(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	before := &v1alpha1.NodeTermination{}
	if err := r.Client.Get(ctx, req.NamespacedName, before); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, r.undo(ctx, req.Name)
		}
		return ctrl.Result{}, fmt.Errorf("cannot read NodeTermination %s: %w", req.Name, err)
	}
	var policies v1alpha1.NodeTerminationPolicyList
	if err := r.Client.List(ctx, &policies); err != nil {
		return ctrl.Result{}, fmt.Errorf("cannot list policies: %w", err)
	}
	s := &scope{now: r.Clock.Now(), nt: before.DeepCopy(), policies: policies.Items}
	renameOldValues(&s.nt.Status)
	err := r.run(ctx, s)
	r.memory.change(s.nt.Name, func(known *remembered) {
		known.subject = s.subject()
		if s.policy != nil {
			_, known.emits = s.policy.Spec.EmitsEvents()
		}
	})
	if !s.unsettled { // what it would find out could not be written down
		r.attend(ctx, s)
	}
	s.conclude()
	r.tell(s, before)
	if err == nil && !s.draining {
		r.stopDrain(s.nt.Name)
	}
	r.keepPace(s)
	s.sumUp(err)
	err = errors.Join(err, r.writeStatus(ctx, s, before))
	if err == nil && !s.unsettled {
		err = r.prune(ctx, s)
	}
	if err == nil && !s.unsettled {
		err = r.expire(ctx, s)
	}
	if apierrors.IsConflict(err) {
		s.lookAgain(s.now.Add(conflictRetry))
		err = nil
	}
	return r.result(s, err), err
}

// run goes through the phases until one of them ends the reconcile.
func (r *Reconciler) run(ctx context.Context, s *scope) error {
	for _, phase := range phases {
		if done, err := phase(r, ctx, s); done || err != nil {
			return err
		}
	}
	return nil
}

// keepPace lets others drain once this one does not.
func (r *Reconciler) keepPace(s *scope) {
	switch {
	case s.waits != "":
	case s.begins && !s.finished() && !s.ending:
	default:
		r.wakeNext(r.pace.forget(s.nt.Name))
	}
}

// wakeNext wakes a drain that waited for a place, if there is one.
func (r *Reconciler) wakeNext(name string) {
	if name != "" {
		r.Wake(name)
	}
}

// suspend is the phase that stops a termination where it is.
func (r *Reconciler) suspend(_ context.Context, s *scope) (bool, error) {
	if s.finished() || !s.suspended() {
		return false, nil
	}
	s.settle(v1alpha1.StateSuspended, "spec.suspend is true: nothing more is changed until it is false again")
	return true, nil
}
