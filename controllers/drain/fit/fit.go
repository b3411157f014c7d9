// SPDX-License-Identifier: Apache-2.0

// Package fit says whether a pod would fit on another node: by its requests, its node selector, the
// node's taints and the nodes that its volumes can be attached to. It is a forecast and not a
// scheduler: affinity, topology spread constraints, host ports and preemption are not looked at.
package fit

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/klog/v2"
)

// Pod is what decides on which nodes a pod fits.
type Pod struct {
	Requests     Resources
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	// Volumes are from where each of its volumes can be used, where that is bound.
	Volumes []*corev1.NodeSelector
	// HasAffinity: it has affinity or topology spread constraints, which are not looked at.
	HasAffinity bool
}

// NewPod takes from a pod what decides where it fits. Its volumes are not part of it.
func NewPod(pod *corev1.Pod) Pod {
	return Pod{
		Requests:     Requests(pod),
		NodeSelector: pod.Spec.NodeSelector,
		Tolerations:  pod.Spec.Tolerations,
		HasAffinity:  hasAffinity(&pod.Spec),
	}
}

// hasAffinity reports whether a pod has rules that keep it off some nodes and are not looked at.
func hasAffinity(spec *corev1.PodSpec) bool {
	required := slices.ContainsFunc(spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
		return c.WhenUnsatisfiable == corev1.DoNotSchedule
	})
	affinity := spec.Affinity
	if affinity == nil || required {
		return required
	}
	return affinity.NodeAffinity != nil && affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil ||
		affinity.PodAffinity != nil && len(affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 ||
		affinity.PodAntiAffinity != nil && len(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0
}

// Node is a node with the room that it has left.
type Node struct {
	Name          string
	Labels        map[string]string
	Taints        []corev1.Taint
	Unschedulable bool
	Free          Resources
}

// unlimited is what a node has that does not say what it has.
var unlimited = Resources{MilliCPU: math.MaxInt64 / 2, Memory: math.MaxInt64 / 2, Pods: math.MaxInt64 / 2}

// NewNode takes from a node what decides which pods fit on it. All of it is free at first.
func NewNode(node *corev1.Node) Node {
	free := newResources(node.Status.Allocatable)
	if len(node.Status.Allocatable) == 0 {
		free = unlimited
	}
	return Node{Name: node.Name, Labels: node.Labels, Taints: node.Spec.Taints, Unschedulable: node.Spec.Unschedulable, Free: free}
}

// Refuses returns why a pod does not fit on the node; empty if it does.
func (n *Node) Refuses(pod *Pod) string {
	if n.Unschedulable && !tolerates(pod, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return "is cordoned"
	}
	if short := n.Free.lacks(&pod.Requests); short != "" {
		return "has too little " + short
	}
	for key, value := range pod.NodeSelector {
		if has, found := n.Labels[key]; !found || has != value {
			return fmt.Sprintf("has no label %s=%s", key, value)
		}
	}
	for i := range n.Taints {
		taint := &n.Taints[i]
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, taint) {
			return "has the taint " + taint.ToString()
		}
	}
	for _, volume := range pod.Volumes {
		if !matches(volume, n) {
			return "cannot use its volume"
		}
	}
	return ""
}

// tolerates reports whether a pod tolerates a taint.
func tolerates(pod *Pod, taint *corev1.Taint) bool {
	return slices.ContainsFunc(pod.Tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), taint, true) })
}

// nameField is the only field of a node that a selector can name.
const nameField = "metadata.name"

// matches reports whether one of a selector's terms matches a node. One that cannot be read matches none.
func matches(selector *corev1.NodeSelector, n *Node) bool {
	return slices.ContainsFunc(selector.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
			return false
		}
		return matchAll(term.MatchExpressions, n.Labels) && matchAll(term.MatchFields, labels.Set{nameField: n.Name})
	})
}

// operators are those of node selectors, as labels has them.
var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
	corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

// matchAll reports whether labels meet all requirements.
func matchAll(requirements []corev1.NodeSelectorRequirement, set labels.Set) bool {
	return !slices.ContainsFunc(requirements, func(r corev1.NodeSelectorRequirement) bool {
		requirement, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
		return err != nil || !requirement.Matches(set)
	})
}
