// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// LabelSelector is written like every label selector in Kubernetes. It is a type of its
// own because only lists with bounds can be validated when a policy is applied. With
// the standard type, an unknown operator would be found only during a drain.
type LabelSelector struct {
	// matchLabels selects objects that have each of these labels with exactly this
	// value. Unset: any labels.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="matchLabels has labels for keys, such as topology.kubernetes.io/zone"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are requirements that must all be met. Unset: no further
	// requirements.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="the value of a label is of at most 63 letters, digits, hyphens, dots and underscores, such as us-east-1a: patterns are not understood"
type LabelValue string

// LabelSelectorRequirement is a requirement on one label.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="operators In and NotIn need values, Exists and DoesNotExist take none"
type LabelSelectorRequirement struct {
	// key is the key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="key is a label, such as topology.kubernetes.io/zone"
	Key string `json:"key,omitempty"`

	// operator is In, NotIn, Exists or DoesNotExist.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator,omitempty"`

	// values are the values for In and NotIn. Unset: the operator is another.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('(?i)^([a-z0-9]([-a-z0-9_.]*[a-z0-9])?)?$')",message="the value of a label is of at most 63 letters, digits, hyphens, dots and underscores, such as us-east-1a: patterns are not understood"
	Values []string `json:"values,omitempty"`
}

// Labels returns labels as Kubernetes has them; nil for none.
func Labels(from map[string]LabelValue) map[string]string {
	if len(from) == 0 {
		return nil
	}
	labels := make(map[string]string, len(from))
	for key, value := range from {
		labels[key] = string(value)
	}
	return labels
}

// CheckSelectors returns what is wrong with the policy's selectors, and what comes of it:
// the API server refuses such a selector, but not in a policy that was stored before it did.
func (s *NodeTerminationPolicySpec) CheckSelectors() error {
	if _, err := s.NodeSelector.Selector(); err != nil {
		return fmt.Errorf("spec.nodeSelector selects no node: %w", err)
	}
	if s.Drain == nil {
		return nil
	}
	for i := range s.Drain.Skip {
		if _, err := s.Drain.Skip[i].PodSelector.Selector(); err != nil {
			return fmt.Errorf("spec.drain.skip[%d].podSelector skips no pod: %w", i, err)
		}
	}
	return nil
}

// Selector returns the selector in a form that matches labels. Nil and empty match
// everything. The error says which key or value is not valid for a label.
func (s *LabelSelector) Selector() (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	selector := &metav1.LabelSelector{MatchLabels: Labels(s.MatchLabels)}
	for _, e := range s.MatchExpressions {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement(e))
	}
	return metav1.LabelSelectorAsSelector(selector)
}
