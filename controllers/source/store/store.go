// SPDX-License-Identifier: Apache-2.0

// Package store writes the facts that the manager's sources have received into NodeTerminations. Storing the
// same fact again, or an older one about the same thing, changes nothing, and no source drops what another has stored.
//
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminations,verbs=get;create;patch;delete
package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
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

// ErrFull is the error about a fact for which there is no room. The manager makes room within
// moments: it removes events that no longer count.
var ErrFull = errors.New("a NodeTermination has at most 32 events: if this lasts, remove some from its spec.events")

// Result is what became of a fact.
type Result int

const (
	// Stored says that the fact is in a NodeTermination.
	Stored Result = iota
	// Known says that the fact, or a later statement about the same thing, was stored
	// before. What people have deleted since is not stored again.
	Known
	// NothingToEnd says that the fact only ends others, and there are none.
	NothingToEnd
)

// Store writes facts into NodeTerminations. All of its fields but Memory are required.
type Store struct {
	// Live reads NodeTerminations from the API server, past every cache.
	Live client.Reader
	// Client writes NodeTerminations.
	Client client.Writer
	// Log gets a line for each NodeTermination that is deleted because it names a wrong node.
	Log logr.Logger
	// Clock decides whether what a cancellation ends may still be received.
	Clock clock.PassiveClock
	// Memory is of what was stored before. Nil: a fact is stored again after people have
	// deleted its NodeTermination.
	Memory *Memory
}

// Put stores a fact about the instance that the named node runs on. The caller has set the event's source.
// The error, ErrFull for one, says why the fact cannot be stored; to try again does no harm.
func (s *Store) Put(ctx context.Context, fact event.Fact, nodeName string) (Result, error) {
	if s.Memory.knows(fact.InstanceID, fact.Event) {
		return Known, nil
	}
	result, err := s.put(ctx, fact, nodeName)
	if err == nil && result == Stored {
		s.Memory.add(fact.InstanceID, fact.Event)
	}
	return result, err
}

// Revise stores a fact that is over already, if an earlier statement about the same thing is
// stored: that one may not be over. NothingToEnd: there is none.
func (s *Store) Revise(ctx context.Context, fact event.Fact, nodeName string) (Result, error) {
	existing, err := s.get(ctx, fact.InstanceID)
	if err != nil || existing == nil || isForged(existing, nodeName) || indexOf(existing, fact.Event) < 0 {
		return NothingToEnd, err
	}
	return s.update(ctx, existing, fact, nodeName)
}

// put stores a fact that is not remembered. The first try forces nothing: it is refused if
// it contradicts what is stored, which is looked at then.
func (s *Store) put(ctx context.Context, fact event.Fact, nodeName string) (Result, error) {
	if s.creates(fact.Event) {
		err := s.apply(ctx, fact, nodeName, nil)
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			return Stored, err
		}
	}
	existing, err := s.get(ctx, fact.InstanceID)
	if err != nil {
		return Stored, err
	}
	if existing != nil && isForged(existing, nodeName) {
		if err := s.deleteForged(ctx, existing, nodeName); err != nil {
			return Stored, err
		}
		existing = nil
	}
	switch {
	case existing != nil:
		return s.update(ctx, existing, fact, nodeName)
	case !s.creates(fact.Event):
		return NothingToEnd, nil
	}
	return Stored, s.apply(ctx, fact, nodeName, nil)
}

// creates reports whether a NodeTermination is created for an event: for one that plans
// something, and for the cancellation of what may be received later.
func (s *Store) creates(e v1alpha1.Event) bool {
	return !event.EndsOthers(e) || event.KeepUntil(e).After(s.Clock.Now())
}

// update stores a fact in a NodeTermination that exists. It takes over what others own of
// the event, as the canceller of an earlier version does, and moves the NodeTermination if
// its instance has registered again as a node of another name.
func (s *Store) update(ctx context.Context, existing *v1alpha1.NodeTermination, fact event.Fact, nodeName string) (Result, error) {
	i := indexOf(existing, fact.Event)
	switch {
	case i < 0 && len(existing.Spec.Events) >= maxEvents:
		return Stored, fmt.Errorf("NodeTermination %s is full: %w", existing.Name, ErrFull)
	case i >= 0 && !event.Supersedes(fact.Event, existing.Spec.Events[i]):
		s.Memory.add(fact.InstanceID, existing.Spec.Events[i])
		return Known, nil
	}
	return Stored, s.apply(ctx, fact, nodeName, existing)
}

// indexOf returns the place of what is stored about the same thing; -1 for none.
func indexOf(nt *v1alpha1.NodeTermination, e v1alpha1.Event) int {
	return slices.IndexFunc(nt.Spec.Events, func(other v1alpha1.Event) bool { return other.ID == e.ID })
}

// apply makes the event one of a NodeTermination's. Nil: it is created if need be, and nothing
// is taken over from other owners. Else it is refused if that one was deleted meanwhile.
func (s *Store) apply(ctx context.Context, fact event.Fact, nodeName string, existing *v1alpha1.NodeTermination) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	termination := ac.NodeTermination(fact.InstanceID).WithSpec(ac.NodeTerminationSpec().
		WithInstanceID(fact.InstanceID).
		WithNodeName(nodeName).
		WithEvents(eventOf(fact.Event)))
	if fact.Account != "" || fact.Region != "" {
		termination.Spec.WithInstance(&ac.InstanceApplyConfiguration{AccountID: unlessEmpty(fact.Account), Region: unlessEmpty(fact.Region)})
	}
	options := []client.ApplyOption{client.FieldOwner(v1alpha1.EventFieldManager(fact.Event.ID))}
	if existing != nil {
		termination.WithUID(existing.UID)
		options = append(options, client.ForceOwnership)
	}
	return s.Client.Apply(ctx, termination, options...)
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

// isForged reports whether a NodeTermination pairs its instance with a node that does not run on
// it, and nobody but watchers says so. Each watcher may write about its own node only.
func isForged(nt *v1alpha1.NodeTermination, nodeName string) bool {
	return nt.Spec.NodeName != nodeName && nt.Status.Node == nil && event.OnlyFromWatchers(nt.Spec.Events)
}

// deleteForged deletes a NodeTermination that isForged: what it says is not to count for the
// node that runs on the instance. It fails if anybody has stored something in it since.
func (s *Store) deleteForged(ctx context.Context, nt *v1alpha1.NodeTermination, nodeName string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	err := s.Client.Delete(ctx, nt, client.Preconditions{UID: &nt.UID, ResourceVersion: &nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, which names node %s instead of %s: %w", nt.Name, nt.Spec.NodeName, nodeName, err)
	}
	s.Log.Info("NodeTermination deleted because it named a wrong node", "instance", nt.Name, "node", nodeName, "wrongNode", nt.Spec.NodeName)
	return nil
}

// eventOf returns the fields of an event that are set, and whether it is cancelled: an owner
// that left that out would not own it. It returns a copy, as Apply writes the server's
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
		NotAfter:       e.NotAfter,
		Description:    unlessEmpty(e.Description),
		InstanceAction: unlessEmpty(e.InstanceAction),
		LifecycleHook:  hookOf(e.LifecycleHook),
		BootID:         unlessEmpty(e.BootID),
		PolicyName:     unlessEmpty(e.PolicyName),
		Cancelled:      new(ptr.Deref(e.Cancelled, false)),
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
