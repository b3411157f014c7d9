// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Source is where events are received from: a queue, or the metadata service of each
// node.
//
// +kubebuilder:validation:XValidation:rule="has(self.sqs) != has(self.imds)",message="a source is exactly one of sqs and imds: for the metadata service of each node write imds: {}"
type Source struct {
	// name identifies the source within the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a source's name is lower-case letters, digits and hyphens, such as queue"
	Name string `json:"name,omitempty"`

	// sqs receives events from an SQS queue. Unset: the source is of another type.
	// +optional
	SQS *SQSSource `json:"sqs,omitempty"`

	// imds reads the instance metadata service of each selected node, with a watcher
	// pod on the node. Unset: the source is of another type.
	// +optional
	IMDS *IMDSSource `json:"imds,omitempty"`
}

// IMDSSource is the instance metadata service of the nodes themselves.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
//
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || !has(self.endpointMode)",message="endpoint says where the metadata service is, and endpointMode which of EC2's own addresses: leave one of them out"
// +kubebuilder:validation:XValidation:rule="!has(self.metricsPort) || !has(self.podTemplate) || !has(self.podTemplate.updateStrategy) || !has(self.podTemplate.updateStrategy.rollingUpdate) || !has(self.podTemplate.updateStrategy.rollingUpdate.maxSurge)",message="with maxSurge two watchers run on a node for a while, and only one of them can have metricsPort: write maxUnavailable instead, or leave metricsPort out"
type IMDSSource struct {
	// pollIntervalSeconds is how often a watcher reads spot interruption notices. It
	// reads scheduled maintenance at most every 30 seconds, and everything else with
	// more notice at most every 10 seconds. Unset: 2.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	PollIntervalSeconds *int32 `json:"pollIntervalSeconds,omitempty"`

	// endpointMode says at which of EC2's addresses watchers read the metadata: IPv4 is
	// 169.254.169.254, IPv6 is [fd00:ec2::254], for instances in subnets without IPv4.
	// The metadata options of the instances have to enable it. Unset: IPv4.
	// +optional
	EndpointMode EndpointMode `json:"endpointMode,omitempty"`

	// endpoint is the URL of a metadata service that is not EC2's own, such as a proxy
	// on the node or a simulator. Unset: EC2's, at the address that endpointMode says.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=268
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([a-zA-Z0-9]([-.a-zA-Z0-9]*[a-zA-Z0-9])?|[[][0-9a-fA-F:.]+[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$') && (!self.contains('[') || isIP(self.substring(self.indexOf('[') + 1, self.indexOf(']'))))",message="endpoint is http:// or https:// and a host, with a port if need be and nothing after it, such as http://[fd00:ec2::254] or http://localhost:1338"
	Endpoint string `json:"endpoint,omitempty"`

	// logLevel says how much watchers log: debug, info or error. Unset: info.
	// +optional
	LogLevel LogLevel `json:"logLevel,omitempty"`

	// logFormat is json, or console for people. Unset: json.
	// +optional
	LogFormat LogFormat `json:"logFormat,omitempty"`

	// metricsPort is the port on which each watcher serves metrics, without
	// authentication. With the host's network it is a port of the node. Unset: no
	// metrics are served and no port is opened.
	// +optional
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65535
	MetricsPort *int32 `json:"metricsPort,omitempty"`

	// podTemplate changes the watchers' pods. Unset: the default of every field.
	// +optional
	PodTemplate *WatcherPodTemplate `json:"podTemplate,omitempty"`
}

// EndpointMode is an IP family of the metadata service's address.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type EndpointMode string

// The values of endpointMode.
const (
	EndpointIPv4 EndpointMode = "IPv4"
	EndpointIPv6 EndpointMode = "IPv6"
)

// LogLevel says which lines are logged.
//
// +kubebuilder:validation:Enum=debug;info;error
type LogLevel string

// LogFormat says how lines are logged.
//
// +kubebuilder:validation:Enum=json;console
type LogFormat string

// WatcherPodTemplate is what can be changed in the watchers' pods.
//
// +kubebuilder:validation:MinProperties=1
type WatcherPodTemplate struct {
	// resources are the resources of the watcher's container. Unset: requests of 5m
	// CPU and 24Mi memory, and a limit of 64Mi memory, on Windows of 128Mi.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// tolerations are the tolerations of the pods. Unset: every taint is tolerated.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []Toleration `json:"tolerations,omitempty"` //nolint:kubeapilinter // rules on Toleration refuse {}

	// priorityClassName is the priority class of the pods. Unset:
	// system-node-critical.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="priorityClassName is a PriorityClass's name, such as system-node-critical"
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// hostNetwork is true if the pods use the node's network. If false, the metadata
	// hop limit of the instances must be at least 2. Pods on Windows always use the
	// node's network. Unset: true.
	// +optional
	HostNetwork *bool `json:"hostNetwork,omitempty"` //nolint:kubeapilinter // the name and type of the field in a pod

	// labels are added to the pods. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="labels has labels for keys, such as example.com/team"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are added to the pods. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="annotations' keys are names, such as example.com/team"
	// +kubebuilder:validation:XValidation:rule="self.all(k, size(self[k]) <= 4096)",message="a value in annotations has at most 4096 characters: leave the rest out"
	Annotations map[string]string `json:"annotations,omitempty"`

	// env are variables of the watcher's container, for its proxy and for Go's runtime.
	// They win over those that the manager's --watcher-env names. Unset: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Env []WatcherEnvVar `json:"env,omitempty"`

	// imagePullPolicy is Always, IfNotPresent or Never. Unset: Always for an image with
	// the tag latest, else IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// updateStrategy says how the pods are replaced when they change. Unset: 10% of them
	// at a time.
	// +optional
	UpdateStrategy *WatcherUpdateStrategy `json:"updateStrategy,omitempty"`

	// securityContext changes the security context of the pods on Linux nodes. They
	// never run as root, and have no capabilities and a root file system that is read-only.
	// Unset: the user of the image, 65532, and the seccomp profile RuntimeDefault.
	// +optional
	SecurityContext *WatcherSecurityContext `json:"securityContext,omitempty"`
}

// Toleration is written like a toleration of a pod. It is a type of its own because only
// texts with bounds can be validated when a policy is applied: Kubernetes would refuse the
// watchers afterwards.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.key) || (has(self.operator) && self.operator == 'Exists')",message="a toleration of every key has operator Exists"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value)",message="operator Exists takes no value: leave the value out, or write operator Equal"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",message="tolerationSeconds is for effect NoExecute"
type Toleration struct {
	// key is the key of the taints that are tolerated. Unset: every key, with operator
	// Exists.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="key is a taint's, such as example.com/dedicated"
	Key string `json:"key,omitempty"`

	// operator is Equal or Exists. Unset: Equal.
	// +optional
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// value is the value of the taints that operator Equal tolerates. Unset: none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="value is a taint's, of at most 63 letters, digits, hyphens, dots and underscores, such as batch"
	Value string `json:"value,omitempty"`

	// effect is NoSchedule, PreferNoSchedule or NoExecute. Unset: every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long a pod stays after the node gets a taint with effect
	// NoExecute. Unset: as long as the node has it.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// UnknownInstances says what happens to a message about an instance that is not a node
// of this cluster.
//
// +kubebuilder:validation:Enum=Retain;Discard
type UnknownInstances string

// The values of unknownInstances.
const (
	// UnknownRetain returns the message to the queue, for up to 15 minutes: the
	// instance may become a node, or another cluster may receive the message.
	UnknownRetain UnknownInstances = "Retain"
	// UnknownDiscard deletes the message.
	UnknownDiscard UnknownInstances = "Discard"
)

// SQSSource is a standard SQS queue that EventBridge, SNS or an Auto Scaling group
// sends to.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
type SQSSource struct {
	// queueURL is the URL of the queue. http is accepted for a simulator on the manager's own
	// machine (localhost, 127.0.0.1 or [::1]) or in the cluster (a service's name, or its name
	// that ends with .svc or .svc.cluster.local), and for no other host.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@[:space:]]+/[^?#[:space:]]*[^/?#[:space:]]$') && isURL(self)",message="queueURL is the queue's whole address, such as https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]+[.]amazonaws[.][^/]+/') || self.matches('^https?://[^/]+/[0-9]{12}/[a-zA-Z0-9_-]{1,80}([.]fifo)?$')",message="after AWS's host, queueURL has the account's 12 digits and the queue's name, such as https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
	// +kubebuilder:validation:XValidation:rule="!self.endsWith('.fifo')",message="FIFO queues are not supported, as EventBridge and Auto Scaling give no group ID: use a standard queue"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('http:') || self.matches('^http://([[]::1[]]|127[.]0[.]0[.]1|[a-z]([-a-z0-9]*[a-z0-9])?|[a-z0-9]([-.a-z0-9]*[a-z0-9])?[.]svc([.]cluster[.]local)?)(:[0-9]+)?/')",message="http sends signed requests in clear: write https, as for AWS, or the name of this machine or of a service of this cluster, such as http://localhost:4566/000000000000/q or http://localstack.testing.svc:4566/000000000000/q"
	QueueURL string `json:"queueURL,omitempty"`

	// region is the AWS Region of the queue. Unset: the Region in queueURL, else the
	// Region from the environment, as in every AWS SDK.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2,}(-[a-z]+)+-[0-9]+$')",message="region is an AWS region's code, such as us-east-1"
	Region string `json:"region,omitempty"`

	// roleARN is the ARN of a role to assume for this queue, for a queue in another
	// account. The manager's AWS identity needs sts:AssumeRole on the role, and the
	// role must trust that identity. Unset: the manager's own credentials.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^arn:aws(-cn|-us-gov|-eusc|-iso(-[bef])?)?:iam::[0-9]{12}:role/([!-.0-~]+/)*[a-zA-Z0-9+=,.@_-]{1,64}$')",message="roleARN is a role's whole ARN, such as arn:aws:iam::123456789012:role/queue-reader, or with arn:aws-cn: or arn:aws-us-gov: in these partitions"
	RoleARN string `json:"roleARN,omitempty"`

	// unknownInstances says what happens to a message about an instance that is not a
	// node of this cluster, nor by clusterName of another: Retain returns it to the queue for up to 15 minutes,
	// Discard deletes it. Unset: Retain.
	// +optional
	UnknownInstances UnknownInstances `json:"unknownInstances,omitempty"`

	// clusterName is the name of this cluster in the tag kubernetes.io/cluster/<name> of its
	// instances, for a queue that several clusters share. A message about an instance that
	// is not a node of this cluster, and that EC2's tags give to another one, is returned to
	// the queue for that cluster to read. Unset: EC2 is not asked, and unknownInstances
	// decides.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=106
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",message="clusterName is the name alone, such as production of the tag kubernetes.io/cluster/production"
	ClusterName string `json:"clusterName,omitempty"`
}

// SourceStatus is the state of one source.
type SourceStatus struct {
	// name is the name of the source.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// ready is true if the source is up, so that its events are received.
	// +required
	Ready *bool `json:"ready,omitempty"` //nolint:kubeapilinter // fixed by the design; the reason beside it tells more

	// reason says in one word why the source is ready or not.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message says what to do if the source is not ready. Unset: nothing needs to be
	// done.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// lastEventTime is when the source last received an event. Unset: it has received
	// none.
	// +optional
	LastEventTime *metav1.Time `json:"lastEventTime,omitempty"`

	// watchersDesired is the number of nodes that should have a watcher. Unset: the
	// source has no watchers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WatchersDesired *int32 `json:"watchersDesired,omitempty"`

	// watchersReady is the number of nodes whose watcher is ready. Unset: the source
	// has no watchers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WatchersReady *int32 `json:"watchersReady,omitempty"`
}
