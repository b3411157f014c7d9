// SPDX-License-Identifier: Apache-2.0

// Package store writes the facts that the manager's sources have received into NodeTerminations. Storing the
// same fact again changes nothing, and no source drops what another has stored.
//
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations,verbs=get;create;patch;delete
package store

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// apiTimeout bounds one call to the API server.
	apiTimeout = 10 * time.Second
	// maxEvents is how many events a NodeTermination takes.
	maxEvents = 32
)

// Store writes facts into NodeTerminations. All of its fields are required.
type Store struct {
	// Live reads NodeTerminations from the API server, past every cache.
	Live client.Reader
	// Client writes NodeTerminations.
	Client client.Writer
	// Log gets a line for each NodeTermination that is deleted because it names a wrong node.
	Log logr.Logger
}

// Put stores a fact about the instance that the named node runs on. The caller has set the event's source.
// False without an error: the fact only ends others, and there are none. The error says why the fact cannot
// be stored; to try again does no harm.
func (s *Store) Put(ctx context.Context, fact event.Fact, nodeName string) (stored bool, err error) {
	if ptr.Deref(fact.Event.Cancelled, false) || event.Resolves(fact.Event) {
		return s.end(ctx, fact, nodeName)
	}
	err = s.add(ctx, fact, nodeName)
	return err == nil, err
}

// add stores a fact, in a NodeTermination that is created if need be.
func (s *Store) add(ctx context.Context, fact event.Fact, nodeName string) error {
	owner := v1alpha1.EventFieldManager(fact.Event.ID)
	err := s.apply(ctx, fact, nodeName, owner)
	if !apierrors.IsInvalid(err) {
		return err
	}
	existing, getErr := s.get(ctx, fact.InstanceID)
	switch {
	case getErr != nil:
		return err
	case existing != nil && existing.Spec.NodeName != nodeName:
		if err := s.deleteMismatched(ctx, existing, nodeName); err != nil {
			return err
		}
		return s.apply(ctx, fact, nodeName, owner)
	case existing != nil && len(existing.Spec.Events) >= maxEvents:
		return fmt.Errorf("NodeTermination %s is full with %d events: delete it to make room: %w", existing.Name, maxEvents, err)
	}
	return err
}

// end stores a fact that cancels or resolves others, if there is a NodeTermination for
// it: none is created for its sake.
func (s *Store) end(ctx context.Context, fact event.Fact, nodeName string) (stored bool, err error) {
	existing, err := s.get(ctx, fact.InstanceID)
	switch {
	case err != nil:
		return false, err
	case existing == nil:
		return false, nil
	case existing.Spec.NodeName != nodeName:
		return false, s.deleteMismatched(ctx, existing, nodeName)
	}
	owner := v1alpha1.EventFieldManager(fact.Event.ID)
	if ptr.Deref(fact.Event.Cancelled, false) {
		owner = v1alpha1.CancellerFieldManager(fact.Event.ID)
		for _, e := range existing.Spec.Events {
			if e.ID == fact.Event.ID && ptr.Deref(e.Cancelled, false) {
				// Applied again with less, it would remove the notBefore by which others are closed.
				return true, nil
			}
			if e.ID == fact.Event.ID { // own no more of the event than is needed
				fact.Event = v1alpha1.Event{ID: e.ID, Kind: e.Kind, Source: e.Source, Time: e.Time, Cancelled: new(true)}
			}
		}
	}
	// The UID keeps it from being created anew if it was deleted meanwhile.
	if err := s.apply(ctx, fact, nodeName, owner, existing.UID); err != nil {
		return false, err
	}
	return true, nil
}

// apply makes the event one of the NodeTermination's, which is created if need be.
func (s *Store) apply(ctx context.Context, fact event.Fact, nodeName, owner string, uid ...types.UID) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	termination := ac.NodeTermination(fact.InstanceID).WithSpec(ac.NodeTerminationSpec().
		WithInstanceID(fact.InstanceID).
		WithNodeName(nodeName).
		WithEvents(eventOf(fact.Event)))
	if fact.Account != "" {
		termination.Spec.WithInstance(ac.Instance().WithAccountID(fact.Account))
	}
	for _, id := range uid {
		termination.WithUID(id)
	}
	return s.Client.Apply(ctx, termination, client.FieldOwner(owner), client.ForceOwnership)
}

// get returns the NodeTermination of an instance, nil if there is none.
func (s *Store) get(ctx context.Context, instanceID string) (*v1alpha1.NodeTermination, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var termination v1alpha1.NodeTermination
	err := s.Live.Get(ctx, client.ObjectKey{Name: instanceID}, &termination)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &termination, err
}

// deleteMismatched deletes a NodeTermination that pairs an instance with a node
// that does not run on it: while it exists, true facts cannot be stored.
func (s *Store) deleteMismatched(ctx context.Context, termination *v1alpha1.NodeTermination, nodeName string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	err := s.Client.Delete(ctx, termination, client.Preconditions{UID: &termination.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, which names node %s instead of %s: %w",
			termination.Name, termination.Spec.NodeName, nodeName, err)
	}
	s.Log.Info("NodeTermination deleted because it named a wrong node",
		"instance", termination.Name, "node", nodeName, "wrongNode", termination.Spec.NodeName)
	return nil
}

// eventOf returns the fields of an event that are set. Others are left out, as an owner
// of an empty field would hinder others. It returns a copy, as Apply writes the server's
// answer into its argument.
func eventOf(original v1alpha1.Event) *ac.EventApplyConfiguration {
	e := original.DeepCopy()
	return &ac.EventApplyConfiguration{
		ID:             &e.ID,
		Kind:           &e.Kind,
		Source:         &e.Source,
		Time:           &e.Time,
		Deadline:       e.Deadline,
		NotBefore:      e.NotBefore,
		Description:    unlessEmpty(e.Description),
		InstanceAction: unlessEmpty(e.InstanceAction),
		LifecycleHook:  hookOf(e.LifecycleHook),
		Cancelled:      e.Cancelled,
	}
}

func hookOf(hook *v1alpha1.LifecycleHook) *ac.LifecycleHookApplyConfiguration {
	if hook == nil {
		return nil
	}
	return &ac.LifecycleHookApplyConfiguration{
		AutoScalingGroupName: &hook.AutoScalingGroupName,
		Name:                 &hook.Name,
		Token:                unlessEmpty(hook.Token),
		Destination:          unlessEmpty(hook.Destination),
	}
}

func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
