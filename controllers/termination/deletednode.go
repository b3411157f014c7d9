// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

const (
	// nodeTolerance is for how long an instance may be without a node: one that is made
	// anew registers within seconds.
	nodeTolerance = time.Minute
	// leftoverLook is when pods are counted again, at first, that are bound to a missing node.
	leftoverLook = 10 * time.Second
)

// absence is what is known of an instance on which no node runs.
type absence struct {
	// since is when it was first seen to have none.
	since time.Time
	// latest is until when pods are waited for that are still bound to the node's name, of
	// which so many have to go.
	latest time.Time
	pods   int
}

// mayReturn reports whether a node may yet register, whatever became of its pods.
func (a absence) mayReturn(now time.Time) bool {
	return now.Before(a.since.Add(nodeTolerance)) && now.Before(a.latest)
}

// waitsFor returns what has to pass before the node is gone, and when to look again; empty
// once it is.
func (a absence) waitsFor(now time.Time) (reason string, look time.Time) {
	none := "no node runs on the instance since " + formatTime(a.since)
	switch until := earliest(a.since.Add(nodeTolerance), a.latest); {
	case a.mayReturn(now):
		return fmt.Sprintf("%s: it is gone if none registers until %s", none, formatTime(until)), until
	case a.pods > 0 && now.Before(a.latest):
		return fmt.Sprintf("%s, and %d pods that have to go are still bound to its name: they are waited for until %s", none, a.pods, formatTime(a.latest)),
			earliest(now.Add(backOff(now.Sub(a.since), leftoverLook)), a.latest)
	}
	return "", time.Time{}
}

// maxPoll is the most time between the looks at what somebody else has to do first.
const maxPoll = 30 * time.Second

// backOff returns how long to wait before another look at what has waited for a time: half
// of that time, but not less than the least, nor more than maxPoll.
func backOff(waited, least time.Duration) time.Duration {
	return min(max(waited/2, least), maxPoll)
}

// earliest returns the earlier of two times.
func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// latestEnd returns until when a missing node may keep the termination from its end: the
// deadline of the first lifecycle hook that waits, or else drain.timeoutSeconds after it went, which
// the event's own deadline may cut short.
func latestEnd(since, deadline time.Time, hooks []v1alpha1.HookStatus, timeout time.Duration) time.Time {
	var first time.Time
	for _, hook := range lifecyclehook.Waiting(hooks) {
		if nearer(hook.Deadline.Time, first) {
			first = hook.Deadline.Time
		}
	}
	if !first.IsZero() {
		return first
	}
	end := since.Add(timeout)
	if nearer(deadline, end) {
		end = deadline
	}
	if soonest := since.Add(nodeTolerance); end.Before(soonest) {
		return soonest
	}
	return end
}

// endWithNode ends a termination whose node is gone. While it is only missing nothing is done.
func (r *Reconciler) endWithNode(ctx context.Context, s *scope) (verdict, error) {
	if s.node != nil || len(s.active()) == 0 {
		return proceed, nil
	}
	switch reason, err := r.awaitNode(ctx, s); {
	case err != nil:
		return ended, err
	case s.finished():
		return proceed, nil
	case reason != "":
		s.sayMissing(reason)
		return ended, nil
	}
	s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonNodeGone, "the node is gone")
	switch {
	case s.was(v1alpha1.StateDryRun):
		s.finish(v1alpha1.StateDryRun, "the node is gone; the policy was in mode DryRun, so nothing had been done")
	case s.was(v1alpha1.StateIgnored):
		s.finish(v1alpha1.StateIgnored, "the node is gone; nothing was to be done about it")
	case s.policy == nil && s.nt.Status.PolicyRef == nil:
		s.finishGone(v1alpha1.StateFailed, "the node is gone, and nothing was done: "+s.ungoverned)
	case s.policy != nil && s.decision.action != v1alpha1.ActionCordonAndDrain:
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonNotRequested, "no drain was asked for")
		s.finish(v1alpha1.StateCompleted, "the node is gone; no drain was asked for")
	default:
		return ended, r.endDrain(ctx, s)
	}
	return ended, nil
}

// awaitNode finds out whether the node is gone, or else what has to pass before it is.
func (r *Reconciler) awaitNode(ctx context.Context, s *scope) (reason string, err error) {
	since := s.missingSince()
	hooks := s.nt.Status.LifecycleHooks
	a := absence{since: since, latest: latestEnd(since, s.decision.deadline, hooks, s.rules().Timeout())}
	if !a.mayReturn(s.now) && (!s.finished() || len(lifecyclehook.Waiting(hooks)) > 0) {
		if a.pods, err = r.leftoverPods(ctx, s); err != nil {
			return "", err
		}
	}
	reason, look := a.waitsFor(s.now)
	s.gone = reason == ""
	s.lookAgain(look)
	return reason, nil
}

// sayMissing says that the node is missing. What was never begun keeps its state, by which
// endWithNode knows how it ends.
func (s *scope) sayMissing(reason string) {
	if s.nt.Status.StartTime == nil {
		s.setState(cmp.Or(stateIn(&s.nt.Status), v1alpha1.StateReceived), reason)
		return
	}
	s.setState(v1alpha1.StateWaiting, reason)
}

// leftoverPods returns how many pods that have to go are still bound to the name of a node
// that is missing. If another instance's node has its name by now nobody can tell.
func (r *Reconciler) leftoverPods(ctx context.Context, s *scope) (int, error) {
	if s.successor != nil {
		return 0, nil
	}
	pods, err := r.Watcher.List(ctx, s.nt.Spec.NodeName)
	if err != nil {
		return 0, err
	}
	awaited, _ := r.losses(s).part(pods)
	return len(drain.PodsToEvict(awaited, s.rules())), nil
}

// endDrain ends the drain of a node that is gone, by the pods that were not.
func (r *Reconciler) endDrain(ctx context.Context, s *scope) error {
	if err := r.countRemaining(ctx, s); err != nil {
		return err
	}
	switch pods := s.nt.Status.Pods; {
	case pods != nil && *pods.Remaining > 0:
		s.finishGone(v1alpha1.StateFailed, fmt.Sprintf("the node is gone and %d of its %d pods were not gone", *pods.Remaining, *pods.Total))
	case s.nt.Status.DrainStartTime == nil, pods == nil:
		s.finishGone(v1alpha1.StateFailed, "the node was gone before its pods were evicted")
	default:
		s.finishGone(v1alpha1.StateCompleted, "every pod that had to go was gone before the node")
	}
	return nil
}

// countRemaining counts the pods that are still bound to a node that is gone. If
// another node has its name by now the last count has to do.
func (r *Reconciler) countRemaining(ctx context.Context, s *scope) error {
	if s.successor != nil {
		return nil
	}
	pods, err := r.Watcher.List(ctx, s.nt.Spec.NodeName)
	if err != nil {
		return err
	}
	plan := r.plan(s, pods, false)
	r.recordPlan(s, &plan)
	s.nt.Status.Blocked = nil
	evict := drain.PodsToEvict(pods, s.rules())
	for i := range evict[:min(len(evict), maxOutcomes)] {
		s.recordOutcome(evict[i].Namespace, evict[i].Name, v1alpha1.PodRemaining, "was still there when its node was gone")
	}
	return nil
}

// finishGone ends the termination of a node that is gone.
func (s *scope) finishGone(state, message string) {
	s.condition(v1alpha1.ConditionDrained, state == v1alpha1.StateCompleted, v1alpha1.ReasonNodeGone, message)
	s.finish(state, message)
}
