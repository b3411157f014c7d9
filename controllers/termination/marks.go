// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// ExcludedSince is when we labelled the node for load balancers to pass it over,
	// in Unix seconds; zero if we did not.
	ExcludedSince int64 `json:"excludedSince,omitempty"`
	// OutOfService is whether the out-of-service taint is ours.
	OutOfService bool `json:"outOfService,omitempty"`
}

// wanted is what is to be set on a Node besides the cordon.
type wanted struct {
	// taint is nil for none.
	taint *corev1.Taint
	// excluded is whether load balancers are to pass the node over from now on.
	excluded bool
	// outOfService is whether Kubernetes is to give up what runs on the node.
	outOfService bool
}

// outOfService lets Kubernetes delete the pods of a node by force and detach their volumes.
// https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-out-of-service
var outOfService = corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}

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

// mark makes the node unschedulable and sets what is wanted, in memory; it reports
// whether anything changed. A taint that was set for another kind of event is
// replaced; what load balancers or Kubernetes were told stands until it is undone.
func mark(node *corev1.Node, instanceID string, want wanted, now time.Time) bool {
	before, marked := marksOn(node)
	after := marks{
		InstanceID: instanceID, Unschedulable: before.Unschedulable || !node.Spec.Unschedulable,
		ExcludedSince: before.ExcludedSince, OutOfService: before.OutOfService,
	}
	if want.taint != nil {
		after.Taint = want.taint.Key
	}
	if _, labelled := node.Labels[corev1.LabelNodeExcludeBalancers]; want.excluded && !labelled && after.ExcludedSince == 0 {
		after.ExcludedSince = now.Unix()
	}
	after.OutOfService = after.OutOfService || want.outOfService && !hasTaint(node, outOfService)
	if marked && before == after && node.Spec.Unschedulable && (want.taint == nil || hasTaint(node, *want.taint)) {
		return false
	}
	node.Spec.Unschedulable = true
	removeTaint(node, before.Taint)
	if want.taint != nil {
		removeTaint(node, want.taint.Key)
		node.Spec.Taints = append(node.Spec.Taints, *want.taint)
	}
	if after.ExcludedSince != 0 {
		metav1.SetMetaDataLabel(&node.ObjectMeta, corev1.LabelNodeExcludeBalancers, v1alpha1.FieldManager)
	}
	if after.OutOfService && !hasTaint(node, outOfService) {
		node.Spec.Taints = append(node.Spec.Taints, outOfService)
	}
	return after.write(node)
}

// write writes down on the node what is set on it; false if that cannot be done.
func (m marks) write(node *corev1.Node) bool {
	text, err := json.Marshal(m)
	if err != nil {
		return false // cannot happen: marks holds only strings, booleans and a number
	}
	metav1.SetMetaDataAnnotation(&node.ObjectMeta, v1alpha1.AnnotationApplied, string(text))
	return true
}

// markInService undoes that mark declared the node out of service, in memory; it
// reports whether anything changed.
func markInService(node *corev1.Node, instanceID string) bool {
	m, marked := marksOn(node)
	if !marked || m.InstanceID != instanceID || !m.OutOfService {
		return false
	}
	m.OutOfService = false
	removeTaint(node, outOfService.Key)
	return m.write(node)
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
	if m.ExcludedSince != 0 && node.Labels[corev1.LabelNodeExcludeBalancers] == v1alpha1.FieldManager {
		delete(node.Labels, corev1.LabelNodeExcludeBalancers)
	}
	if m.OutOfService {
		removeTaint(node, outOfService.Key)
	}
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
