// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// waves is the order in which pods are evicted: the waves of the policy, then
// one of the pods that prefer to be last, then one of the operator's own pods.
type waves struct {
	policy []v1alpha1.Wave
	own    func(Pod) bool
}

func (in *Input) waves() waves {
	return waves{policy: in.Drain.WaveList(), own: in.Own}
}

// last returns the number of the last wave; the first is 0.
func (w *waves) last() int {
	return len(w.policy) + 1
}

// of returns the wave of a pod. Of the policy's it is the first that takes the pod,
// and the last takes every pod.
func (w *waves) of(pod *Pod) int {
	if w.own != nil && w.own(*pod) {
		return w.last()
	}
	if pod.Preferences.anyOf(PreferLast) {
		return len(w.policy)
	}
	for i := range w.policy {
		if w.policy[i].Takes(pod.Priority) {
			return i
		}
	}
	return len(w.policy) - 1
}

// reserve returns how long before a deadline a wave starts at the latest. Those
// after the policy's have that of its last.
func (w *waves) reserve(wave int) time.Duration {
	return w.policy[min(wave, len(w.policy)-1)].Reserve()
}

// started returns the last wave whose pods are evicted: a wave starts when the pods
// of the waves before it are gone, or when its reserve of time before a deadline
// has come. So a deadline that is past, or too near for more than one wave, makes
// one wave of all; so does a node that shuts down, or is dead, where no pod needs another any
// more, and one whose budgets are not kept any longer.
func (w *waves) started(in *Input, pods []Pod) int {
	if in.NodeDead || in.ShuttingDown || in.pastBudgets() {
		return w.last()
	}
	started := w.last()
	for i := range pods {
		started = min(started, w.of(&pods[i]))
	}
	for i := started + 1; i <= w.last() && in.hasDeadline(); i++ {
		if !in.Now.Before(in.Deadline.Add(-w.reserve(i))) {
			started = i
		}
	}
	return started
}
