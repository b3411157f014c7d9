// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// marks is what this operator has set on a Node. It is written on the Node
// itself, in the same request as the change, so that any replica can undo it,
// also after the NodeTermination was deleted.
type marks struct {
	// InstanceID is the NodeTermination they were set for.
	InstanceID string `json:"instanceID"`
	// Unschedulable is whether the cordon is ours: false on a node that somebody
	// else had cordoned before.
	Unschedulable bool `json:"unschedulable,omitempty"`
	// Taint is the key of our taint, empty for none.
	Taint string `json:"taint,omitempty"`
}

// marksOn reads what is set on a node; false if nothing is. An annotation that
// cannot be read counts as nothing: what is not known to be ours is not undone.
func marksOn(node *corev1.Node) (marks, bool) {
	var m marks
	text, found := node.Annotations[v1alpha1.AnnotationApplied]
	if !found || json.Unmarshal([]byte(text), &m) != nil || m.InstanceID == "" {
		return marks{}, false
	}
	return m, true
}

// mark makes the node unschedulable and sets the taint, in memory; it reports
// whether anything changed. A taint that was set for another kind of event is replaced.
func mark(node *corev1.Node, instanceID string, taint *corev1.Taint) bool {
	before, marked := marksOn(node)
	after := marks{InstanceID: instanceID, Unschedulable: before.Unschedulable || !node.Spec.Unschedulable}
	if taint != nil {
		after.Taint = taint.Key
	}
	if marked && before == after && node.Spec.Unschedulable && (taint == nil || hasTaint(node, *taint)) {
		return false
	}
	node.Spec.Unschedulable = true
	removeTaint(node, before.Taint)
	if taint != nil {
		removeTaint(node, taint.Key)
		node.Spec.Taints = append(node.Spec.Taints, *taint)
	}
	text, err := json.Marshal(after)
	if err != nil {
		return false // cannot happen: marks holds only strings and a boolean
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[v1alpha1.AnnotationApplied] = string(text)
	return true
}

// unmark undoes what mark did for this instance, in memory; it reports whether
// anything changed. What others did to the node stays.
func unmark(node *corev1.Node, instanceID string) bool {
	m, marked := marksOn(node)
	if !marked || m.InstanceID != instanceID {
		return false
	}
	if m.Unschedulable {
		node.Spec.Unschedulable = false
	}
	removeTaint(node, m.Taint)
	delete(node.Annotations, v1alpha1.AnnotationApplied)
	return true
}

func hasTaint(node *corev1.Node, taint corev1.Taint) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == taint.Key && t.Effect == taint.Effect
	})
}

func removeTaint(node *corev1.Node, key string) {
	if key == "" {
		return
	}
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}
