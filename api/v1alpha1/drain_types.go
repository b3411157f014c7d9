// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// DrainSpec says how the pods are made to leave.
//
// +kubebuilder:validation:MinProperties=1
type DrainSpec struct {
	// timeoutSeconds ends a drain without a hard deadline as Failed when it takes
	// longer; nothing is deleted past a budget for its sake. One with a hard deadline
	// ends so long after that, should the instance still be there. Unset: 120.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`

	// podGracePeriodSeconds overrides the pods' own terminationGracePeriodSeconds.
	// Either is cut to the time left before a hard deadline. Unset: the pods' own.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	PodGracePeriodSeconds *int32 `json:"podGracePeriodSeconds,omitempty"`

	// waves order the pods: a wave is told to go when the last pod of the wave
	// before is gone. A pod belongs to the first wave that takes its priority.
	// Unset: pods of priority below 2000000000, then the rest (the system's own).
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(i, w, i == size(self) - 1 || has(w.priorityBelow))",message="only the last wave may leave priorityBelow out: it takes every pod that is left"
	// +kubebuilder:validation:XValidation:rule="!has(self[size(self)-1].priorityBelow)",message="the last wave takes every pod that is left: leave its priorityBelow out"
	// +kubebuilder:validation:XValidation:rule="self.all(i, w, i == 0 || !has(w.priorityBelow) || !has(self[i-1].priorityBelow) || w.priorityBelow > self[i-1].priorityBelow)",message="priorityBelow rises from wave to wave"
	Waves []Wave `json:"waves,omitempty"` //nolint:kubeapilinter // {} is the wave of every pod that is left

	// skip names pods that are left on the node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Skip []PodRule `json:"skip,omitempty"` //nolint:kubeapilinter // a rule on PodRule refuses {}

	// blockedPods says what to do about pods that a disruption budget still
	// blocks shortly before a hard deadline. Unset: Delete, 30 seconds before.
	// +optional
	BlockedPods *BlockedPods `json:"blockedPods,omitempty"`

	// podAnnotations is Honor, to let pods ask for themselves, or Ignore. The
	// annotation nodetermination.dev/drain is skip, last or wait-for-completion;
	// karpenter.sh/do-not-disrupt "true" and cluster-autoscaler.kubernetes.io/safe-to-evict
	// "false" keep a pod like a disruption budget: until blockedPods says. Unset: Honor.
	// +optional
	PodAnnotations PodAnnotations `json:"podAnnotations,omitempty"`

	// volumes is WaitForDetach, to complete a lifecycle hook only when the volumes of
	// the pods that left are detached, until the hook's deadline, or Ignore.
	// Unset: WaitForDetach.
	// +optional
	Volumes Volumes `json:"volumes,omitempty"`

	// budget limits how many nodes of the policy are drained at one time, where there
	// is time to wait. Unset: no limit.
	// +optional
	Budget *DrainBudget `json:"budget,omitempty"`
}

// PodAnnotations says whether pods may ask for themselves.
//
// +kubebuilder:validation:Enum=Honor;Ignore
type PodAnnotations string

// Whether pods may ask for themselves.
const (
	// PodAnnotationsHonor does as they ask.
	PodAnnotationsHonor PodAnnotations = "Honor"
	// PodAnnotationsIgnore treats every pod alike.
	PodAnnotationsIgnore PodAnnotations = "Ignore"
)

// Volumes says whether a hook waits for volumes.
//
// +kubebuilder:validation:Enum=WaitForDetach;Ignore
type Volumes string

// Whether a hook waits for volumes.
const (
	// VolumesWaitForDetach waits until the volumes of the drained pods are detached.
	VolumesWaitForDetach Volumes = "WaitForDetach"
	// VolumesIgnore does not.
	VolumesIgnore Volumes = "Ignore"
)

// DrainBudget limits how many nodes of a policy are drained at one time. A node
// that waits is cordoned already. Hard deadlines within five minutes do not wait,
// but count; for later ones the wait ends five minutes before, or drain.timeoutSeconds
// before if that is longer.
type DrainBudget struct {
	// maxNodes is a number of nodes, or a percentage of the nodes that the policy
	// governs, rounded down and at least 1.
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",message="maxNodes is a number from 1 on or a percentage from 1% to 100%, such as 3 or 10%"
	MaxNodes *intstr.IntOrString `json:"maxNodes,omitempty"`

	// topologyKey is a node label: the limit holds for the nodes of each of its values
	// by themselves, such as for every zone. Unset: for all nodes of the policy together.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="topologyKey is a label of nodes, such as topology.kubernetes.io/zone"
	TopologyKey string `json:"topologyKey,omitempty"`
}

// Wave is a share of the pods that is told to go together.
type Wave struct {
	// priorityBelow takes pods whose priority is lower. Unset: every pod that is left.
	// +optional
	PriorityBelow *int32 `json:"priorityBelow,omitempty"`

	// reserveSeconds starts the wave at the latest this long before a hard
	// deadline, even if pods of the wave before are still there.
	// Unset: 30 for the last wave, none for the others.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ReserveSeconds *int32 `json:"reserveSeconds,omitempty"`
}

// PodRule selects pods by namespace and labels; both must match where both are given.
//
// +kubebuilder:validation:XValidation:rule="(has(self.namespaces) && size(self.namespaces) > 0) || (has(self.podSelector) && ((has(self.podSelector.matchLabels) && size(self.podSelector.matchLabels) > 0) || (has(self.podSelector.matchExpressions) && size(self.podSelector.matchExpressions) > 0)))",message="an empty rule would skip every pod: give namespaces, podSelector or both"
type PodRule struct {
	// namespaces the pod may be in. Unset: any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="namespaces are whole names, such as kube-system: patterns are not understood"
	Namespaces []string `json:"namespaces,omitempty"`

	// podSelector selects pods by their labels. Unset: all pods of the namespaces.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`
}

// BlockedPodAction is what to do about pods that a budget still blocks.
//
// +kubebuilder:validation:Enum=Delete;Wait
type BlockedPodAction string

// What can be done about blocked pods.
const (
	// BlockedDelete deletes them, so that they still get their SIGTERM.
	BlockedDelete BlockedPodAction = "Delete"
	// BlockedWait goes on asking until the instance is gone.
	BlockedWait BlockedPodAction = "Wait"
)

// BlockedPods says what to do about pods that a disruption budget still blocks
// shortly before a hard deadline, or that the API server does not evict for another
// reason, such as an admission webhook or no answer in time.
//
// +kubebuilder:validation:XValidation:rule="self.action == 'Delete' || !has(self.beforeSeconds)",message="beforeSeconds is for action Delete: Wait never deletes"
type BlockedPods struct {
	// action is Delete, so that they still get their SIGTERM, or Wait.
	// +required
	Action BlockedPodAction `json:"action,omitempty"`

	// beforeSeconds is how long before the deadline they are deleted. Unset: 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	BeforeSeconds *int32 `json:"beforeSeconds,omitempty"`
}
