// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// reboot boots the machine; a node is NotReady meanwhile, unless that takes less than anybody notices.
func reboot(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	if noticed := r.IntN(4) > 0; noticed {
		w.logf("the node is not Ready")
		m.setReady(false)
	}
	m.start(true, pick(r, []time.Duration{20 * time.Second, 45 * time.Second, 2 * time.Minute}))
}

func flap(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	m.setReady(false)
	w.after(pick(r, []time.Duration{5 * time.Second, 40 * time.Second, 2 * time.Minute}), "the node is Ready again", func() {
		if m.state == "running" {
			m.setReady(true)
		}
	})
}

func registerAnew(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	m.unregister()
	w.after(pick(r, []time.Duration{0, time.Second, 10 * time.Second, 2 * time.Minute}), "the node registers anew", func() {
		if m.state == "running" {
			m.register(m.nodeName)
		}
	})
}

func renameNode(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	w.made++
	m.register(fmt.Sprintf("renamed-%d", w.made))
	w.renamed(m)
	restartWatcher(w, m, r)
}

func deleteNode(_ *world, m *machine, _ *rand.Rand) {
	m.unregister()
}

func schedulePod(w *world, m *machine, r *rand.Rand) {
	if node := m.node(); node != nil && !node.Spec.Unschedulable && m.state == "running" {
		w.addPod(m, r)
	}
}

// bindPod starts a pod without asking the scheduler.
func bindPod(w *world, m *machine, r *rand.Rand) {
	if m.node() != nil && m.state == "running" {
		w.addPod(m, r)
	}
}

func (w *world) addPod(m *machine, r *rand.Rand) {
	w.pods.add(m, pick(r, []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute}), r.IntN(5) == 0, r.IntN(6) == 0)
}

func changeBudget(w *world, _ *machine, r *rand.Rand) {
	if len(w.pods.all) > 0 {
		pod := pick(r, w.pods.all)
		pod.blocked, pod.since = !pod.blocked, w.now
		w.pods.version++
		for _, blocked := range w.pods.blocked {
			delete(blocked, pod.UID)
		}
	}
}

func annotate(w *world, m *machine, r *rand.Rand) {
	if node := m.node(); node != nil {
		m.annotated = true
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, v1alpha1.AnnotationDrain, pick(r, []string{"kernel", "disk"}))
		w.api.write(node)
		w.deliver(&statement{instance: m.id, id: fmt.Sprintf("manual-%s-%d", node.UID, w.made), kind: v1alpha1.Manual, source: v1alpha1.SourceManual, time: w.now, doubtful: w.down()})
		w.made++
	}
}

func removeAnnotation(w *world, m *machine, _ *rand.Rand) {
	node := m.node()
	if node == nil || node.Annotations[v1alpha1.AnnotationDrain] == "" {
		return
	}
	delete(node.Annotations, v1alpha1.AnnotationDrain)
	w.api.write(node)
	w.nodeDeleted(m)
}

func deleteTermination(w *world, m *machine, _ *rand.Rand) {
	if w.api.terminations[m.id] != nil {
		w.api.remove(m.id)
		w.api.version++
		m.suspended, m.suspendedSince = false, w.now
		w.deleted(m.id)
	}
}

func suspend(w *world, m *machine, r *rand.Rand) {
	nt := w.api.terminations[m.id]
	if nt == nil || m.suspended {
		return
	}
	set := func(uid types.UID, suspended bool) {
		if nt := w.api.terminations[m.id]; nt != nil && nt.UID == uid {
			nt.Spec.Suspend = ptr.To(suspended)
			nt.Generation++
			w.api.write(nt)
		}
		m.suspended, m.suspendedSince = suspended, w.now
	}
	set(nt.UID, true)
	uid := nt.UID
	w.after(pick(r, []time.Duration{time.Minute, 10 * time.Minute, 2 * time.Hour}), "not suspended any more", func() { set(uid, false) })
}
