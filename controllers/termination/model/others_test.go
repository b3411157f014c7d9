// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// uncordon has somebody else uncordon the node, who may insist.
func uncordon(w *world, m *machine, r *rand.Rand) {
	w.uncordon(m)
	every := pick(r, []time.Duration{5 * time.Second, 40 * time.Second, 10 * time.Minute})
	for i := range r.IntN(5) {
		w.after(time.Duration(1+i)*every, "somebody uncordons the node", func() { w.uncordon(m) })
	}
}

func (w *world) uncordon(m *machine) {
	node := m.node()
	if node == nil || !node.Spec.Unschedulable {
		return
	}
	node.Spec.Unschedulable = false
	w.api.write(node)
	m.cordon.lifted = w.now
	w.uncordoned(m)
}

// tolerantPods starts pods of controllers that put them back on the node whatever it is like.
func tolerantPods(w *world, m *machine, r *rand.Rand) {
	if m.node() == nil || m.state != "running" {
		return
	}
	grace := pick(r, []time.Duration{time.Second, 10 * time.Second, 2 * time.Minute})
	owners := pick(r, []int{1, 3, 15})
	w.made++
	first := w.made
	for i := range pick(r, []int{1, 3, 15}) {
		pod := w.pods.add(m, grace, false, false)
		pod.Owner, pod.ToleratesCordon = fmt.Sprintf("owner-%d-%d", first, i%owners), true
	}
}

// unreachable has the kubelet not answer for a while, if nothing brings it back before.
func unreachable(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	m.setStatus(corev1.ConditionUnknown)
	w.after(pick(r, []time.Duration{time.Minute, 8 * time.Minute, time.Hour}), "the kubelet answers again", func() {
		if _, unknown := m.unknown(); unknown && m.state == "running" {
			m.setReady(true)
		}
	})
}

// refuseChanges has an admission webhook refuse all changes of Nodes for a while.
func refuseChanges(w *world, _ *machine, r *rand.Rand) {
	w.refusedUntil = w.now.Add(pick(r, []time.Duration{20 * time.Second, 3 * time.Minute, time.Hour}))
	w.at(w.refusedUntil, "changes of Nodes are allowed", func() {})
}

// admitNode answers for admission webhooks.
func (w *world) admitNode(before, after *corev1.Node) error {
	if w.now.Before(w.refusedUntil) {
		return apierrors.NewBadRequest(`admission webhook "nodes.example.com" denied the request: not now`)
	}
	for _, m := range w.machines {
		if m.nodeName == after.Name && w.isSuspended(m) && after.Spec.Unschedulable && !before.Spec.Unschedulable {
			w.fail("%s is cordoned in spite of the suspension", after.Name)
		}
	}
	return nil
}

// crowd is how many nodes have to stop besides the machine's for that to be doubted.
const crowd = 3

// forgeStateChanges announces that many nodes stop, of which none does.
func forgeStateChanges(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" || len(w.api.policies) != 1 {
		return
	}
	for i := range crowd {
		id := fmt.Sprintf("i-0%016x", i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other-" + id, Labels: map[string]string{"role": "worker"}}, Spec: corev1.NodeSpec{ProviderID: providerIDPrefix + id}}
		w.api.create(node)
		w.api.nodes[node.Name] = node
		stopping := v1alpha1.Event{ID: "InstanceStateChange", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: metav1.NewTime(w.now), InstanceAction: "stopping"}
		nt := &v1alpha1.NodeTermination{
			ObjectMeta: metav1.ObjectMeta{Name: id},
			Spec:       v1alpha1.NodeTerminationSpec{InstanceID: id, NodeName: node.Name, Events: []v1alpha1.Event{stopping}},
		}
		w.api.create(nt)
		w.api.terminations[id] = nt
	}
	m.forged = append(m.forged, w.now)
	w.deliverBy(r, stateDocument(w.now, m.id, "stopping"), "state stopping, which is wrong", false)
}

// suspendPolicy suspends all terminations of a policy for a while.
func suspendPolicy(w *world, _ *machine, r *rand.Rand) {
	policy := w.anyPolicy(r)
	if policy == nil || policy.Spec.Suspended() {
		return
	}
	policy.Spec.Suspend = ptr.To(true)
	w.policyChanged(policy)
	uid := policy.UID
	w.after(pick(r, []time.Duration{time.Minute, 10 * time.Minute, 2 * time.Hour}), "the policy is not suspended any more", func() {
		for i := range w.api.policies {
			if policy := &w.api.policies[i]; policy.UID == uid {
				policy.Spec.Suspend = nil
				w.policyChanged(policy)
			}
		}
	})
}

// takeTurns lets one node at a time be drained, of two.
func takeTurns(w *world, _ *machine, _ *rand.Rand) {
	for i := range w.api.policies {
		policy := &w.api.policies[i]
		policy.Spec.Drain = &v1alpha1.DrainSpec{Budget: &v1alpha1.DrainBudget{MaxNodes: ptr.To(intstr.FromInt32(1))}}
		w.policyChanged(policy)
	}
	if len(w.machines) > 1 {
		return
	}
	m := w.addMachine(anotherInstance, "node-other")
	for range 2 {
		w.pods.add(m, 30*time.Second, false, false)
	}
}
