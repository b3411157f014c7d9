// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeTerminationPolicy says for a set of nodes where to listen for the end of
// their EC2 instances and what to do then.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ntp,categories=node-termination
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes`
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.activeTerminations`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +genclient
// +genclient:nonNamespaced
type NodeTerminationPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's standard metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says which nodes, which sources and what to do.
	// +required
	Spec NodeTerminationPolicySpec `json:"spec,omitzero"`

	// status says how it goes. Unset: the manager has not seen the policy yet.
	// +optional
	Status NodeTerminationPolicyStatus `json:"status,omitzero"`
}

// NodeTerminationPolicyList is a list of NodeTerminationPolicies.
//
// +kubebuilder:object:root=true
type NodeTerminationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the list's standard metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the policies.
	Items []NodeTerminationPolicy `json:"items"`
}

// NodeTerminationPolicySpec says which nodes, which sources and what to do.
type NodeTerminationPolicySpec struct {
	// nodeSelector selects nodes by their labels. Unset or empty: every EC2 node.
	// +optional
	NodeSelector *LabelSelector `json:"nodeSelector,omitempty"`

	// priority decides where several policies select a node: the highest wins,
	// then the oldest policy, then the name. Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority *int32 `json:"priority,omitempty"`

	// mode is Enforce, or DryRun: record and report what would be done, and change
	// nothing. Turned to DryRun in the middle of a drain, node and pods are left as
	// they are. Unset: Enforce.
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// instanceTag is an EC2 tag's key: only instances that have the tag, with
	// whatever value, are acted on. The manager then needs ec2:DescribeInstances, and
	// does nothing to an instance while EC2 does not answer. Unset: EC2 is not asked.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.contains('=')",message="instanceTag is a tag's key alone, such as aws-node-termination-handler/managed: its value does not matter"
	InstanceTag string `json:"instanceTag,omitempty"`

	// sources say where to listen.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.filter(s, has(s.imds)).size() <= 1",message="one imds source is enough: it hears everything the metadata service says"
	Sources []Source `json:"sources,omitempty"`

	// events say what to do for a kind of event. Kinds that are not listed keep
	// their default: CordonAndDrain, but Cordon for RebalanceRecommendation.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +kubebuilder:validation:MaxItems=16
	Events []EventRule `json:"events,omitempty"`

	// node says what to set on a node besides the cordon. Unset: nothing.
	// +optional
	Node *NodeActions `json:"node,omitempty"`

	// drain says how the pods are made to leave. Unset: every field's default.
	// +optional
	Drain *DrainSpec `json:"drain,omitempty"`

	// lifecycleHook says how Auto Scaling lifecycle hooks are kept waiting and
	// completed. Unset: every field's default.
	// +optional
	LifecycleHook *LifecycleHookSpec `json:"lifecycleHook,omitempty"`

	// webhooks are told of terminations. Unset: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Webhooks []Webhook `json:"webhooks,omitempty"`

	// kubernetesEvents says whether Kubernetes events are emitted. Unset: mode Emit.
	// +optional
	KubernetesEvents *KubernetesEvents `json:"kubernetesEvents,omitempty"`

	// ttlSecondsAfterFinished is how long a NodeTermination that has ended is kept
	// after its Node is gone. Unset: 86400.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31536000
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// KubernetesEvents says whether Kubernetes events are emitted: on the Node and the
// NodeTermination for each step, and on Pods that are told to go.
type KubernetesEvents struct {
	// mode is Emit or Disabled.
	// +required
	Mode KubernetesEventsMode `json:"mode,omitempty"`

	// annotations are put on the events. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",message="annotations' keys are names, such as example.com/team"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// KubernetesEventsMode says whether Kubernetes events are emitted.
//
// +kubebuilder:validation:Enum=Emit;Disabled
type KubernetesEventsMode string

// Whether Kubernetes events are emitted.
const (
	// KubernetesEventsEmit emits them.
	KubernetesEventsEmit KubernetesEventsMode = "Emit"
	// KubernetesEventsDisabled does not.
	KubernetesEventsDisabled KubernetesEventsMode = "Disabled"
)

// Mode says whether a policy acts.
//
// +kubebuilder:validation:Enum=Enforce;DryRun
type Mode string

// Whether a policy acts.
const (
	// ModeEnforce: nodes are cordoned and drained.
	ModeEnforce Mode = "Enforce"
	// ModeDryRun: what would be done is recorded, and nothing is changed.
	ModeDryRun Mode = "DryRun"
)

// EventAction is what is done for an event.
//
// +kubebuilder:validation:Enum=CordonAndDrain;Cordon;Ignore
type EventAction string

// What can be done for an event, strongest first.
const (
	// ActionCordonAndDrain makes the node unschedulable and its pods leave.
	ActionCordonAndDrain EventAction = "CordonAndDrain"
	// ActionCordon makes the node unschedulable and leaves its pods alone.
	ActionCordon EventAction = "Cordon"
	// ActionIgnore records the event and does nothing.
	ActionIgnore EventAction = "Ignore"
)

// EventRule says what to do for one kind of event.
//
// +kubebuilder:validation:XValidation:rule="!has(self.uncordonAfterSeconds) || self.action == 'Cordon'",message="uncordonAfterSeconds is for action Cordon: a drained node is not made schedulable again"
// +kubebuilder:validation:XValidation:rule="!has(self.startBeforeSeconds) || (self.kind == 'ScheduledMaintenance' && self.action == 'CordonAndDrain')",message="startBeforeSeconds is for kind ScheduledMaintenance with action CordonAndDrain: other events do not say when they begin"
type EventRule struct {
	// kind of event that this is about.
	// +required
	Kind EventKind `json:"kind,omitempty"`

	// action is what to do: CordonAndDrain, Cordon or Ignore.
	// +required
	Action EventAction `json:"action,omitempty"`

	// uncordonAfterSeconds lifts a cordon without a drain this long after the
	// event if nothing followed; for action Cordon. Unset: 3600 for
	// RebalanceRecommendation, never for other kinds.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=604800
	UncordonAfterSeconds *int32 `json:"uncordonAfterSeconds,omitempty"`

	// startBeforeSeconds is how long before notBefore the drain of a
	// ScheduledMaintenance begins; the cordon is at once. Unset: 86400.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=2592000
	StartBeforeSeconds *int32 `json:"startBeforeSeconds,omitempty"`
}

// NodeActions say what to set on a node besides the cordon.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerDelaySeconds) || (has(self.loadBalancers) && self.loadBalancers == 'Exclude')",message="loadBalancerDelaySeconds is for loadBalancers Exclude: without it there is nothing to wait for"
type NodeActions struct {
	// taint is set on the node together with the cordon. Unset: none.
	// +optional
	Taint *NodeTaint `json:"taint,omitempty"`

	// loadBalancers is Exclude, to label a node whose drain begins with
	// node.kubernetes.io/exclude-from-external-load-balancers so that load balancers
	// send it nothing more, or Keep. Unset: Keep.
	// https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers
	// +optional
	LoadBalancers LoadBalancers `json:"loadBalancers,omitempty"`

	// loadBalancerDelaySeconds is how long after that label the first pod is told to
	// go, and at most half of the time that is left before a hard deadline. Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	LoadBalancerDelaySeconds *int32 `json:"loadBalancerDelaySeconds,omitempty"`

	// outOfServiceTaint is WhenStopped, to set the taint
	// node.kubernetes.io/out-of-service once EC2 says that the instance is stopped or
	// terminated, so that Kubernetes deletes its pods by force and detaches their
	// volumes at once, or Never. The manager then needs ec2:DescribeInstances. Unset: Never.
	// https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
	// +optional
	OutOfServiceTaint OutOfServiceTaint `json:"outOfServiceTaint,omitempty"`
}

// LoadBalancers says whether load balancers go on sending to a node that is drained.
//
// +kubebuilder:validation:Enum=Exclude;Keep
type LoadBalancers string

// Whether load balancers go on sending to a node.
const (
	// LoadBalancersExclude takes the node out of them.
	LoadBalancersExclude LoadBalancers = "Exclude"
	// LoadBalancersKeep leaves it to them.
	LoadBalancersKeep LoadBalancers = "Keep"
)

// OutOfServiceTaint says whether a dead node is declared out of service.
//
// +kubebuilder:validation:Enum=Never;WhenStopped
type OutOfServiceTaint string

// Whether a dead node is declared out of service.
const (
	// OutOfServiceNever leaves it to others.
	OutOfServiceNever OutOfServiceTaint = "Never"
	// OutOfServiceWhenStopped does so once EC2 says stopped or terminated.
	OutOfServiceWhenStopped OutOfServiceTaint = "WhenStopped"
)

// TaintEffect is a taint's effect on pods that do not tolerate it.
//
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule
type TaintEffect string

// NodeTaint is a taint whose key is nodetermination.dev/ and the kind of the
// event in kebab case, such as nodetermination.dev/spot-interruption.
type NodeTaint struct {
	// effect of the taint: NoSchedule or PreferNoSchedule. NoExecute is not
	// offered: it deletes pods past every disruption budget.
	// +required
	Effect TaintEffect `json:"effect,omitempty"`
}

// NodeTerminationPolicyStatus says how it goes.
type NodeTerminationPolicyStatus struct {
	// conditions tell the state: Ready, SourcesReady and Overlapping.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// sources tell how each source does.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Sources []SourceStatus `json:"sources,omitempty"`

	// nodes is how many nodes the policy governs now. Unset: they were not counted yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Nodes *int32 `json:"nodes,omitempty"`

	// activeTerminations is how many terminations of its nodes are under way.
	// Unset: they were not counted yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ActiveTerminations *int32 `json:"activeTerminations,omitempty"`
}
