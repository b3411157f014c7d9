// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// firstRecordon is the least time between a node's first cordon against others and the
	// second; it doubles up to lastRecordon. Nobody wins a fight of two controllers.
	firstRecordon = time.Minute
	lastRecordon  = 30 * time.Minute
	// recordonReset is how long a node has to stay cordoned for that to begin anew.
	recordonReset = time.Hour
)

// recordonings is how often a node was cordoned again that others had uncordoned, and when last.
type recordonings struct {
	count int
	last  time.Time
}

// due returns from when on a node may be cordoned again: zero, at once, for the first time.
func (c recordonings) due() time.Time {
	if c.count == 0 {
		return time.Time{}
	}
	delay := firstRecordon
	for range c.count - 1 {
		delay = min(2*delay, lastRecordon)
	}
	return c.last.Add(delay)
}

// add counts that the node is cordoned again.
func (c recordonings) add(now time.Time) recordonings {
	if now.Sub(c.last) >= recordonReset {
		c.count = 0
	}
	return recordonings{count: c.count + 1, last: now}
}

// uncordonedByOthers reports whether a node was cordoned for an instance and somebody else
// has made it schedulable since: we take the annotation off in the same request.
func uncordonedByOthers(node *corev1.Node, instanceID string) bool {
	applied, _ := ec2node.AppliedOn(node)
	return applied.InstanceID == instanceID && applied.Unschedulable && !node.Spec.Unschedulable
}

// answerUncordon finds out whether somebody else has uncordoned the node. A cordon that has
// no deadline and is all that was asked for is theirs to lift. Otherwise the node stays as
// decided: cordon is to cordon it again, at once or later.
func (r *Reconciler) answerUncordon(ctx context.Context, s *scope) (verdict, error) {
	if s.node == nil || s.policy == nil || s.suspended() || len(s.active()) == 0 || !uncordonedByOthers(s.node, s.nt.Spec.InstanceID) {
		return proceed, nil
	}
	live := &corev1.Node{} // what the cache has may be older than our own cordon
	if err := r.Live.Get(ctx, types.NamespacedName{Name: s.node.Name}, live); client.IgnoreNotFound(err) != nil {
		return ended, fmt.Errorf("cannot read node %s: %w", s.node.Name, err)
	}
	if live.UID != s.node.UID || !uncordonedByOthers(live, s.nt.Spec.InstanceID) {
		return proceed, nil
	}
	s.node = live
	if s.decision.action == v1alpha1.ActionCordon && !s.hasDeadline() {
		s.cancelCordons()
		return proceed, nil
	}
	s.uncordonedByOthers = true
	if due := r.Local.get(s.nt.Name).recordonings.due(); s.now.Before(due) {
		s.recordonAt = due
		s.lookAgain(due)
	}
	return proceed, nil
}

// hasDeadline does what the function does, for the termination of the scope.
func (s *scope) hasDeadline() bool {
	return hasDeadline(s.nt, s.policy)
}

// hasDeadline reports whether AWS takes the instance at a known time because of an event
// that the policy does not ignore, whether its action drains or not.
func hasDeadline(nt *v1alpha1.NodeTermination, policy *v1alpha1.NodeTerminationPolicy) bool {
	return slices.ContainsFunc(activeEvents(nt), func(e v1alpha1.Event) bool {
		return policy.Spec.ActionFor(e.Kind) != v1alpha1.ActionIgnore && !lifecyclehook.EventDeadline(e, nt.Status.LifecycleHooks).IsZero()
	})
}

// cancelCordons cancels the events for which the node was only cordoned, in the statements
// that stand now, and decides anew. What AWS said only after the node was found uncordoned, and
// could not be cordoned again, is not what was lifted.
func (s *scope) cancelCordons() {
	lifted := s.now
	if cordoned := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionCordoned); cordoned != nil && cordoned.Status == metav1.ConditionFalse {
		lifted = cordoned.LastTransitionTime.Time
	}
	for _, e := range s.active() {
		if s.policy.Spec.ActionFor(e.Kind) != v1alpha1.ActionCordon || e.Time.After(lifted) {
			continue
		}
		i := slices.IndexFunc(s.nt.Status.Events, func(status v1alpha1.EventStatus) bool { return status.ID == e.ID })
		s.nt.Status.Events[i].State = v1alpha1.EventCancelled
		s.nt.Status.Events[i].Message = "somebody else uncordoned the node at " + formatTime(s.now)
	}
	forbidden := s.decision.forbidden
	s.decision = s.decisionFor(s.believed())
	s.decision.forbidden = forbidden
}

// noteRecordoned counts that the node was cordoned again, and has that told.
func (r *Reconciler) noteRecordoned(s *scope) {
	var again recordonings
	r.Local.update(s.nt.Name, func(known *localRecord) {
		known.recordonings = known.recordonings.add(s.now)
		again = known.recordonings
	})
	s.warning = warning{reasonCordonedAgain, fmt.Sprintf(
		"%s: somebody else uncordoned the node, and it is cordoned again. If that is repeated it is cordoned at %s at the earliest. To use the node, %s",
		s.nt.Status.Cause, formatTime(again.due()), s.howToCancel())}
}

// howToCancel returns what a person has to do to use the node again.
func (s *scope) howToCancel() string {
	var steps []string
	for _, e := range s.active() {
		step := "delete NodeTermination " + s.nt.Name
		if _, annotated := s.node.Annotations[v1alpha1.AnnotationDrain]; annotated && e.Source == v1alpha1.SourceManual {
			step = "remove its annotation " + v1alpha1.AnnotationDrain
		}
		if !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps) // or the annotation creates it again
	return strings.Join(steps, " and ")
}
