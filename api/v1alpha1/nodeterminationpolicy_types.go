// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NodeTerminationPolicy says for a set of nodes from which sources events about the
// termination of their EC2 instances are received, and what is done then.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ntp,categories=node-termination
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Suspend",type=boolean,JSONPath=`.spec.suspend`
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
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says which nodes the policy selects, which sources it has and what is done.
	// +required
	Spec NodeTerminationPolicySpec `json:"spec,omitzero"`

	// status is the current state of the policy. Unset: the manager has not processed
	// the policy yet.
	// +optional
	Status NodeTerminationPolicyStatus `json:"status,omitzero"`
}

// NodeTerminationPolicyList is a list of NodeTerminationPolicies.
//
// +kubebuilder:object:root=true
type NodeTerminationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items is the list of NodeTerminationPolicies.
	Items []NodeTerminationPolicy `json:"items"`
}

// NodeTerminationPolicySpec says which nodes the policy selects, which sources it has
// and what is done.
type NodeTerminationPolicySpec struct {
	// nodeSelector selects nodes by their labels. Unset or empty: every EC2 node.
	// +optional
	NodeSelector *LabelSelector `json:"nodeSelector,omitempty"`

	// priority decides which policy governs a node that several select: of those in mode
	// Enforce, or else of those in mode DryRun, the one with the highest priority, then the
	// oldest, then the first by name. Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority *int32 `json:"priority,omitempty"`

	// mode is Enforce or DryRun. In mode DryRun events are recorded, the status says
	// what would be done, and nothing is changed. If the mode changes to DryRun during
	// a drain, node and pods stay as they are. Unset: Enforce.
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// suspend stops every termination of the policy where it is, and those that begin:
	// nothing more is changed on nodes and pods, and no lifecycle hook is completed, until
	// it is false again. Events are received, and heartbeats keep groups waiting. Unset:
	// false.
	// +optional
	Suspend *bool `json:"suspend,omitempty"` //nolint:kubeapilinter // the same name and type as in Job and CronJob

	// nodeIdentity is ProviderID or PrivateDNSName: how the EC2 instance of a node is found
	// that the policy governs. With PrivateDNSName also nodes without a providerID are
	// handled, such as those of kubeadm, k3s and RKE2 without AWS's cloud controller: EC2 is
	// asked in the manager's Region which running instance has the node's name or one of its
	// InternalDNS, Hostname and InternalIP addresses. Unless that is exactly one instance, and
	// exactly one node, nothing is done, and the policy's condition NodesIdentified says why.
	// The manager needs ec2:DescribeInstances for this. Unset: ProviderID.
	// +optional
	NodeIdentity NodeIdentity `json:"nodeIdentity,omitempty"`

	// maxTerminating is how many of the policy's nodes may receive an InstanceStateChange
	// within five minutes before such messages are doubted: a number, or a percentage of
	// the nodes that the policy governs, rounded up and at least 3. Beyond that EC2 is
	// asked whether the instance is stopping before disruption budgets are passed. No
	// answer within five seconds counts as yes. The manager needs ec2:DescribeInstances
	// for this. Unset: 30%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",message="maxTerminating is a number from 1 on or a percentage from 1% to 100%, such as 10 or 30%"
	MaxTerminating *intstr.IntOrString `json:"maxTerminating,omitempty"`

	// maxUnhealthy is how many of the policy's nodes may have an InstanceStatusCheckFailed
	// at a time before nothing more is done for this kind of event: a number, or a
	// percentage of the nodes that the policy governs, rounded up. Many checks that fail
	// together are more often the fault of a network or of AWS than of the instances.
	// Nodes that are cordoned already stay so. Unset: 20%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? (self >= 1 && self <= 100000) : self.matches('^([1-9][0-9]?|100)%$')",message="maxUnhealthy is a number from 1 on or a percentage from 1% to 100%, such as 10 or 20%"
	MaxUnhealthy *intstr.IntOrString `json:"maxUnhealthy,omitempty"`

	// instanceTag is an EC2 tag, as key or as key=value. Only instances with the tag, with a
	// key alone whatever its value, are drained. The manager then needs ec2:DescribeInstances,
	// and does nothing about an instance until EC2 has answered. Unset: tags do not matter,
	// and EC2 is not asked.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=385
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^=]{1,128}(=[^=]{0,256})?$')",message="instanceTag is a tag's key of at most 128 characters, or key=value with a value of at most 256, such as aws-node-termination-handler/managed or kubernetes.io/cluster/prod=owned"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^[:space:][:cntrl:]]([^[:cntrl:]]*[^[:space:][:cntrl:]])?$')",message="instanceTag is a tag's key, or key=value, without spaces at its ends, such as aws-node-termination-handler/managed"
	InstanceTag string `json:"instanceTag,omitempty"`

	// sources are where events are received from.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.filter(s, has(s.imds)).size() <= 1",message="one imds source is enough: it reads everything in the metadata service"
	Sources []Source `json:"sources,omitempty"`

	// action is what is done for every kind of event that events do not list. Unset: the
	// default of each kind.
	// +optional
	Action EventAction `json:"action,omitempty"`

	// events say what is done for a kind of event. Kinds that are not listed have action,
	// or if that is unset their default: Cordon for RebalanceRecommendation and
	// InstanceStatusCheckFailed, CordonAndDrain for all others.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +kubebuilder:validation:MaxItems=16
	Events []EventRule `json:"events,omitempty"`

	// node says what is set on a node besides the cordon. Unset: nothing.
	// +optional
	Node *NodeActions `json:"node,omitempty"`

	// drain says how the pods of a node are evicted. Unset: the default of every
	// field.
	// +optional
	Drain *DrainSpec `json:"drain,omitempty"`

	// lifecycleHook says how Auto Scaling lifecycle hooks are kept waiting and
	// completed. Unset: the default of every field.
	// +optional
	LifecycleHook *LifecycleHookSpec `json:"lifecycleHook,omitempty"`

	// webhooks are notified of terminations. Unset: none.
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
// NodeTermination for each step, and on Pods that are evicted.
type KubernetesEvents struct {
	// mode is Emit or Disabled.
	// +required
	Mode KubernetesEventsMode `json:"mode,omitempty"`

	// annotations are added to the events. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="annotations' keys are names, such as example.com/team"
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 4096)",message="a value in annotations has at most 4096 characters: leave the rest out"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// KubernetesEventsMode says whether Kubernetes events are emitted.
//
// +kubebuilder:validation:Enum=Emit;Disabled
type KubernetesEventsMode string

// The modes of Kubernetes events.
const (
	// KubernetesEventsEmit emits them.
	KubernetesEventsEmit KubernetesEventsMode = "Emit"
	// KubernetesEventsDisabled emits none.
	KubernetesEventsDisabled KubernetesEventsMode = "Disabled"
)

// Mode says whether a policy acts.
//
// +kubebuilder:validation:Enum=Enforce;DryRun
type Mode string

// The modes of a policy.
const (
	// ModeEnforce: nodes are cordoned and drained.
	ModeEnforce Mode = "Enforce"
	// ModeDryRun: the status says what would be done, and nothing is changed.
	ModeDryRun Mode = "DryRun"
)

// NodeIdentity says how the EC2 instance of a node is found.
//
// +kubebuilder:validation:Enum=ProviderID;PrivateDNSName
type NodeIdentity string

// The values of nodeIdentity.
const (
	// NodeIdentityProviderID: by the node's spec.providerID alone.
	NodeIdentityProviderID NodeIdentity = "ProviderID"
	// NodeIdentityPrivateDNSName: of nodes without one also by the instance's private DNS
	// name or IP address.
	NodeIdentityPrivateDNSName NodeIdentity = "PrivateDNSName"
)

// NodeActions say what is set on a node besides the cordon.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerDelaySeconds) || (has(self.loadBalancers) && self.loadBalancers == 'Exclude')",message="loadBalancerDelaySeconds is for loadBalancers Exclude: without it there is nothing to wait for"
type NodeActions struct {
	// taint is set on the node together with the cordon. Unset: no taint.
	// +optional
	Taint *NodeTaint `json:"taint,omitempty"`

	// labels is NTH or None. With NTH, the node gets the labels of the AWS Node Termination
	// Handler together with the cordon: aws-node-termination-handler/action, cordon or
	// cordon-and-drain, aws-node-termination-handler/action-time, in Unix seconds, and
	// aws-node-termination-handler/event-id. They are removed with the cordon. Unset: None.
	// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/node/node.go
	// +optional
	Labels NodeLabels `json:"labels,omitempty"`

	// loadBalancers is Exclude or Keep. With Exclude, the node gets the label
	// node.kubernetes.io/exclude-from-external-load-balancers when its drain begins,
	// so that load balancers send it no new traffic. Unset: Keep.
	// https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers
	// +optional
	LoadBalancers LoadBalancers `json:"loadBalancers,omitempty"`

	// loadBalancerDelaySeconds is how long after that label was set the first pod is
	// evicted, but at most half of the time that remains before a hard deadline.
	// Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	LoadBalancerDelaySeconds *int32 `json:"loadBalancerDelaySeconds,omitempty"`

	// outOfServiceTaint is WhenStopped or Never. With WhenStopped, the node gets the
	// taint node.kubernetes.io/out-of-service when EC2 says that the instance is
	// stopped or terminated, so that Kubernetes deletes its pods by force and detaches
	// their volumes at once. The manager then needs ec2:DescribeInstances. Unset:
	// Never.
	// https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
	// +optional
	OutOfServiceTaint OutOfServiceTaint `json:"outOfServiceTaint,omitempty"`
}

// NodeLabels says which labels a node gets together with the cordon.
//
// +kubebuilder:validation:Enum=NTH;None
type NodeLabels string

// The values of labels.
const (
	// LabelsNTH are those of the AWS Node Termination Handler.
	LabelsNTH NodeLabels = "NTH"
	// LabelsNone is no label.
	LabelsNone NodeLabels = "None"
)

// LoadBalancers says whether a node that is drained is excluded from load balancers.
//
// +kubebuilder:validation:Enum=Exclude;Keep
type LoadBalancers string

// The values of loadBalancers.
const (
	// LoadBalancersExclude labels the node, so that it is excluded.
	LoadBalancersExclude LoadBalancers = "Exclude"
	// LoadBalancersKeep does not label the node.
	LoadBalancersKeep LoadBalancers = "Keep"
)

// OutOfServiceTaint says whether the node of a stopped instance gets the out-of-service
// taint.
//
// +kubebuilder:validation:Enum=Never;WhenStopped
type OutOfServiceTaint string

// The values of outOfServiceTaint.
const (
	// OutOfServiceNever never sets the taint.
	OutOfServiceNever OutOfServiceTaint = "Never"
	// OutOfServiceWhenStopped sets the taint when EC2 says that the instance is
	// stopped or terminated.
	OutOfServiceWhenStopped OutOfServiceTaint = "WhenStopped"
)

// TaintEffect is the effect of a taint on pods that do not tolerate it.
//
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule
type TaintEffect string

// TaintKeys says which keys taints have.
//
// +kubebuilder:validation:Enum=Kind;NTH
type TaintKeys string

// The values of key.
const (
	// TaintKeysKind is the kind of the event in kebab case: nodetermination.dev/spot-interruption.
	TaintKeysKind TaintKeys = "Kind"
	// TaintKeysNTH are those of the AWS Node Termination Handler, such as
	// aws-node-termination-handler/spot-itn.
	TaintKeysNTH TaintKeys = "NTH"
)

// NodeTaint is a taint that stands for the kind of an event.
type NodeTaint struct {
	// key is Kind or NTH. With Kind, the key is nodetermination.dev/ and the kind of the
	// event in kebab case, such as nodetermination.dev/spot-interruption. With NTH, key and
	// value are those of the AWS Node Termination Handler, whose value is the event's id:
	// aws-node-termination-handler/spot-itn for SpotInterruption and InstanceStateChange,
	// scheduled-maintenance, asg-lifecycle-termination and rebalance-recommendation; other
	// kinds, which it does not have, keep the key of Kind. Unset: Kind.
	// +optional
	Key TaintKeys `json:"key,omitempty"`

	// effect is NoSchedule or PreferNoSchedule. NoExecute is not supported, as it
	// deletes pods without respect for disruption budgets.
	// +required
	Effect TaintEffect `json:"effect,omitempty"`
}

// NodeTerminationPolicyStatus is the current state of a policy.
type NodeTerminationPolicyStatus struct {
	// conditions describe the state: Ready, SourcesReady,
	// Overlapping, TooManyUnhealthy and, with nodeIdentity PrivateDNSName, NodesIdentified.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is based on.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// sources hold the state of each source.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Sources []SourceStatus `json:"sources,omitempty"`

	// nodes is the number of nodes that the policy governs. Unset: they have not been
	// counted yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Nodes *int32 `json:"nodes,omitempty"`

	// activeTerminations is the number of terminations of the policy's nodes that are
	// under way. Unset: they have not been counted yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ActiveTerminations *int32 `json:"activeTerminations,omitempty"`
}
