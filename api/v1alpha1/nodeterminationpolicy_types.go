// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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

// Source is one place to listen at.
//
// +kubebuilder:validation:XValidation:rule="has(self.sqs) != has(self.imds)",message="a source is exactly one of sqs and imds: for the metadata service of each node write imds: {}"
type Source struct {
	// name tells the sources of a policy apart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a source's name is lower-case letters, digits and hyphens, such as queue"
	Name string `json:"name,omitempty"`

	// sqs listens to an SQS queue. Unset: this source is of another type.
	// +optional
	SQS *SQSSource `json:"sqs,omitempty"`

	// imds listens to the instance metadata service of each selected node, with a
	// watcher pod there. Unset: this source is of another type.
	// +optional
	IMDS *IMDSSource `json:"imds,omitempty"`
}

// IMDSSource is the instance metadata service of the nodes themselves.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
type IMDSSource struct {
	// pollIntervalSeconds is how often a watcher asks for a spot notice. It asks for
	// what leaves more time at most every 10 seconds, for maintenance every 30. Unset: 2.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	PollIntervalSeconds *int32 `json:"pollIntervalSeconds,omitempty"`

	// metricsPort is the port at which each watcher serves metrics, without
	// authentication; with the host's network it is one of the node's. Unset: no
	// metrics are served and no port is opened.
	// +optional
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65535
	MetricsPort *int32 `json:"metricsPort,omitempty"`

	// podTemplate changes the watchers' pods. Unset: every field's default.
	// +optional
	PodTemplate *WatcherPodTemplate `json:"podTemplate,omitempty"`
}

// WatcherPodTemplate is what can be changed of the watchers' pods.
//
// +kubebuilder:validation:MinProperties=1
type WatcherPodTemplate struct {
	// resources of the watcher's container. Unset: requests of 5m CPU and 24Mi
	// memory, a limit of 64Mi memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// tolerations of the pods. Unset: every taint is tolerated.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// priorityClassName of the pods. Unset: system-node-critical.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="priorityClassName is a PriorityClass's name, such as system-node-critical"
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// hostNetwork is whether the pods use the node's network; without it the
	// instances' metadata hop limit must be at least 2. Unset: true.
	// +optional
	HostNetwork *bool `json:"hostNetwork,omitempty"` //nolint:kubeapilinter // the name and type of the field in a pod

	// labels are added to the pods'. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",message="labels has labels for keys, such as example.com/team"
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are added to the pods'. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",message="annotations' keys are names, such as example.com/team"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// UnknownInstances says what becomes of a message about an instance that is no
// node of this cluster.
//
// +kubebuilder:validation:Enum=Retain;Discard
type UnknownInstances string

// What becomes of messages about unknown instances.
const (
	// UnknownRetain gives the message back to the queue, where the instance may
	// yet become a node or another cluster may read it, for up to 15 minutes.
	UnknownRetain UnknownInstances = "Retain"
	// UnknownDiscard deletes the message.
	UnknownDiscard UnknownInstances = "Discard"
)

// SQSSource is a standard SQS queue that EventBridge, SNS or an Auto Scaling group writes to.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
type SQSSource struct {
	// queueURL is the queue's address. http is accepted for endpoints on this
	// machine's own network, such as a simulator's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@[:space:]]+/[^?#[:space:]]*[^/?#[:space:]]$')",message="queueURL is the queue's whole address, such as https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
	// +kubebuilder:validation:XValidation:rule="!self.endsWith('.fifo')",message="FIFO queues are not supported, as EventBridge and Auto Scaling give no group ID: use a standard queue"
	// +kubebuilder:validation:XValidation:rule="!(self.startsWith('http:') && self.contains('.amazonaws.'))",message="http sends everything in clear: AWS is at https"
	QueueURL string `json:"queueURL,omitempty"`

	// region is the queue's AWS region. Unset: taken from queueURL, then from
	// the environment as every AWS SDK does.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2,}(-[a-z]+)+-[0-9]+$')",message="region is an AWS region's code, such as us-east-1"
	Region string `json:"region,omitempty"`

	// roleARN is a role to assume for this queue, for one in another account. The
	// manager's AWS identity needs sts:AssumeRole on it, and the role must trust that
	// identity. Unset: the manager's own credentials are used.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/[a-zA-Z0-9+=,.@_/-]+$')",message="roleARN is a role's whole ARN, such as arn:aws:iam::123456789012:role/queue-reader"
	RoleARN string `json:"roleARN,omitempty"`

	// unknownInstances says what becomes of a message about an instance that is
	// no node of this cluster: Retain gives it back to the queue for up to 15
	// minutes, Discard deletes it. Unset: Retain.
	// +optional
	UnknownInstances UnknownInstances `json:"unknownInstances,omitempty"`
}

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

// SourceStatus tells how one source does.
type SourceStatus struct {
	// name of the source.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// ready is whether events are heard.
	// +required
	Ready *bool `json:"ready,omitempty"` //nolint:kubeapilinter // fixed by the design; the reason beside it tells more

	// reason is one word for why it is ready or not.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message says what to do about it. Unset: nothing is to be done.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// lastEventTime is when the source last heard an event. Unset: none yet.
	// +optional
	LastEventTime *metav1.Time `json:"lastEventTime,omitempty"`

	// watchersDesired is how many nodes should have a watcher. Unset: the source has none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WatchersDesired *int32 `json:"watchersDesired,omitempty"`

	// watchersReady is how many nodes have a watcher that listens. Unset: the source has none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WatchersReady *int32 `json:"watchersReady,omitempty"`
}
