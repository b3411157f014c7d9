// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Applied is what this operator has set on a Node. It is written on the Node
// itself, in the same request as the change, so that any replica can revert it,
// also after the NodeTermination was deleted.
type Applied struct {
	// InstanceID is the NodeTermination it was set for.
	InstanceID string `json:"instanceID"`
	// Unschedulable: the cordon is ours. False on a node that somebody else had
	// cordoned before.
	Unschedulable bool `json:"unschedulable,omitempty"`
	// Taint is the key of our taint, empty for none.
	Taint string `json:"taint,omitempty"`
	// Waiting: the node has WaitingTaint.
	Waiting bool `json:"waiting,omitempty"`
	// ExcludedSince is when we labelled the node for load balancers to exclude it,
	// in Unix seconds; zero if we did not.
	ExcludedSince int64 `json:"excludedSince,omitempty"`
	// OutOfService: the out-of-service taint is ours.
	OutOfService bool `json:"outOfService,omitempty"`
	// NTH: the labels of the AWS Node Termination Handler are ours.
	NTH bool `json:"nth,omitempty"`
}

// Desired is what is to be set on a Node besides the cordon.
type Desired struct {
	// Waiting: the node is not cordoned yet; it has WaitingTaint instead.
	Waiting bool
	// Taint is nil for none.
	Taint *corev1.Taint
	// Excluded: load balancers are to exclude the node from now on.
	Excluded bool
	// OutOfService: Kubernetes is to give up what runs on the node.
	OutOfService bool
	// NTH is nil for none.
	NTH *NTHLabels
}

// OutOfServiceTaint lets Kubernetes delete the pods of a node by force and detach their volumes.
// https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-out-of-service
var OutOfServiceTaint = corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}

// WaitingTaint has the scheduler prefer other nodes to those that wait for their turn: were all
// of them cordoned, the pods of the first would have nowhere to go.
var WaitingTaint = corev1.Taint{Key: v1alpha1.TaintKeyWaiting, Effect: corev1.TaintEffectPreferNoSchedule}

// maxApplied is more than the annotation ever takes, in bytes.
const maxApplied = 1 << 10

// AppliedOn reads what is set on a node; false if nothing is. An annotation that
// cannot be read counts as nothing: what is not known to be ours is not reverted.
//
// A kubelet can write annotations on its own Node, so this may be a lie: what is read from it is the
// name of an instance, and what is taken off for it is what nobody but this operator and the AWS Node
// Termination Handler set, the out-of-service taint, and a cordon, which that kubelet can lift by itself.
func AppliedOn(node *corev1.Node) (Applied, bool) {
	var applied Applied
	text, found := node.Annotations[v1alpha1.AnnotationApplied]
	if !found || len(text) > maxApplied || json.Unmarshal([]byte(text), &applied) != nil || !v1alpha1.IsInstanceID(applied.InstanceID) {
		return Applied{}, false
	}
	if !strings.HasPrefix(applied.Taint, v1alpha1.KeyPrefix) && !strings.HasPrefix(applied.Taint, v1alpha1.NTHPrefix) {
		applied.Taint = "" // somebody else's, whoever says so
	}
	return applied, true
}

// Apply makes the node unschedulable, unless it waits, and sets what is desired, in memory; it
// reports whether anything changed. A taint that was set for another kind of event is
// replaced; the label for load balancers and the out-of-service taint stand until they are reverted.
func Apply(node *corev1.Node, instanceID string, desired Desired, now time.Time) bool {
	before, found := AppliedOn(node)
	after := Applied{
		InstanceID: instanceID, Unschedulable: before.Unschedulable || !node.Spec.Unschedulable && !desired.Waiting,
		Waiting: desired.Waiting, ExcludedSince: before.ExcludedSince, OutOfService: before.OutOfService,
		NTH: desired.NTH != nil && !desired.Waiting,
	}
	if desired.Taint != nil && !desired.Waiting {
		after.Taint = desired.Taint.Key
	}
	if _, labelled := node.Labels[corev1.LabelNodeExcludeBalancers]; desired.Excluded && !labelled && after.ExcludedSince == 0 {
		after.ExcludedSince = now.Unix()
	}
	after.OutOfService = after.OutOfService || desired.OutOfService && !HasTaint(node, &OutOfServiceTaint)
	wanted := desired.Taint
	if desired.Waiting {
		wanted = &WaitingTaint
	}
	if found && before == after && (node.Spec.Unschedulable || desired.Waiting) && (wanted == nil || HasTaint(node, wanted)) &&
		(!after.NTH || desired.NTH.areOn(node)) {
		return false
	}
	node.Spec.Unschedulable = node.Spec.Unschedulable || !desired.Waiting
	before.removeTaints(node)
	if wanted != nil {
		removeTaint(node, wanted.Key)
		node.Spec.Taints = append(node.Spec.Taints, *wanted)
	}
	switch {
	case after.NTH:
		desired.NTH.setOn(node, now)
	case before.NTH:
		removeNTHLabels(node)
	}
	if after.ExcludedSince != 0 {
		metav1.SetMetaDataLabel(&node.ObjectMeta, corev1.LabelNodeExcludeBalancers, v1alpha1.FieldManager)
	}
	if after.OutOfService && !HasTaint(node, &OutOfServiceTaint) {
		node.Spec.Taints = append(node.Spec.Taints, OutOfServiceTaint)
	}
	return after.writeTo(node)
}

// writeTo writes down on the node what is set on it; false if that cannot be done.
func (a Applied) writeTo(node *corev1.Node) bool {
	text, err := json.Marshal(a)
	if err != nil {
		return false // cannot happen: it holds only strings, booleans and a number
	}
	metav1.SetMetaDataAnnotation(&node.ObjectMeta, v1alpha1.AnnotationApplied, string(text))
	return true
}

// ReturnToService reverts that Apply declared the node out of service, in memory; it
// reports whether anything changed.
func ReturnToService(node *corev1.Node, instanceID string) bool {
	applied, found := AppliedOn(node)
	if !found || applied.InstanceID != instanceID || !applied.OutOfService {
		return false
	}
	applied.OutOfService = false
	removeOutOfServiceTaint(node)
	return applied.writeTo(node)
}

// Revert reverts what Apply did for this instance, in memory; it reports whether
// anything changed. What others did to the node stays.
func Revert(node *corev1.Node, instanceID string) bool {
	applied, found := AppliedOn(node)
	if !found || applied.InstanceID != instanceID {
		return false
	}
	if applied.Unschedulable {
		node.Spec.Unschedulable = false
	}
	applied.removeTaints(node)
	if applied.ExcludedSince != 0 && node.Labels[corev1.LabelNodeExcludeBalancers] == v1alpha1.FieldManager {
		delete(node.Labels, corev1.LabelNodeExcludeBalancers)
	}
	if applied.OutOfService {
		removeOutOfServiceTaint(node)
	}
	if applied.NTH {
		removeNTHLabels(node)
	}
	delete(node.Annotations, v1alpha1.AnnotationApplied)
	return true
}

// HasTaint reports whether a node has a taint, whatever its value.
func HasTaint(node *corev1.Node, taint *corev1.Taint) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(other corev1.Taint) bool { return other.MatchTaint(taint) })
}

// removeTaints removes the taints that stand for events and for waiting.
func (a Applied) removeTaints(node *corev1.Node) {
	removeTaint(node, a.Taint)
	if a.Waiting {
		removeTaint(node, WaitingTaint.Key)
	}
}

// removeOutOfServiceTaint removes the taint as this operator sets it: one with another value or
// effect is somebody else's.
func removeOutOfServiceTaint(node *corev1.Node) {
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.MatchTaint(&OutOfServiceTaint) && taint.Value == OutOfServiceTaint.Value
	})
}

// removeTaint removes the taints with a key, empty for none.
func removeTaint(node *corev1.Node, key string) {
	if key == "" {
		return
	}
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == key })
}
