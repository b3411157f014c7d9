// SPDX-License-Identifier: Apache-2.0

// Package drain gets the pods off a node: a PodWatcher knows which pods a node has,
// NewPlan decides what to do about them now, and an Executor does it.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=volumeattachments,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get
package drain

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxBlocked is how many blocked pods a plan names, as many as a status holds.
const maxBlocked = 10

// Input is everything a plan is made from.
type Input struct {
	// Pods are all pods of the node, whether they have to go or not.
	Pods []Pod
	// Drain is the policy's way to drain; nil is every default.
	Drain *v1alpha1.DrainSpec
	// Deadline is when the instance is taken. Zero: the drain is soft, and
	// budgets and grace periods are kept whatever happens.
	Deadline time.Time
	// Started is when the drain began. Zero: now.
	Started time.Time
	// Now is the time the plan is made for.
	Now time.Time
	// Blockers are the pods that the Executor could not make go, by UID.
	Blockers map[types.UID]Blocker
	// Blocked are those of the plan before. A pod stays one of them until it is told
	// to go: a moment without a blocker may be no more than another attempt.
	Blocked []v1alpha1.BlockedPod
	// Own is whether a pod is one of the operator's own, which go last of all: who
	// is told to go cannot see to the others. Nil: none is.
	Own func(Pod) bool
	// NodeDead: the instance is stopped or terminated, so that no kubelet says that
	// a pod has ended. All pods are told to go at once, whatever their annotations
	// ask for, and none is waited for past its grace period.
	NodeDead bool
}

// Plan says what to do now.
type Plan struct {
	// Actions are for every pod that has to be told to go now, including those
	// an Executor is at already: an action that is missing is called off.
	Actions []Action
	// NextLook is when the plan changes by the passing of time alone: always
	// after Input.Now. Zero: never.
	NextLook time.Time
	// Counts count the pods that have to go and are still there.
	Counts Counts
	// Blocked are the first ten, by name, of the pods that cannot be evicted for
	// now; when TimedOut or Lost, of all that are left, and why.
	Blocked []v1alpha1.BlockedPod
	// Unblocked are those of Input.Blocked that need not be told to go any more: they
	// were, or they are gone.
	Unblocked []v1alpha1.BlockedPod
	// TimedOut: the drain took too long and is over. Nothing more is done.
	TimedOut bool
	// Lost: nothing is left but pods that a dead node cannot end. The drain is over
	// and has failed, unless somebody else removes them.
	Lost bool
	// Done: no pod that has to go is left.
	Done bool
}

// Counts count pods that have to go. DaemonSet pods, mirror pods, finished pods
// and those that the policy or their annotation skips are in none of them.
type Counts struct {
	// Remaining is how many are still there; the others are part of it.
	Remaining int
	// Terminating is how many were told to go.
	Terminating int
	// Lost is how many of the terminating ones a dead node cannot end: their grace
	// period is over.
	Lost int
	// Blocked is how many cannot be evicted for now, or are kept by an annotation.
	Blocked int
	// Waiting is how many are in a later wave.
	Waiting int
}

// Method is how a pod is told to go.
type Method string

const (
	// Evict respects disruption budgets.
	Evict Method = "Evict"
	// Delete does not.
	Delete Method = "Delete"
)

// Action tells one pod to go.
type Action struct {
	Pod    Pod
	Method Method
	// Grace is the grace period in seconds that it is sent with, unless less time
	// is left before the Deadline. Nil: the pod's own.
	Grace *int64
	// Entitled is the grace period in seconds that the pod has without a deadline.
	Entitled int64
	// Overrides is the blocker that a Delete goes past. The zero value is none.
	Overrides Blocker
	// Deadline is when the pod has to be gone. Zero: there is no such time.
	Deadline time.Time
}

// NewPlan plans a drain. It fails only if the policy's skip rules cannot be read;
// nothing is planned then, as it might be one of the pods to skip.
func NewPlan(in Input) (Plan, error) {
	if in.Started.IsZero() {
		in.Started = in.Now
	}
	pods, err := PodsToEvict(in.Pods, in.Drain)
	if err != nil {
		return Plan{}, err
	}
	if len(pods) == 0 {
		return Plan{Done: true, Unblocked: in.Blocked}, nil
	}
	waves, end := in.waves(), in.end()
	started := waves.started(&in, pods)

	plan := Plan{Counts: Counts{Remaining: len(pods)}, TimedOut: !in.Now.Before(end)}
	plan.lookAt(in.Now, end)
	for i := range pods {
		if wave := waves.of(&pods[i]); wave > started && !pods[i].Terminating() {
			plan.Counts.Waiting++
			waves.lookAtReserves(&in, &plan, wave)
		} else {
			in.see(&plan, &pods[i])
		}
	}
	plan.Lost = plan.Counts.Lost == len(pods)
	plan.Unblocked = in.unblocked(pods)
	if plan.TimedOut || plan.Lost {
		plan.Blocked = nil
		for i := range pods {
			in.block(&plan, &pods[i], in.reason(&pods[i], waves.of(&pods[i]) > started))
		}
	}
	if plan.TimedOut {
		plan.Actions, plan.NextLook = nil, time.Time{}
	}
	return plan, nil
}

// see adds to the plan what is to be done about a pod that waits for no wave.
func (in *Input) see(plan *Plan, pod *Pod) {
	if pod.Terminating() {
		in.await(plan, pod)
		return
	}
	if from, ok := in.deletesFrom(); ok {
		plan.lookAt(in.Now, from)
	}
	kept := in.kept(pod)
	if !kept {
		plan.Actions = append(plan.Actions, in.action(*pod))
	}
	if _, refused := in.Blockers[pod.UID]; kept || refused || in.wasBlocked(pod) != nil {
		plan.Counts.Blocked++
		in.block(plan, pod, in.reason(pod, false))
	}
}

// await adds to the plan a pod that was told to go.
func (in *Input) await(plan *Plan, pod *Pod) {
	plan.Counts.Terminating++
	if in.lost(pod) {
		plan.Counts.Lost++
		return
	}
	if action, shorter := in.shorten(*pod); shorter {
		plan.Actions = append(plan.Actions, action)
	}
	if in.NodeDead {
		plan.lookAt(in.Now, lostFrom(pod))
	}
}

// lost is whether a pod should have ended, and nobody will say that it has.
func (in *Input) lost(pod *Pod) bool {
	return in.NodeDead && pod.Terminating() && !in.Now.Before(lostFrom(pod))
}

// lostFrom is from when on a terminating pod on a dead node is not waited for.
func lostFrom(pod *Pod) time.Time {
	return pod.DeletionTimestamp.Add(clockTolerance)
}

// hard is whether the instance is taken at a known time.
func (in *Input) hard() bool {
	return !in.Deadline.IsZero()
}

// end is when the drain is given up. A hard one is not before its deadline.
func (in *Input) end() time.Time {
	from := in.Started
	if in.Deadline.After(from) {
		from = in.Deadline
	}
	return from.Add(in.Drain.Timeout())
}

// action tells a pod to go that was not told yet.
func (in *Input) action(pod Pod) Action {
	action := Action{Pod: pod, Method: Evict, Deadline: in.Deadline, Entitled: in.entitled(&pod)}
	if seconds := in.Drain.GracePeriodSeconds(); seconds != nil {
		grace := int64(*seconds)
		action.Grace = &grace
	}
	blocker := in.Blockers[pod.UID]
	from, deletes := in.deletesFrom()
	switch {
	case blocker.Kind == BlockedByNamespace:
		// Its budget does not count any more: the namespace's end deletes it as well.
		action.Method = Delete
	case blocker.Kind != "" && deletes && !in.Now.Before(from):
		action.Method, action.Overrides = Delete, blocker
	}
	return action
}

// deletesFrom is from when on pods that cannot be evicted are deleted; false: never.
func (in *Input) deletesFrom() (time.Time, bool) {
	before, deletes := in.Drain.DeletesBlocked()
	return in.Deadline.Add(-before), deletes && in.hard()
}

// lookAt moves NextLook to t if that is nearer and after now.
func (p *Plan) lookAt(now, t time.Time) {
	if t.After(now) && (p.NextLook.IsZero() || t.Before(p.NextLook)) {
		p.NextLook = t
	}
}
