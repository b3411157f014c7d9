// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// DrainSpec says how the pods of a node are evicted.
//
// +kubebuilder:validation:MinProperties=1
type DrainSpec struct {
	// timeoutSeconds is how long a drain without a hard deadline may take. After that
	// it ends as Failed; no pod is deleted past a disruption budget because of this
	// timeout. A drain with a hard deadline ends this long after the deadline if the
	// instance is still there. In one that begins between notBefore and the end of a
	// scheduled maintenance blockedPods applies after this time, and it ends this long
	// after that. Unset: 120.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`

	// podGracePeriodSeconds overrides the pods' own terminationGracePeriodSeconds.
	// Both are shortened to the time that remains before a hard deadline. Unset: each
	// pod's own.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	PodGracePeriodSeconds *int32 `json:"podGracePeriodSeconds,omitempty"`

	// waves is the order in which pods are evicted. The pods of a wave are evicted
	// when the last pod of the wave before is gone. A pod belongs to the first wave
	// that matches its priority. Unset: pods with a priority below 2000000000, then
	// all others (Kubernetes' own).
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(i, w, i == size(self) - 1 || has(w.priorityBelow))",message="only the last wave may leave priorityBelow out: it takes every pod that is left"
	// +kubebuilder:validation:XValidation:rule="!has(self[size(self)-1].priorityBelow)",message="the last wave takes every pod that is left: leave its priorityBelow out"
	// +kubebuilder:validation:XValidation:rule="self.all(i, w, i == 0 || !has(w.priorityBelow) || !has(self[i-1].priorityBelow) || w.priorityBelow > self[i-1].priorityBelow)",message="priorityBelow rises from wave to wave"
	Waves []Wave `json:"waves,omitempty"` //nolint:kubeapilinter // {} is the wave of all remaining pods

	// skip selects pods that stay on the node: they are neither evicted nor counted.
	// Unset: no pods besides those of DaemonSets, mirror pods and finished pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Skip []PodRule `json:"skip,omitempty"` //nolint:kubeapilinter // a rule on PodRule refuses {}

	// blockedPods says what happens to pods that a disruption budget still blocks
	// shortly before a hard deadline. Unset: they are deleted, with beforeSeconds unset.
	// +optional
	BlockedPods *BlockedPods `json:"blockedPods,omitempty"`

	// podAnnotations is Honor or Ignore. With Honor, annotations on pods count:
	// nodetermination.dev/drain with the value skip, last or wait-for-completion;
	// karpenter.sh/do-not-disrupt "true" and
	// cluster-autoscaler.kubernetes.io/safe-to-evict "false", which block a pod as a
	// disruption budget does, until blockedPods applies. Unset: Honor.
	// +optional
	PodAnnotations PodAnnotations `json:"podAnnotations,omitempty"`

	// volumes is WaitForDetach or Ignore. With WaitForDetach, a lifecycle hook is
	// completed only after the volumes of the evicted pods are detached, or at the
	// hook's deadline. Unset: WaitForDetach.
	// +optional
	Volumes Volumes `json:"volumes,omitempty"`

	// budget limits how many nodes of the policy are drained at the same time, as long
	// as no deadline is near. Unset: no limit.
	// +optional
	Budget *DrainBudget `json:"budget,omitempty"`

	// hold says what drains wait for that can wait. Whatever it says, the annotation
	// nodetermination.dev/hold on a Node or its NodeTermination holds the drain of that node;
	// the value says who asks for that and why. A drain with a deadline is held until five
	// minutes, or drain.timeoutSeconds if that is longer, before it. Unset: only the
	// annotation holds drains, for a day at most.
	// +optional
	Hold *DrainHold `json:"hold,omitempty"`
}

// DrainHold says what drains wait for that can wait.
//
// +kubebuilder:validation:MinProperties=1
type DrainHold struct {
	// configMapKeyRef is a key of a ConfigMap in the manager's namespace. As long as its value
	// is not empty, drains of this policy neither begin nor go on; the value says who asks for
	// that and why. The ConfigMap needs the label nodetermination.dev/webhook: "true". If it does
	// not exist, nothing is held, and the policy is not Ready. Unset: only the annotation holds drains.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`

	// maxSeconds is how long a drain without a deadline is held at most, from the first time that it is held. Unset: 86400.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	MaxSeconds *int32 `json:"maxSeconds,omitempty"`
}

// PodAnnotations says whether annotations on pods count.
//
// +kubebuilder:validation:Enum=Honor;Ignore
type PodAnnotations string

// The values of podAnnotations.
const (
	// PodAnnotationsHonor follows the annotations.
	PodAnnotationsHonor PodAnnotations = "Honor"
	// PodAnnotationsIgnore treats all pods alike.
	PodAnnotationsIgnore PodAnnotations = "Ignore"
)

// Volumes says whether a lifecycle hook waits for volumes to be detached.
//
// +kubebuilder:validation:Enum=WaitForDetach;Ignore
type Volumes string

// The values of volumes.
const (
	// VolumesWaitForDetach waits until the volumes of the evicted pods are detached.
	VolumesWaitForDetach Volumes = "WaitForDetach"
	// VolumesIgnore does not wait.
	VolumesIgnore Volumes = "Ignore"
)

// DrainBudget limits how many nodes of a policy are drained, or are cordoned without a
// deadline, at the same time. A node without a deadline that waits is not cordoned; it has the
// taint nodetermination.dev/waiting:PreferNoSchedule. A drain whose hard deadline is within five
// minutes, or within drain.timeoutSeconds if that is longer, does not wait, but counts.
// A drain with a later deadline waits until then at most.
type DrainBudget struct {
	// maxNodes is a number of nodes, or a percentage of the nodes that the policy
	// governs, rounded down and at least 1.
	// +required
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",message="maxNodes is a number from 1 on or a percentage from 1% to 100%, such as 3 or 10%"
	MaxNodes *intstr.IntOrString `json:"maxNodes,omitempty"`

	// topologyKey is the key of a node label. The limit then applies separately to the
	// nodes with each value of the label, such as the nodes of each zone. Unset: the
	// limit applies to all nodes of the policy together.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="topologyKey is a label of nodes, such as topology.kubernetes.io/zone"
	TopologyKey string `json:"topologyKey,omitempty"`
}

// Wave is a group of pods that are evicted together.
type Wave struct {
	// priorityBelow matches pods with a lower priority than this. Unset: all remaining
	// pods.
	// +optional
	PriorityBelow *int32 `json:"priorityBelow,omitempty"`

	// reserveSeconds starts the wave at the latest this long before a hard deadline,
	// even if pods of the wave before are still there. Unset: 30 for the last wave;
	// the others wait for the wave before.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ReserveSeconds *int32 `json:"reserveSeconds,omitempty"`
}

// PodRule selects pods by namespace and by labels. If both are given, both must match.
//
// +kubebuilder:validation:XValidation:rule="(has(self.namespaces) && size(self.namespaces) > 0) || (has(self.podSelector) && ((has(self.podSelector.matchLabels) && size(self.podSelector.matchLabels) > 0) || (has(self.podSelector.matchExpressions) && size(self.podSelector.matchExpressions) > 0)))",message="an empty rule would skip every pod: give namespaces, podSelector or both"
type PodRule struct {
	// namespaces are the names of the pods' namespaces. Unset: any namespace.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.all(n, !format.dns1123Label().validate(n).hasValue())",message="namespaces are whole names, such as kube-system: patterns are not understood"
	Namespaces []string `json:"namespaces,omitempty"`

	// podSelector selects pods by their labels. Unset: all pods of the namespaces.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`
}

// BlockedPodAction says what happens to pods that a disruption budget still blocks.
//
// +kubebuilder:validation:Enum=Delete;Wait
type BlockedPodAction string

// The actions for blocked pods.
const (
	// BlockedDelete deletes them, so that their containers still receive SIGTERM.
	BlockedDelete BlockedPodAction = "Delete"
	// BlockedWait goes on trying to evict them until the instance is gone.
	BlockedWait BlockedPodAction = "Wait"
)

// BlockedPods says what happens to pods that a disruption budget still blocks shortly
// before a hard deadline, or whose eviction fails for another reason, such as an
// admission webhook or a request that times out.
//
// +kubebuilder:validation:XValidation:rule="self.action == 'Delete' || !has(self.beforeSeconds)",message="beforeSeconds is for action Delete: Wait never deletes"
type BlockedPods struct {
	// action is Delete or Wait. Delete deletes the pods, so that their containers
	// still receive SIGTERM. Wait goes on trying to evict them until the instance is
	// gone.
	// +required
	Action BlockedPodAction `json:"action,omitempty"`

	// beforeSeconds is how long before the deadline the pods are deleted. Unset: each
	// pod's grace period and at least 30, but at most half of the time between the
	// moment the drain could begin and the deadline.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	BeforeSeconds *int32 `json:"beforeSeconds,omitempty"`
}
