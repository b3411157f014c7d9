// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EventKind says what is happening to an EC2 instance.
//
// +kubebuilder:validation:Enum=SpotInterruption;RebalanceRecommendation;ScheduledMaintenance;AutoScalingTermination;InstanceStateChange;CapacityReservationInterruption;Manual
type EventKind string

// The kinds of event, with the AWS document each is described in.
const (
	// SpotInterruption: EC2 takes a spot instance back, with two minutes' notice.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
	SpotInterruption EventKind = "SpotInterruption"
	// RebalanceRecommendation: a spot instance is at elevated risk of interruption.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
	RebalanceRecommendation EventKind = "RebalanceRecommendation"
	// ScheduledMaintenance: EC2 reboots, stops or retires the instance at a known time.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html
	ScheduledMaintenance EventKind = "ScheduledMaintenance"
	// AutoScalingTermination: an Auto Scaling group terminates the instance and waits at a lifecycle hook.
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
	AutoScalingTermination EventKind = "AutoScalingTermination"
	// InstanceStateChange: the instance is stopping, stopped, shutting down or terminated.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
	InstanceStateChange EventKind = "InstanceStateChange"
	// CapacityReservationInterruption: an interruptible capacity reservation is reclaimed.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruptible-capacity-reservations.html
	CapacityReservationInterruption EventKind = "CapacityReservationInterruption"
	// Manual: somebody annotated the Node with nodetermination.dev/drain.
	Manual EventKind = "Manual"
)

// EventSource says through which road an event reached the cluster.
//
// +kubebuilder:validation:Enum=SQS;IMDS;Manual
type EventSource string

// The roads an event can come by.
const (
	// SourceSQS: read from an SQS queue.
	SourceSQS EventSource = "SQS"
	// SourceIMDS: heard from the instance metadata service by the node's watcher.
	SourceIMDS EventSource = "IMDS"
	// SourceManual: an annotation on the Node.
	SourceManual EventSource = "Manual"
)

// Event is one fact about the instance, as a source heard it. Sources only
// add events; the manager decides what they mean and says so in status.events.
//
// +kubebuilder:validation:XValidation:rule="self.kind == oldSelf.kind",message="the kind of an event cannot change: add an event with another id"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.cancelled) || !oldSelf.cancelled || (has(self.cancelled) && self.cancelled)",message="a cancelled event stays cancelled: add an event with another id"
type Event struct {
	// id comes from the fact itself and never from the clock, so that hearing
	// the same fact again changes nothing.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// kind says what is happening to the instance.
	// +required
	Kind EventKind `json:"kind,omitempty"`

	// source says where the event was heard.
	// +required
	Source EventSource `json:"source,omitempty"`

	// time is when AWS said so; of a Manual event, when the annotation was first seen.
	// +required
	Time metav1.Time `json:"time,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing

	// deadline is when AWS takes the instance. Unset: AWS gives no such time.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// notBefore is the earliest time of a scheduled maintenance.
	// Unset: the event is not a scheduled one.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// description is AWS's own text, for people; of a Manual event, the
	// annotation's value. Unset: there was none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// instanceAction is what happens to the instance in AWS's word, such as
	// terminate, stop, hibernate, system-reboot or instance-retirement; for a
	// state change, the state. Unset: AWS does not say.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	InstanceAction string `json:"instanceAction,omitempty"`

	// lifecycleHook is the Auto Scaling hook that waits for this instance.
	// Unset: no hook waits.
	// +optional
	LifecycleHook *LifecycleHook `json:"lifecycleHook,omitempty"`

	// cancelled is true once AWS has called the event off, or the annotation of a
	// Manual one was taken away. Unset: it stands.
	// +optional
	Cancelled *bool `json:"cancelled,omitempty"` //nolint:kubeapilinter // fixed by the design; one way only, so it needs no third value
}

// LifecycleHook names one waiting lifecycle action of an Auto Scaling group.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
type LifecycleHook struct {
	// autoScalingGroupName is the group that terminates the instance.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name is the hook's name within the group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name,omitempty"`

	// token identifies this one action. Unset: the hook is completed by instance ID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Token string `json:"token,omitempty"`

	// destination is where the group sends the instance, such as EC2 or WarmPool.
	// Unset: the group does not say.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Destination string `json:"destination,omitempty"`
}
