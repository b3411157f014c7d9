// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// suspended: its NodeTermination is, or not any more, since.
	suspended      bool
	suspendedSince time.Time
	cordon         cordon
	// busy is when it was last drained or cordoned, as its NodeTermination says.
	busy time.Time
	// held is since when only pods that have come back keep its drain from its end, and
	// returns are when such pods were evicted, of a minute.
	held    time.Time
	returns []time.Time
	// forged are the times of the state changes that were announced and did not happen.
	forged []time.Time
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
	m.cordon.since, m.cordon.lifted = time.Time{}, time.Time{}
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

// answers reports whether the kubelet runs and can be reached.
func (m *machine) answers() bool {
	_, unknown := m.unknown()
	return (m.state == "running" || m.state == "stopping") && !unknown
}

// unknown returns since when nobody knows whether the Node is Ready; false if that is known.
func (m *machine) unknown() (time.Time, bool) {
	if node := m.node(); node != nil {
		condition := node.Status.Conditions[0]
		return condition.LastTransitionTime.Time, condition.Status == corev1.ConditionUnknown
	}
	return time.Time{}, false
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
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	m.setStatus(status)
}

// setStatus sets the condition Ready.
func (m *machine) setStatus(status corev1.ConditionStatus) {
	node := m.node()
	if node == nil {
		return
	}
	if status == corev1.ConditionTrue {
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
