// SPDX-License-Identifier: Apache-2.0

// Package drain evicts the pods of a node: a PodWatcher knows which pods a node has,
// NewPlan decides what to do about them now, and an Executor does it.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=volumeattachments,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get
package drain

import (
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxBlocked is how many blocked pods a plan names, as many as a status holds.
const maxBlocked = 10

// Plan says what to do now.
type Plan struct {
	// Actions are for every pod that has to be evicted or deleted now, including those
	// that an Executor already has: an action that is missing is cancelled.
	Actions []Action
	// NextLook is when the plan changes by the passing of time alone: always
	// after Input.Now. Zero: never.
	NextLook time.Time
	// Counts count the pods that have to leave the node.
	Counts Counts
	// Blocked are the first ten, by name, of the pods that cannot be evicted for
	// now; when TimedOut or Lost, of all that remain, and why.
	Blocked []v1alpha1.BlockedPod
	// Unblocked are those of Input.Blocked that need not be evicted any more: they
	// were, or they are gone.
	Unblocked []v1alpha1.BlockedPod
	// TimedOut: the drain took too long and is over. Nothing more is done.
	TimedOut bool
	// Lost: nothing remains but pods that a dead node cannot end. The drain is over
	// and has failed, unless somebody else removes them.
	Lost bool
	// Done: no pod that has to leave the node remains.
	Done bool
}

// Counts count pods that have to leave the node. DaemonSet pods, mirror pods, finished pods
// and those that the policy or their annotation skips are in none of them.
type Counts struct {
	// Gone is how many are known to have left the node.
	Gone int
	// Remaining is how many are still there; the others are part of it.
	Remaining int
	// Terminating is how many were evicted or deleted.
	Terminating int
	// Lost is how many of the terminating ones a dead node cannot end: their grace
	// period is over.
	Lost int
	// Blocked is how many cannot be evicted for now, or are kept by an annotation.
	Blocked int
	// Waiting is how many are in a later wave.
	Waiting int
}

// NewPlan plans a drain.
func NewPlan(in Input) Plan {
	if in.Started.IsZero() {
		in.Started = in.Now
	}
	pods := PodsToEvict(in.Pods, in.Drain)
	counts := Counts{Gone: in.gone(pods), Remaining: len(pods)}
	if len(pods) == 0 {
		return Plan{Done: true, Counts: counts, Unblocked: in.Blocked}
	}
	waves, end := in.waves(), in.timesOutAt()
	started := waves.started(&in, pods)

	plan := Plan{Counts: counts, TimedOut: !in.Now.Before(end)}
	plan.lookAt(in.Now, end)
	for i := range pods {
		if wave := waves.of(&pods[i]); wave > started && !pods[i].Terminating() {
			plan.addWaiting(&in, &waves, wave)
		} else {
			plan.add(&in, &pods[i])
		}
	}
	plan.Lost = plan.Counts.Lost == len(pods)
	plan.Unblocked = in.unblocked(pods)
	if plan.TimedOut || plan.Lost {
		plan.Blocked = nil
		for i := range pods {
			plan.block(&in, &pods[i], waves.of(&pods[i]) > started)
		}
	}
	if plan.TimedOut {
		plan.Actions, plan.NextLook = nil, time.Time{}
	}
	return plan
}

// addWaiting adds a pod of a later wave. NextLook is when that wave starts at the
// latest, or a later one that takes it along.
func (p *Plan) addWaiting(in *Input, waves *waves, wave int) {
	p.Counts.Waiting++
	p.lookAt(in.Now, in.BudgetsUntil)
	for i := wave; i <= waves.last() && in.hasDeadline(); i++ {
		p.lookAt(in.Now, in.Deadline.Add(-waves.reserve(i)))
	}
}

// add adds a pod that waits for no wave, with what is to be done about it.
func (p *Plan) add(in *Input, pod *Pod) {
	if pod.Terminating() {
		p.addTerminating(in, pod)
		return
	}
	if from, ok := in.deletesBlockedFrom(pod); ok {
		p.lookAt(in.Now, from)
	}
	kept := in.kept(pod)
	if !kept {
		p.Actions = append(p.Actions, in.evict(pod))
	}
	if _, blocked := in.Blockers[pod.UID]; kept || blocked || in.wasBlocked(pod) != nil {
		p.Counts.Blocked++
		p.block(in, pod, false)
	}
}

// addTerminating adds a pod that was evicted or deleted.
func (p *Plan) addTerminating(in *Input, pod *Pod) {
	p.Counts.Terminating++
	if in.lost(pod) {
		p.Counts.Lost++
		return
	}
	if action, shorter := in.shorten(pod); shorter {
		p.Actions = append(p.Actions, action)
	}
	if in.NodeDead {
		p.lookAt(in.Now, lostFrom(pod))
	}
}

// block names a pod among those that are blocked, if there is room.
func (p *Plan) block(in *Input, pod *Pod, waitsForWave bool) {
	if len(p.Blocked) < maxBlocked {
		p.Blocked = append(p.Blocked, in.blockedPod(pod, in.reason(pod, waitsForWave)))
	}
}

// lookAt moves NextLook to t if that is nearer and after now.
func (p *Plan) lookAt(now, t time.Time) {
	if t.After(now) && (p.NextLook.IsZero() || t.Before(p.NextLook)) {
		p.NextLook = t
	}
}

// evict returns the action for a pod that is not terminating yet.
func (in *Input) evict(pod *Pod) Action {
	action := Action{Pod: *pod, Method: Evict, Deadline: in.Deadline, Entitled: in.entitled(pod)}
	if seconds := in.Drain.GracePeriodSeconds(); seconds != nil {
		grace := int64(*seconds)
		action.Grace = &grace
	}
	if in.NodeDead && in.pastDeadline() {
		action.Grace = ptr.To(leastGrace)
	}
	blocker := in.Blockers[pod.UID]
	from, deletes := in.deletesBlockedFrom(pod)
	switch {
	case blocker.Kind == BlockedByNamespace:
		// Its budget does not count any more: the namespace's end deletes it as well.
		action.Method = Delete
	case blocker.Kind != "" && deletes && !in.Now.Before(from):
		action.Method, action.Overrides = Delete, blocker
	}
	return action
}
