// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
