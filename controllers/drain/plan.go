// SPDX-License-Identifier: Apache-2.0

// Package drain gets the pods off a node: Watches knows which pods a node has,
// Make decides what to do about them now, and an Executor does it.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
package drain

import (
	"slices"
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
	// Refusals are the pods that the Executor could not make go, by UID.
	Refusals map[types.UID]Refusal
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
	// now; when TimedOut, of all that are left, and why.
	Blocked []v1alpha1.BlockedPod
	// TimedOut: the drain took too long and is over. Nothing more is done.
	TimedOut bool
	// Done: no pod that has to go is left.
	Done bool
}

// Counts count pods that have to go. DaemonSet pods, mirror pods, finished pods
// and those the policy skips are in none of them.
type Counts struct {
	// Remaining is how many are still there; the others are part of it.
	Remaining int
	// Terminating is how many were told to go.
	Terminating int
	// Blocked is how many cannot be evicted for now.
	Blocked int
	// Waiting is how many are in a later wave.
	Waiting int
}

// Verb is how a pod is told to go.
type Verb string

const (
	// Evict respects disruption budgets.
	Evict Verb = "Evict"
	// Delete does not.
	Delete Verb = "Delete"
)

// Action tells one pod to go.
type Action struct {
	Pod  Pod
	Verb Verb
	// Grace is the grace period in seconds that it is sent with, unless less time
	// is left before the Deadline. Nil: the pod's own.
	Grace *int64
	// Deadline is when the pod has to be gone. Zero: there is no such time.
	Deadline time.Time
}

// Make plans a drain. It fails only if the policy's skip rules cannot be read;
// nothing is planned then, as it might be one of the pods to skip.
func Make(in Input) (Plan, error) {
	if in.Started.IsZero() {
		in.Started = in.Now
	}
	pods, err := leaving(in.Pods, in.Drain)
	if err != nil {
		return Plan{}, err
	}
	if len(pods) == 0 {
		return Plan{Done: true}, nil
	}
	waves := in.Drain.WaveList()
	started := in.startedWave(waves, pods)
	end := in.end()

	plan := Plan{Counts: Counts{Remaining: len(pods)}, TimedOut: !in.Now.Before(end)}
	plan.lookAt(in.Now, end)
	for _, pod := range pods {
		wave := waveOf(waves, pod)
		_, refused := in.Refusals[pod.UID]
		switch {
		case pod.Terminating():
			plan.Counts.Terminating++
			if action, shorter := in.shorten(pod); shorter {
				plan.Actions = append(plan.Actions, action)
			}
		case wave > started:
			plan.Counts.Waiting++
			for i := wave; i < len(waves) && in.hard(); i++ {
				plan.lookAt(in.Now, in.Deadline.Add(-waves[i].Reserve())) // a later wave takes this one along
			}
		default:
			if refused {
				plan.Counts.Blocked++
			}
			plan.Actions = append(plan.Actions, in.action(pod))
			if from, ok := in.deletesFrom(); ok {
				plan.lookAt(in.Now, from)
			}
		}
		if plan.TimedOut || (refused && !pod.Terminating() && wave <= started) {
			plan.block(pod, in.reason(pod, wave > started))
		}
	}
	if plan.TimedOut {
		plan.Actions, plan.NextLook = nil, time.Time{}
	}
	return plan, nil
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

// startedWave is the last wave whose pods are told to go: it is the wave's turn
// when the waves before it are gone, or when its reserve of time before a hard
// deadline has come. So a deadline that is past, or too near for more than one
// wave, makes one wave of all.
func (in *Input) startedWave(waves []v1alpha1.Wave, pods []Pod) int {
	started := len(waves) - 1
	for _, pod := range pods {
		started = min(started, waveOf(waves, pod))
	}
	if in.hard() {
		for i := range waves {
			if !in.Now.Before(in.Deadline.Add(-waves[i].Reserve())) {
				started = max(started, i)
			}
		}
	}
	return started
}

// waveOf is the first wave that takes the pod; the last takes every pod.
func waveOf(waves []v1alpha1.Wave, pod Pod) int {
	for i := range waves {
		if waves[i].Takes(pod.Priority) {
			return i
		}
	}
	return len(waves) - 1
}

// action tells a pod to go that was not told yet.
func (in *Input) action(pod Pod) Action {
	action := Action{Pod: pod, Verb: Evict, Deadline: in.Deadline}
	if seconds := in.Drain.GracePeriodSeconds(); seconds != nil {
		grace := int64(*seconds)
		action.Grace = &grace
	}
	refusal := in.Refusals[pod.UID]
	from, deletes := in.deletesFrom()
	switch {
	case refusal.Kind == RefusedByNamespace:
		// Its budget does not count any more: the namespace's end deletes it as well.
		action.Verb = Delete
	case refusal.lasting() && deletes && !in.Now.Before(from):
		action.Verb = Delete
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

func (p *Plan) block(pod Pod, reason string) {
	if len(p.Blocked) < maxBlocked {
		p.Blocked = append(p.Blocked, v1alpha1.BlockedPod{Namespace: pod.Namespace, Name: pod.Name, Reason: reason})
	}
}

// reason says why a pod is still there.
func (in *Input) reason(pod Pod, waiting bool) string {
	refusal, refused := in.Refusals[pod.UID]
	switch {
	case pod.Terminating():
		return "is still shutting down"
	case waiting:
		return "waits for the wave before it"
	case refused:
		return refusal.Reason
	default:
		return "could not be told to go yet"
	}
}

// leaving are the pods that have to go, by name.
func leaving(pods []Pod, drain *v1alpha1.DrainSpec) ([]Pod, error) {
	skip, err := newSkipRules(drain.SkipRules())
	if err != nil {
		return nil, err
	}
	var left []Pod
	for _, pod := range pods {
		if !pod.Mirror && !pod.DaemonSet && !pod.Finished && !skip.match(pod) {
			left = append(left, pod)
		}
	}
	slices.SortFunc(left, byName)
	return left, nil
}
