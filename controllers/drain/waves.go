// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// waves are the turns in which pods are told to go: those of the policy, then
// one of the pods that ask to go last, then one of the operator's own pods.
type waves struct {
	policy []v1alpha1.Wave
	own    func(Pod) bool
}

func (in *Input) waves() waves {
	return waves{policy: in.Drain.WaveList(), own: in.Own}
}

// last is the number of the last wave; the first is 0.
func (w *waves) last() int {
	return len(w.policy) + 1
}

// of is the wave of a pod. Of the policy's it is the first that takes the pod,
// and the last takes every pod.
func (w *waves) of(pod *Pod) int {
	if w.own != nil && w.own(*pod) {
		return len(w.policy) + 1
	}
	if pod.Asks.anyOf(AsksLast) {
		return len(w.policy)
	}
	for i := range w.policy {
		if w.policy[i].Takes(pod.Priority) {
			return i
		}
	}
	return len(w.policy) - 1
}

// reserve is how long before a hard deadline a wave starts at the latest. Those
// after the policy's have that of its last.
func (w *waves) reserve(wave int) time.Duration {
	return w.policy[min(wave, len(w.policy)-1)].Reserve()
}

// started is the last wave whose pods are told to go: it is the wave's turn when
// the waves before it are gone, or when its reserve of time before a hard deadline
// has come. So a deadline that is past, or too near for more than one wave, makes
// one wave of all; so does a dead node, where no pod needs another any more.
func (w *waves) started(in *Input, pods []Pod) int {
	if in.NodeDead {
		return w.last()
	}
	started := w.last()
	for i := range pods {
		started = min(started, w.of(&pods[i]))
	}
	for i := started + 1; i <= w.last() && in.hard(); i++ {
		if !in.Now.Before(in.Deadline.Add(-w.reserve(i))) {
			started = i
		}
	}
	return started
}

// lookAtReserves makes the plan be looked at when a waiting pod's wave starts at
// the latest, be it that a later one takes it along.
func (w *waves) lookAtReserves(in *Input, plan *Plan, wave int) {
	for i := wave; i <= w.last() && in.hard(); i++ {
		plan.lookAt(in.Now, in.Deadline.Add(-w.reserve(i)))
	}
}
