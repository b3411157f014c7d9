// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the two kinds of node-termination-operator: the
// NodeTerminationPolicy that a cluster's administrator writes, and the
// NodeTermination that records the termination of one EC2 instance.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=nodetermination.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "nodetermination.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion under the name that generated code expects.
var SchemeGroupVersion = GroupVersion

var schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers the kinds of this package with a scheme.
var AddToScheme = schemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&NodeTerminationPolicy{}, &NodeTerminationPolicyList{},
		&NodeTermination{}, &NodeTerminationList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
