// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/termination"
)

// pod is a pod that has to leave its node, unless a DaemonSet's.
type pod struct {
	drain.Pod
	m *machine
	// blocked: a disruption budget does not let it be evicted.
	blocked bool
	// returned: its controller has started it in place of one that was evicted.
	returned bool
	since    time.Time
}

// pods are those of all nodes, with who evicts and watches them.
type pods struct {
	w       *world
	all     []*pod
	made    int
	version int // another after each change
	actions map[string][]drain.Action
	blocked map[string]map[types.UID]drain.Blocker
	// deleted are the nodes of which a pod has gone since they are watched.
	deleted map[string]bool
	// evictions is told of what was evicted.
	evictions *termination.EventRecorder
}

func newPods(w *world) *pods {
	return &pods{w: w, actions: map[string][]drain.Action{}, blocked: map[string]map[types.UID]drain.Blocker{}, deleted: map[string]bool{}}
}

// add starts a pod on a node.
func (p *pods) add(m *machine, grace time.Duration, blocked, daemon bool) *pod {
	p.made++
	p.version++
	name := fmt.Sprintf("pod-%d", p.made)
	added := &pod{m: m, blocked: blocked, since: p.w.now, Pod: drain.Pod{
		Namespace: "default", Name: name, UID: types.UID(name), Node: m.nodeName, Created: p.w.now,
		GracePeriodSeconds: int64(grace / time.Second), Ready: true, DaemonSet: daemon,
	}}
	p.all = append(p.all, added)
	return added
}

// replace has the controller of a pod that goes start another one on the same node, where the
// scheduler may put it whatever the node is like.
func (p *pods) replace(gone *pod) {
	if gone.Owner == "" {
		return
	}
	p.w.after(time.Second, "a pod of "+gone.Owner+" comes back", func() {
		if m := gone.m; m.node() != nil && m.nodeName == gone.Node && m.state == "running" {
			again := p.add(m, time.Duration(gone.GracePeriodSeconds)*time.Second, false, false)
			again.Owner, again.ToleratesCordon, again.returned = gone.Owner, true, true
		}
	})
}

// removeAll removes the pods of a node.
func (p *pods) removeAll(node string) {
	p.all = slices.DeleteFunc(p.all, func(pod *pod) bool { return pod.Node == node })
	p.deleted[node] = true
	p.version++
}

// end removes the pods whose shutdown is over, where a kubelet runs to say so.
func (p *pods) end() {
	p.all = slices.DeleteFunc(p.all, func(pod *pod) bool {
		gone := pod.Terminating() && !p.w.now.Before(pod.DeletionTimestamp) && pod.m.answers()
		if gone {
			p.deleted[pod.Node] = true
			p.version++
		}
		return gone
	})
}

// nextEnd returns when the next pod's shutdown is over; zero for none.
func (p *pods) nextEnd() time.Time {
	var next time.Time
	for _, pod := range p.all {
		if pod.Terminating() && pod.DeletionTimestamp.After(p.w.now) && (next.IsZero() || pod.DeletionTimestamp.Before(next)) {
			next = pod.DeletionTimestamp
		}
	}
	return next
}

// toEvict returns the pods that have to leave a machine. A kubelet ends what is bound to
// another name than its own.
func (p *pods) toEvict(m *machine) []*pod {
	var pods []*pod
	for _, pod := range p.all {
		if pod.m == m && pod.Node == m.nodeName && !pod.DaemonSet {
			pods = append(pods, pod)
		}
	}
	return pods
}

// Set implements termination.Executor.
func (p *pods) Set(owner string, actions []drain.Action) {
	p.actions[owner] = actions
	if actions == nil {
		delete(p.blocked, owner)
	}
}

// Blockers implements termination.Executor.
func (p *pods) Blockers(owner string) map[types.UID]drain.Blocker { return p.blocked[owner] }

// execute does what is wanted now.
func (p *pods) execute(owner string) {
	for _, action := range p.actions[owner] {
		i := slices.IndexFunc(p.all, func(pod *pod) bool { return pod.UID == action.Pod.UID })
		if i < 0 {
			continue
		}
		pod := p.all[i]
		given := action.Given(p.w.now)
		switch {
		case action.Method == drain.Evict && pod.Terminating():
		case action.Method == drain.Evict && pod.blocked:
			if p.blocked[owner] == nil {
				p.blocked[owner] = map[types.UID]drain.Blocker{}
			}
			if _, known := p.blocked[owner][pod.UID]; !known {
				p.blocked[owner][pod.UID] = drain.Blocker{Kind: drain.BlockedByBudget, Reason: "budget default/b"}
				p.version++
			}
		case pod.Terminating() && given >= pod.DeletionGracePeriodSeconds:
		default:
			p.w.evicted(owner, pod)
			p.evictions.OnEvicted(owner, action)
			p.w.checkGrace(pod, given)
			p.w.checkBudget(pod, action.Method)
			if !pod.Terminating() {
				p.replace(pod)
			}
			pod.DeletionTimestamp = p.w.now.Add(time.Duration(given) * time.Second)
			pod.DeletionGracePeriodSeconds = given
			p.version++
		}
	}
}

// Watch implements termination.PodWatcher.
func (p *pods) Watch(string) {}

// Stop implements termination.PodWatcher.
func (p *pods) Stop(node string) { delete(p.deleted, node) }

// Pods implements termination.PodWatcher.
func (p *pods) Pods(node string) ([]drain.Pod, bool) {
	var pods []drain.Pod
	for _, pod := range p.all {
		if pod.Node == node {
			pods = append(pods, pod.Pod)
		}
	}
	return pods, true
}

// List implements termination.PodWatcher.
func (p *pods) List(_ context.Context, node string) ([]drain.Pod, error) {
	pods, _ := p.Pods(node)
	return pods, nil
}

// SawDeletion implements termination.PodWatcher.
func (p *pods) SawDeletion(node string) bool { return p.deleted[node] }

// Gone returns none: a reconcile of the model misses no pod.
func (p *pods) Gone(string) []drain.Pod { return nil }

// Err implements termination.PodWatcher.
func (p *pods) Err(string) error { return nil }
