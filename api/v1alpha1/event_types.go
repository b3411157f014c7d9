// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EventKind says what happens to an EC2 instance.
//
// +kubebuilder:validation:Enum=SpotInterruption;RebalanceRecommendation;ScheduledMaintenance;AutoScalingTermination;InstanceStateChange;CapacityReservationInterruption;InstanceStatusCheckFailed;Manual
type EventKind string

// The kinds of events, each with the AWS page that describes it.
const (
	// SpotInterruption: EC2 interrupts a Spot Instance, with a notice of two minutes.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
	SpotInterruption EventKind = "SpotInterruption"
	// RebalanceRecommendation: a Spot Instance is at an elevated risk of interruption.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
	RebalanceRecommendation EventKind = "RebalanceRecommendation"
	// ScheduledMaintenance: EC2 reboots, stops or retires the instance at a known
	// time.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html
	ScheduledMaintenance EventKind = "ScheduledMaintenance"
	// AutoScalingTermination: an Auto Scaling group terminates the instance and waits
	// at a lifecycle hook.
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
	AutoScalingTermination EventKind = "AutoScalingTermination"
	// InstanceStateChange: the instance is stopping, stopped, shutting down or
	// terminated.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
	InstanceStateChange EventKind = "InstanceStateChange"
	// CapacityReservationInterruption: an interruptible Capacity Reservation is
	// reclaimed.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruptible-capacity-reservations.html
	CapacityReservationInterruption EventKind = "CapacityReservationInterruption"
	// InstanceStatusCheckFailed: a CloudWatch alarm on a status check of the instance is
	// in state ALARM.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-system-instance-status-check.html
	InstanceStatusCheckFailed EventKind = "InstanceStatusCheckFailed"
	// Manual: the Node has the annotation nodetermination.dev/drain.
	Manual EventKind = "Manual"
)

// EventSource says where an event was received from.
//
// +kubebuilder:validation:Enum=SQS;IMDS;Manual
type EventSource string

// The sources of events.
const (
	// SourceSQS: a message in an SQS queue.
	SourceSQS EventSource = "SQS"
	// SourceIMDS: the instance metadata service, read by the node's watcher.
	SourceIMDS EventSource = "IMDS"
	// SourceManual: an annotation on the Node.
	SourceManual EventSource = "Manual"
)

// Event is one fact about the instance, as a source received it: the latest statement
// about one thing. It only moves forward: a statement is replaced by a later one, never
// by an earlier one. The manager decides what an event means and writes that into
// status.events.
//
// +kubebuilder:validation:XValidation:rule="self.kind == oldSelf.kind",message="the kind of an event cannot change: add an event with another id"
// +kubebuilder:validation:XValidation:rule="self.time >= oldSelf.time",message="the event has a later statement already: a statement with an earlier time is not stored"
// +kubebuilder:validation:XValidation:rule="self.time != oldSelf.time || !has(oldSelf.cancelled) || !oldSelf.cancelled || (has(self.cancelled) && self.cancelled)",message="a cancelled event stays cancelled: to plan it again needs a statement with a later time"
// +kubebuilder:validation:XValidation:rule="self.time != oldSelf.time || self.kind != 'InstanceStateChange' || !has(self.instanceAction) || !has(oldSelf.instanceAction) || self.instanceAction == oldSelf.instanceAction || self.instanceAction == 'terminated' || oldSelf.instanceAction == 'stopping' || (self.instanceAction == 'shutting-down' && oldSelf.instanceAction == 'stopped')",message="within one second a state is followed by a later one only: stopping, stopped, shutting-down, terminated"
// +kubebuilder:validation:XValidation:rule="self.time != oldSelf.time || !has(oldSelf.bootID) || (has(self.bootID) && self.bootID == oldSelf.bootID) || (self.kind == 'ScheduledMaintenance' && self.source == 'IMDS')",message="the bootID belongs to the statement: only what the metadata service lists after a boot may have another at the same time"
type Event struct {
	// id identifies what the event is about, and the source: an AWS Health event, a
	// scheduled event of the metadata service, a lifecycle action, or else the kind. So a
	// later statement about the same thing replaces the earlier one.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="an event's id is printable and without spaces, such as spot-interruption: it is part of a field manager's name"
	ID string `json:"id,omitempty"`

	// kind is what happens to the instance.
	// +required
	Kind EventKind `json:"kind,omitempty"`

	// source is where the event was received from.
	// +required
	Source EventSource `json:"source,omitempty"`

	// time is when AWS made the statement, and so its revision: of two statements about
	// one thing the one with the later time counts. Where the metadata service gives no
	// time it is when this content was first read. For kind Manual it is when the
	// annotation was first seen.
	// +required
	Time metav1.Time `json:"time,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing

	// deadline is when the instance is interrupted, stopped or terminated. Unset: AWS
	// gives no such time.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// notBefore is the earliest time at which a scheduled maintenance starts. Unset:
	// the event is no scheduled maintenance.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// notAfter is the latest time at which a scheduled maintenance ends. Unset: AWS gives
	// no such time.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`

	// description is AWS's own text for people. For kind Manual it is the annotation's
	// value. Unset: there is no text.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// instanceAction is what happens to the instance in AWS's word, such as terminate,
	// stop, hibernate, system-reboot or instance-retirement. For kind
	// InstanceStateChange it is the state. Unset: AWS does not say.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	InstanceAction string `json:"instanceAction,omitempty"`

	// lifecycleHook is the Auto Scaling lifecycle hook at which the instance waits.
	// Unset: no hook is known.
	// +optional
	LifecycleHook *LifecycleHook `json:"lifecycleHook,omitempty"`

	// bootID is the node's boot ID when the statement was received. If the node reports
	// another one it has booted since. Unset: it was not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// policyName is the name of the policy that governed the node when the event was
	// stored. Its lifecycle hook is completed by that policy if the node is gone before
	// anything was done. Unset: none did, or it was not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="policyName is a NodeTerminationPolicy's name, such as workers"
	PolicyName string `json:"policyName,omitempty"`

	// cancelled is true after AWS cancelled, closed or completed what the event announces,
	// or after the annotation of a Manual event was removed. A later statement can plan it
	// again. Unset: false.
	// +optional
	Cancelled *bool `json:"cancelled,omitempty"` //nolint:kubeapilinter // fixed by the design
}

// LifecycleHook identifies one lifecycle action of an Auto Scaling group.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
type LifecycleHook struct {
	// autoScalingGroupName is the name of the group that terminates the instance.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.matches('[:[:cntrl:]]')",message="autoScalingGroupName is a group's name, such as workers, not its ARN"
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name is the name of the hook within the group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_/-]+$')",message="name is a hook's, of letters, digits, hyphens, underscores and slashes, such as drain"
	Name string `json:"name,omitempty"`

	// token identifies this lifecycle action. Unset: the action is completed by the
	// instance ID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Token string `json:"token,omitempty"`

	// destination is where the group moves the instance, such as EC2 or WarmPool.
	// Unset: the group does not say.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Destination string `json:"destination,omitempty"`
}
