// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// WatcherEnvVar is a variable that a watcher reads. Others are refused, and by the
// admission policy of the watchers' namespace too: whoever could set any variable could
// give the watchers' tokens another API server.
type WatcherEnvVar struct {
	// name is the variable's: HTTPS_PROXY, HTTP_PROXY or NO_PROXY, in capitals or not,
	// GOGC, GOMAXPROCS, GOMEMLIMIT, GOTRACEBACK or TZ.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self in ['HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'https_proxy', 'http_proxy', 'no_proxy', 'GOGC', 'GOMAXPROCS', 'GOMEMLIMIT', 'GOTRACEBACK', 'TZ']",message="env has variables that watchers read: HTTPS_PROXY, HTTP_PROXY, NO_PROXY (or in small letters), GOGC, GOMAXPROCS, GOMEMLIMIT, GOTRACEBACK or TZ; where the metadata service is goes into endpoint and endpointMode, the log into logLevel and logFormat, and any other variable into the manager's --watcher-env"
	Name string `json:"name,omitempty"`

	// value is the variable's value. $(NAME) stands for a variable of the container.
	// Unset: empty.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"` //nolint:kubeapilinter // empty is a value
}

// WatcherUpdateStrategy is written like the update strategy of a DaemonSet.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.rollingUpdate) || !has(self.type) || self.type == 'RollingUpdate'",message="rollingUpdate is for type RollingUpdate: leave one of them out"
type WatcherUpdateStrategy struct {
	// type is RollingUpdate, or OnDelete: pods are replaced when somebody deletes them.
	// Unset: RollingUpdate.
	// +optional
	// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
	Type appsv1.DaemonSetUpdateStrategyType `json:"type,omitempty"`

	// rollingUpdate says how many pods are replaced at a time. Unset: 10%.
	// +optional
	RollingUpdate *WatcherRollingUpdate `json:"rollingUpdate,omitempty"`
}

// WatcherRollingUpdate says how many pods are replaced at a time.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.maxSurge) || !has(self.maxUnavailable) || self.maxUnavailable == 0 || self.maxUnavailable == '0%'",message="maxSurge starts a watcher before the old one stops, and maxUnavailable stops it first: leave one of them out"
// +kubebuilder:validation:XValidation:rule="has(self.maxSurge) || !has(self.maxUnavailable) || !(self.maxUnavailable == 0 || self.maxUnavailable == '0%')",message="with maxUnavailable 0 and no maxSurge nothing would be replaced: write maxSurge, or more for maxUnavailable"
type WatcherRollingUpdate struct {
	// maxUnavailable is how many pods are stopped at a time, before others start: a number,
	// or a percentage of the nodes, rounded up. Unset: 10%, and 0 with maxSurge.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 0 && self <= 100000) : self.matches('^(0|[1-9][0-9]?|100)%$')",message="maxUnavailable is a number or a percentage of the nodes, such as 1 or 10%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// maxSurge is how many pods are started at a time beside those that they replace: a
	// number, or a percentage of the nodes, rounded up. Unset: none.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",message="maxSurge is a number from 1 on or a percentage from 1% to 100% of the nodes, such as 1 or 10%; leave it out for none"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
}

// WatcherSecurityContext is what can be changed in the security context of a watcher's
// pod, written as it is there.
//
// +kubebuilder:validation:MinProperties=1
type WatcherSecurityContext struct {
	// runAsUser is the number of the user. Unset: that of the image, 65532.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 2147483647",message="runAsUser is a number from 1 on, such as 65532: watchers need no root"
	RunAsUser *int64 `json:"runAsUser,omitempty"`

	// runAsGroup is the number of the user's group. Unset: that of the image, 65532.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 2147483647",message="runAsGroup is a number from 1 on, such as 65532: watchers need no root"
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`

	// seccompProfile is the seccomp profile of the pod. Unset: RuntimeDefault.
	// +optional
	SeccompProfile *WatcherProfile `json:"seccompProfile,omitempty"`

	// appArmorProfile is the AppArmor profile of the pod. Unset: that of the container
	// runtime, on nodes with AppArmor.
	// +optional
	AppArmorProfile *WatcherProfile `json:"appArmorProfile,omitempty"`
}

// WatcherProfile is a profile of the container runtime or of the node.
//
// +kubebuilder:validation:XValidation:rule="has(self.localhostProfile) == (self.type == 'Localhost')",message="localhostProfile names a profile on the node: it goes with type Localhost, and with no other"
type WatcherProfile struct {
	// type is RuntimeDefault, the profile of the container runtime, or Localhost, a
	// profile on the node.
	// +required
	Type WatcherProfileType `json:"type,omitempty"`

	// localhostProfile is the profile on the node. Unset: that of the container runtime.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-./a-zA-Z0-9_]*$') && !self.contains('..')",message="localhostProfile is the profile's name, such as profiles/watcher.json"
	LocalhostProfile string `json:"localhostProfile,omitempty"`
}

// WatcherProfileType says where a profile is.
//
// +kubebuilder:validation:Enum=RuntimeDefault;Localhost
type WatcherProfileType string

// The types of a profile.
const (
	ProfileRuntimeDefault WatcherProfileType = "RuntimeDefault"
	ProfileLocalhost      WatcherProfileType = "Localhost"
)
