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
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",message="matchLabels has labels for keys, such as topology.kubernetes.io/zone"
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// matchExpressions are requirements that must all be met. Unset: no further
	// requirements.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelSelectorRequirement is a requirement on one label.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="operators In and NotIn need values, Exists and DoesNotExist take none"
type LabelSelectorRequirement struct {
	// key is the key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="key is a label, such as topology.kubernetes.io/zone"
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
	// +kubebuilder:validation:XValidation:rule="self.all(v, v == '' || v.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",message="values are whole values of labels, of letters, digits, hyphens, dots and underscores: patterns are not understood"
	Values []string `json:"values,omitempty"`
}

// CheckSelectors returns what is wrong with the policy's selectors that the API server
// does not refuse: values in matchLabels that no label can have.
func (s *NodeTerminationPolicySpec) CheckSelectors() error {
	if _, err := s.NodeSelector.Selector(); err != nil {
		return fmt.Errorf("spec.nodeSelector: %w", err)
	}
	if s.Drain == nil {
		return nil
	}
	for i := range s.Drain.Skip {
		if _, err := s.Drain.Skip[i].PodSelector.Selector(); err != nil {
			return fmt.Errorf("spec.drain.skip[%d].podSelector: %w", i, err)
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
	selector := &metav1.LabelSelector{MatchLabels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement(e))
	}
	return metav1.LabelSelectorAsSelector(selector)
}
