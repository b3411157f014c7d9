// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/controllers/drain"
)

// machine is an instance with the node that runs on it.
type machine struct {
	w  *world
	id string
	// state is EC2's.
	state string
	boot  int
	// nodeName is that of its Node; missing since when it has none.
	nodeName string
	missing  time.Time
	// since is when its Node was registered last.
	since time.Time
	// metadata is what its metadata service says, unread what a watcher has not read of it yet.
	metadata metadata
	waits    []*wait
	// annotated: its Node has had the annotation of a manual drain.
	annotated bool
	// inPool: its group has moved it to the warm pool.
	inPool bool
}

const providerIDPrefix = "aws:///us-east-1a/"

func (m *machine) bootID() string { return fmt.Sprintf("boot-%d", m.boot) }

// node returns the Node object; nil if there is none.
func (m *machine) node() *corev1.Node { return m.w.api.nodes[m.nodeName] }

// register makes a Node object, in place of the one before.
func (m *machine) register(name string) {
	m.unregister()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"role": "worker"}},
		Spec:       corev1.NodeSpec{ProviderID: providerIDPrefix + m.id},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{BootID: m.bootID()}},
	}
	m.w.api.create(node)
	m.w.api.nodes[name] = node
	m.nodeName, m.missing, m.since = name, time.Time{}, m.w.now
	m.setReady(m.state == "running")
}

// unregister deletes the Node object.
func (m *machine) unregister() {
	if m.node() == nil {
		return
	}
	delete(m.w.api.nodes, m.nodeName)
	m.missing = m.w.now
	m.w.nodeDeleted(m)
	name := m.nodeName
	m.w.after(time.Minute, "pods of a Node that is gone are deleted", func() {
		if m.w.api.nodes[name] == nil {
			m.w.pods.removeAll(name)
		}
	})
}

// ready returns whether the Node is Ready and since when.
func (m *machine) ready() (bool, time.Time) {
	if node := m.node(); node != nil {
		condition := node.Status.Conditions[0]
		return condition.Status == corev1.ConditionTrue, condition.LastTransitionTime.Time
	}
	return false, time.Time{}
}

func (m *machine) setReady(ready bool) {
	node := m.node()
	if node == nil {
		return
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
		node.Status.NodeInfo.BootID = m.bootID()
	}
	if len(node.Status.Conditions) == 0 || node.Status.Conditions[0].Status != status {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.NewTime(m.w.now)}}
	}
	m.w.api.write(node)
}

// start has the machine run again, and its Node Ready after a while.
func (m *machine) start(anotherBoot bool, readyAfter time.Duration) {
	m.state = "running"
	if anotherBoot {
		m.boot++
	}
	boot := m.boot
	m.w.after(readyAfter, "the node is Ready", func() {
		if m.state != "running" || m.boot != boot {
			return
		}
		if m.node() == nil {
			m.register(m.nodeName)
		}
		m.setReady(true)
		m.w.scheduleRead(m, 20*time.Second)
	})
}

// terminate has EC2 terminate the machine.
func (m *machine) terminate() {
	if m.state == "terminated" {
		return
	}
	m.w.announceState(m, "shutting-down", 0)
	m.state = "terminated"
	m.setReady(false)
	m.w.after(30*time.Second, "the instance is terminated", func() { m.w.announceState(m, "terminated", 0) })
	m.w.after(90*time.Second, "the Node of a terminated instance is deleted", m.unregister)
}

// pod is a pod that has to leave its node, unless a DaemonSet's.
type pod struct {
	drain.Pod
	m *machine
	// blocked: a disruption budget does not let it be evicted.
	blocked bool
	since   time.Time
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
}

func newPods(w *world) *pods {
	return &pods{w: w, actions: map[string][]drain.Action{}, blocked: map[string]map[types.UID]drain.Blocker{}, deleted: map[string]bool{}}
}

// add starts a pod on a node.
func (p *pods) add(m *machine, grace time.Duration, blocked, daemon bool) {
	p.made++
	p.version++
	name := fmt.Sprintf("pod-%d", p.made)
	p.all = append(p.all, &pod{m: m, blocked: blocked, since: p.w.now, Pod: drain.Pod{
		Namespace: "default", Name: name, UID: types.UID(name), Node: m.nodeName, GracePeriodSeconds: int64(grace / time.Second), Ready: true, DaemonSet: daemon,
	}})
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
		gone := pod.Terminating() && !p.w.now.Before(pod.DeletionTimestamp) && pod.m.state == "running"
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
