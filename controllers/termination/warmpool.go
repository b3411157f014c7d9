// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// minServiceInterval and maxServiceInterval bound how often Auto Scaling is asked whether
	// an instance has come back from its warm pool.
	minServiceInterval = 30 * time.Second
	maxServiceInterval = 5 * time.Minute
)

// awaitService ends the events about an instance that was moved to its warm pool once Auto Scaling
// says that it is in service again: a group that launches it from there may send no message.
// Only a node that is Ready can be, so that for others nobody is asked.
func (r *Reconciler) awaitService(ctx context.Context, s *scope) {
	moved := movedToWarmPool(s.active(), s.nt.Status.LifecycleHooks)
	if len(moved) == 0 || s.node == nil || !s.finished() || s.suspended() || !lifecyclehook.Manages(s.policy) {
		return
	}
	if _, ready := ec2node.ReadySince(s.node); !ready {
		return
	}
	if due := serviceLook(s.nt.Status.CompletionTime.Time, r.Local.get(s.nt.Name).askedService); s.now.Before(due) {
		s.lookAgain(due)
		return
	}
	instance, err := r.AWS.GroupInstance(ctx, s.account(), s.nt.Spec.InstanceID)
	r.Local.update(s.nt.Name, func(known *localRecord) { known.askedService = s.now })
	switch {
	case err != nil:
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Error(err, "Cannot find out whether the instance has come back from its warm pool")
	case instance.InService():
		for i := range s.nt.Status.Events {
			if e := &s.nt.Status.Events[i]; moved[e.ID] {
				e.State = v1alpha1.EventResolved
			}
		}
		s.lookAgain(s.now)
		return
	}
	s.lookAgain(serviceLook(s.nt.Status.CompletionTime.Time, s.now))
}

// movedToWarmPool returns the IDs of the events whose group has gone on to move the instance to
// its warm pool.
func movedToWarmPool(events []v1alpha1.Event, hooks []v1alpha1.HookStatus) map[string]bool {
	moved := map[string]bool{}
	for _, e := range events {
		at := e.LifecycleHook
		if at == nil || at.Destination != event.WarmPool {
			continue
		}
		for _, hook := range hooks {
			completed := hook.State == v1alpha1.HookContinued || hook.State == v1alpha1.HookAbandoned
			if completed && hook.AutoScalingGroupName == at.AutoScalingGroupName && hook.Name == at.Name {
				moved[e.ID] = true
			}
		}
	}
	return moved
}

// serviceLook returns when Auto Scaling is asked next: at first after half a minute, and the less
// often the longer ago the termination has ended. asked is when it was last; zero if it was not.
func serviceLook(ended, asked time.Time) time.Time {
	if asked.Before(ended) {
		return ended.Add(minServiceInterval)
	}
	return asked.Add(min(max(asked.Sub(ended), minServiceInterval), maxServiceInterval))
}
