// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

const (
	// The pods of a node that was drained are listed after firstNewcomerLook, with a
	// back-off up to newcomerLook, and every lateNewcomerLook in the last lateTime before
	// the deadline.
	firstNewcomerLook = 5 * time.Second
	newcomerLook      = time.Minute
	lateNewcomerLook  = 10 * time.Second
	lateTime          = 2 * time.Minute
)

// newcomersDue returns when the pods are listed again of a node that was drained, and last
// looked at: zero is never.
func newcomersDue(drained, looked, deadline time.Time) time.Time {
	if looked.Before(drained) {
		looked = drained
	}
	at := looked.Add(min(max(looked.Sub(drained), firstNewcomerLook), newcomerLook))
	if late := deadline.Add(-lateTime); at.After(late) {
		at = looked.Add(lateNewcomerLook)
		if at.Before(late) {
			at = late
		}
	}
	return at
}

// awaitsDeadline reports whether a node that was drained is still to be taken away at a known
// time, and pods that come to it would die with it.
func (s *scope) awaitsDeadline() bool {
	return s.node != nil && s.policy != nil && !s.policy.Spec.DryRun() && !s.suspended() && s.drained() != nil &&
		s.decision.action == v1alpha1.ActionCordonAndDrain && s.now.Before(s.decision.deadline)
}

// evictNewcomers looks for pods that have come to a node since it was drained. They are
// drained like the others, but for returners.
func (r *Reconciler) evictNewcomers(ctx context.Context, s *scope) (verdict, error) {
	if !s.awaitsDeadline() {
		return ended, nil
	}
	known := r.Local.get(s.nt.Name)
	s.evictsReturners = known.evictsReturners
	if due := newcomersDue(s.drained().LastTransitionTime.Time, known.looked, s.decision.deadline); s.now.Before(due) {
		s.lookAgain(due)
		return ended, nil
	}
	pods, err := r.Watcher.List(ctx, s.node.Name)
	if err != nil {
		return ended, err
	}
	if plan := r.plan(s, pods, false); !plan.Done {
		s.restartDrain(plan.Counts.Remaining)
		return ended, nil
	}
	r.Local.update(s.nt.Name, func(known *localRecord) { known.looked = s.now })
	s.lookAgain(newcomersDue(s.drained().LastTransitionTime.Time, s.now, s.decision.deadline))
	r.evictReturners(s, pods, false)
	return ended, nil
}

// losses returns what is known of the controllers that have lost pods on the node.
func (r *Reconciler) losses(s *scope) losses {
	l := r.Local.get(s.nt.Name).losses
	if cordoned := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionCordoned); cordoned != nil && cordoned.Status == metav1.ConditionTrue {
		l.since = cordoned.LastTransitionTime.Time
		return l
	}
	l.uncordoned = true
	l.since = ptr.Deref(s.nt.Status.DrainStartTime, metav1.Time{}).Time
	return l
}

// noteLosses takes note of the controllers whose pods go, or were gone before anybody looked.
func (r *Reconciler) noteLosses(s *scope, pods []drain.Pod) {
	present := make(map[types.UID]bool, len(pods))
	for i := range pods {
		present[pods[i].UID] = true
	}
	r.Local.update(s.nt.Name, func(known *localRecord) { known.present = present })
	for i := range pods {
		if pods[i].Terminating() && !pods[i].DaemonSet {
			r.Local.lose(s.nt.Name, pods[i].Owner)
		}
	}
	for _, gone := range r.Watcher.Gone(s.nt.Spec.NodeName) {
		r.Local.lose(s.nt.Name, gone.Owner)
	}
}

// findReturners returns the returners among the pods of a node, and counts them.
func (r *Reconciler) findReturners(s *scope, pods []drain.Pod) []drain.Pod {
	_, returners := r.losses(s).part(pods)
	returners = drain.PodsToEvict(returners, s.rules())
	s.returners = len(returners)
	return returners
}

// planReturners plans what to do about returners. all: they are evicted for the last time now,
// whatever their turn. What it chooses has to be carried out, as it counts for the next turn.
func (r *Reconciler) planReturners(s *scope, returners []drain.Pod, all bool) []drain.Action {
	if len(returners) == 0 {
		return nil
	}
	last := lastEviction(returners, s.drainBegan(), s.decision.deadline)
	if all {
		last = s.now
	}
	after, look := r.Local.get(s.nt.Name).returns.choose(returners, last, r.losses(s).uncordoned, s.now)
	r.Local.update(s.nt.Name, func(known *localRecord) { known.returns = after })
	s.lookAgain(look)
	var chosen []drain.Pod
	for i := range returners {
		if after.chosen[returners[i].UID] || returners[i].Terminating() {
			chosen = append(chosen, returners[i])
		}
	}
	return drain.NewPlan(r.planInput(s, chosen, false)).Actions
}

// evictReturners evicts the returners of a node whose drain has ended. all: see planReturners.
func (r *Reconciler) evictReturners(s *scope, pods []drain.Pod, all bool) {
	actions := r.planReturners(s, r.findReturners(s, pods), all)
	if s.evictsReturners = len(actions) > 0; s.evictsReturners || r.Local.get(s.nt.Name).evictsReturners {
		r.Executor.Set(s.nt.Name, actions)
	}
	r.Local.update(s.nt.Name, func(known *localRecord) { known.evictsReturners = s.evictsReturners })
}
