// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LifecycleHookSpec says how Auto Scaling lifecycle hooks are kept waiting and
// completed. A termination hook is completed only for a node that the policy governs.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.names) || !has(self.ignore) || !self.names.exists(n, n in self.ignore)",message="a hook is either in names or in ignore: take it out of one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.names) || !has(self.adopt) || self.adopt.all(a, a.name in self.names)",message="with names only those are completed: add the names of adopted hooks to names, or leave names out"
type LifecycleHookSpec struct {
	// heartbeat says how often heartbeats are sent, which extend the hook's timeout.
	// Unset: mode Auto.
	// +optional
	Heartbeat *Heartbeat `json:"heartbeat,omitempty"`

	// maxWaitSeconds is how long a hook is kept waiting for the drain, counted from
	// when it was first seen. This is the deadline of an AutoScalingTermination. It is
	// never later than the hook's global timeout, and as long as no heartbeat has
	// succeeded not later than one heartbeat timeout. Unset: the hook's own heartbeat
	// timeout, and at least ten minutes.
	// +optional
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=172800
	MaxWaitSeconds *int32 `json:"maxWaitSeconds,omitempty"`

	// completionDelaySeconds is how long after the drain the hook is completed, but
	// not later than its deadline. Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7200
	CompletionDelaySeconds *int32 `json:"completionDelaySeconds,omitempty"`

	// onTimeout is what happens to a hook if pods are still there at its deadline:
	// Continue or Abandon complete it with that result, None leaves it to its own
	// timeout. Unset: Continue.
	// +optional
	OnTimeout OnTimeout `json:"onTimeout,omitempty"`

	// roleARN is the ARN of a role to assume for calls to EC2 Auto Scaling about hooks and to
	// EC2 about instances, for nodes whose groups and instances are another account's. The
	// manager's AWS identity needs sts:AssumeRole on the role, and the role must trust that
	// identity. Unset: the manager's own credentials.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^arn:aws(-cn|-us-gov|-eusc|-iso(-[bef])?)?:iam::[0-9]{12}:role/([!-.0-~]+/)*[a-zA-Z0-9+=,.@_-]{1,64}$')",message="roleARN is a role's whole ARN, such as arn:aws:iam::123456789012:role/drain, or with arn:aws-cn: or arn:aws-us-gov: in these partitions"
	RoleARN string `json:"roleARN,omitempty"`

	// names is a list of names of hooks. Only these are completed, and all others are left
	// to whoever they are for, such as another team's Lambda function. Unset: every hook
	// but those in ignore.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^[A-Za-z0-9_/-]+$'))",message="names are hooks' own, of letters, digits, hyphens, underscores and slashes, such as drain: patterns and ARNs are not understood"
	Names []string `json:"names,omitempty"`

	// ignore is a list of names of hooks that this operator does not complete. Unset:
	// Launch-LC-Hook and Terminate-LC-Hook, the hooks of EKS managed node groups, unless
	// names is set.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.all(n, n.matches('^[A-Za-z0-9_/-]+$'))",message="ignore has hooks' own, of letters, digits, hyphens, underscores and slashes, such as drain: patterns and ARNs are not understood"
	Ignore []string `json:"ignore,omitempty"`

	// adopt is a list of hooks that are completed although no node of the policy waits
	// at them: launch hooks, after the instance's node is Ready (at once if the
	// instance enters a warm pool), and termination hooks of instances that never
	// became a node. They are received from the queues of the policy's sources and
	// completed with CONTINUE. They are not completed in mode DryRun, or if their name
	// is in ignore, or not in names. Unset: none.
	// +optional
	// +listType=map
	// +listMapKey=autoScalingGroupName
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Adopt []AdoptedHook `json:"adopt,omitempty"`
}

// OnTimeout says what happens to a hook if pods are still there at its deadline.
//
// +kubebuilder:validation:Enum=Continue;Abandon;None
type OnTimeout string

// The values of onTimeout.
const (
	// OnTimeoutContinue completes the hook with CONTINUE.
	OnTimeoutContinue OnTimeout = "Continue"
	// OnTimeoutAbandon completes the hook with ABANDON.
	OnTimeoutAbandon OnTimeout = "Abandon"
	// OnTimeoutNone leaves the hook to its own timeout.
	OnTimeoutNone OnTimeout = "None"
)

// HeartbeatMode says how often heartbeats are sent.
//
// +kubebuilder:validation:Enum=Auto;Interval;Disabled
type HeartbeatMode string

// The modes of heartbeats.
const (
	// HeartbeatAuto: each third of the hook's heartbeat timeout.
	HeartbeatAuto HeartbeatMode = "Auto"
	// HeartbeatInterval: every intervalSeconds.
	HeartbeatInterval HeartbeatMode = "Interval"
	// HeartbeatDisabled: never.
	HeartbeatDisabled HeartbeatMode = "Disabled"
)

// Heartbeat says how often heartbeats are sent, which extend a hook's timeout.
//
// +kubebuilder:validation:XValidation:rule="(self.mode == 'Interval') == has(self.intervalSeconds)",message="intervalSeconds is for mode Interval, which needs it"
type Heartbeat struct {
	// mode is Auto, Interval or Disabled. Auto sends a heartbeat each third of the
	// hook's heartbeat timeout.
	// +required
	Mode HeartbeatMode `json:"mode,omitempty"`

	// intervalSeconds is the time between heartbeats in mode Interval. Unset: the mode
	// is another.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=3600
	IntervalSeconds *int32 `json:"intervalSeconds,omitempty"`
}

// AdoptedHook identifies a lifecycle hook of an Auto Scaling group.
type AdoptedHook struct {
	// autoScalingGroupName is the name of the hook's group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.matches('[:[:cntrl:]]')",message="autoScalingGroupName is a group's name, such as workers, not its ARN"
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name is the name of the hook within the group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_/-]+$')",message="name is a hook's, of letters, digits, hyphens, underscores and slashes, such as join"
	Name string `json:"name,omitempty"`
}

// HookState is the state of a lifecycle hook.
//
// +kubebuilder:validation:Enum=Waiting;Continued;Abandoned;Ended;Ignored;Left
type HookState string

// The states of a hook. All but Waiting and Ignored are final.
const (
	// HookWaiting: the instance waits at the hook.
	HookWaiting HookState = "Waiting"
	// HookContinued: the hook was completed with CONTINUE.
	HookContinued HookState = "Continued"
	// HookAbandoned: the hook was completed with ABANDON.
	HookAbandoned HookState = "Abandoned"
	// HookEnded: the group does not wait any more. The hook timed out, or somebody
	// else completed it.
	HookEnded HookState = "Ended"
	// HookIgnored: this operator does not complete the hook; the message says why.
	HookIgnored HookState = "Ignored"
)

// HookStatus is the status of one lifecycle hook.
type HookStatus struct {
	// autoScalingGroupName is the name of the group that waits.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name is the name of the hook within the group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name,omitempty"`

	// token identifies the lifecycle action. Unset: the action is completed by the
	// instance ID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Token string `json:"token,omitempty"`

	// state is Waiting, Continued, Abandoned, Ended or Ignored. Left is what an
	// earlier version wrote for Ignored.
	// +required
	State HookState `json:"state,omitempty"`

	// message gives the reason for the state, or the error of the last call to Auto
	// Scaling. Unset: there is none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// startTime is when the hook was first seen.
	// +required
	StartTime metav1.Time `json:"startTime,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing

	// deadline is until when the hook is kept waiting for the drain.
	// +required
	Deadline metav1.Time `json:"deadline,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing

	// heartbeatTimeoutSeconds is how long the group waits after a heartbeat. Unset:
	// Auto Scaling has not said yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	HeartbeatTimeoutSeconds *int32 `json:"heartbeatTimeoutSeconds,omitempty"`

	// globalTimeoutSeconds is how long the group waits in total. Unset: Auto Scaling
	// has not said yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	GlobalTimeoutSeconds *int32 `json:"globalTimeoutSeconds,omitempty"`

	// lastHeartbeatTime is when the last heartbeat was sent. Unset: none was sent.
	// +optional
	LastHeartbeatTime *metav1.Time `json:"lastHeartbeatTime,omitempty"`

	// failures is how many calls to Auto Scaling have failed in a row. Unset: none.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Failures *int32 `json:"failures,omitempty"`

	// noActionTime is since when Auto Scaling says that it knows no such lifecycle action. If
	// it says so again a few seconds later the hook has ended. Unset: it knows the action, as
	// far as it was asked.
	// +optional
	NoActionTime *metav1.Time `json:"noActionTime,omitempty"`

	// retryTime is when the call is repeated that has failed. Unset: no call has failed.
	// +optional
	RetryTime *metav1.Time `json:"retryTime,omitempty"`
}
