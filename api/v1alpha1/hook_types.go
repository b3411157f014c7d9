// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LifecycleHookSpec says how Auto Scaling lifecycle hooks are kept waiting and
// completed. A termination hook is completed only for a node that the policy governs.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
//
// +kubebuilder:validation:MinProperties=1
type LifecycleHookSpec struct {
	// heartbeat says how often the group is told to go on waiting. Unset: mode Auto.
	// +optional
	Heartbeat *Heartbeat `json:"heartbeat,omitempty"`

	// maxWaitSeconds is how long after it was heard of a hook is kept waiting for the
	// drain: this is the deadline of an AutoScalingTermination. It is never later than the
	// hook's global timeout. Unset: the hook's own heartbeat timeout.
	// +optional
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=172800
	MaxWaitSeconds *int32 `json:"maxWaitSeconds,omitempty"`

	// completionDelaySeconds is how long after the drain the hook is completed, and not
	// after its deadline. Unset: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7200
	CompletionDelaySeconds *int32 `json:"completionDelaySeconds,omitempty"`

	// onTimeout is what is done to a hook whose deadline has come while pods are still
	// there: Continue or Abandon complete it with that result, None leaves it to
	// its own timeout. Unset: Continue.
	// +optional
	OnTimeout OnTimeout `json:"onTimeout,omitempty"`

	// ignore names hooks that are somebody else's to complete. Unset: Launch-LC-Hook and
	// Terminate-LC-Hook, those of EKS managed node groups.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	Ignore []string `json:"ignore,omitempty"`

	// adopt names hooks that are completed although no node of the policy waits at them:
	// launch hooks, once the instance's node is Ready (at once if it goes to a warm
	// pool), and termination hooks of instances that never became a node. They are heard
	// from the queues of sources, and completed with CONTINUE; in mode DryRun, or with
	// their name in ignore, they are not. Unset: none.
	// +optional
	// +listType=map
	// +listMapKey=autoScalingGroupName
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Adopt []AdoptedHook `json:"adopt,omitempty"`
}

// OnTimeout says what is done to a hook whose deadline has come.
//
// +kubebuilder:validation:Enum=Continue;Abandon;None
type OnTimeout string

// What is done to a hook whose deadline has come.
const (
	// OnTimeoutContinue completes it with CONTINUE.
	OnTimeoutContinue OnTimeout = "Continue"
	// OnTimeoutAbandon completes it with ABANDON.
	OnTimeoutAbandon OnTimeout = "Abandon"
	// OnTimeoutNone leaves it to its own timeout.
	OnTimeoutNone OnTimeout = "None"
)

// HeartbeatMode says how often the group is told to go on waiting.
//
// +kubebuilder:validation:Enum=Auto;Interval;Disabled
type HeartbeatMode string

// How often the group is told to go on waiting.
const (
	// HeartbeatAuto: a third of the hook's heartbeat timeout.
	HeartbeatAuto HeartbeatMode = "Auto"
	// HeartbeatInterval: every intervalSeconds.
	HeartbeatInterval HeartbeatMode = "Interval"
	// HeartbeatDisabled: never.
	HeartbeatDisabled HeartbeatMode = "Disabled"
)

// Heartbeat says how often the group is told to go on waiting.
//
// +kubebuilder:validation:XValidation:rule="(self.mode == 'Interval') == has(self.intervalSeconds)",message="intervalSeconds is for mode Interval, which needs it"
type Heartbeat struct {
	// mode is Auto (every third of the hook's heartbeat timeout), Interval or Disabled.
	// +required
	Mode HeartbeatMode `json:"mode,omitempty"`

	// intervalSeconds is the time between heartbeats, for mode Interval.
	// Unset: for the other modes.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=3600
	IntervalSeconds *int32 `json:"intervalSeconds,omitempty"`
}

// AdoptedHook names a hook of a group.
type AdoptedHook struct {
	// autoScalingGroupName is the hook's group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name of the hook within its group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name,omitempty"`
}

// HookState says how it stands with a lifecycle hook.
//
// +kubebuilder:validation:Enum=Waiting;Continued;Abandoned;Ended;Ignored;Left
type HookState string

// The states of a hook. All but Waiting and Ignored are final.
const (
	// HookWaiting: the instance waits at the hook.
	HookWaiting HookState = "Waiting"
	// HookContinued: completed with CONTINUE.
	HookContinued HookState = "Continued"
	// HookAbandoned: completed with ABANDON.
	HookAbandoned HookState = "Abandoned"
	// HookEnded: the group does not wait any more: somebody else completed it, or it timed out.
	HookEnded HookState = "Ended"
	// HookIgnored: it is not this operator's to complete; the message says why.
	HookIgnored HookState = "Ignored"
)

// HookStatus tells how it stands with one lifecycle hook.
type HookStatus struct {
	// autoScalingGroupName is the group that waits.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	AutoScalingGroupName string `json:"autoScalingGroupName,omitempty"`

	// name of the hook within its group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Name string `json:"name,omitempty"`

	// token of the one lifecycle action. Unset: the hook is completed by instance ID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Token string `json:"token,omitempty"`

	// state is Waiting, or how it ended: Continued, Abandoned, Ended or Ignored.
	// Left is what an earlier version wrote for Ignored.
	// +required
	State HookState `json:"state,omitempty"`

	// message says why it is so, or what the last call to Auto Scaling failed with.
	// Unset: there is nothing to say.
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

	// heartbeatTimeoutSeconds is how long the group waits after a heartbeat.
	// Unset: Auto Scaling has not said yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	HeartbeatTimeoutSeconds *int32 `json:"heartbeatTimeoutSeconds,omitempty"`

	// globalTimeoutSeconds is how long the group waits in all. Unset: Auto Scaling
	// has not said yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	GlobalTimeoutSeconds *int32 `json:"globalTimeoutSeconds,omitempty"`

	// lastHeartbeatTime is when the group was last told to go on waiting. Unset: it was not.
	// +optional
	LastHeartbeatTime *metav1.Time `json:"lastHeartbeatTime,omitempty"`

	// failures is how many calls to Auto Scaling have failed in a row. Unset: none.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Failures *int32 `json:"failures,omitempty"`

	// retryTime is when the call that failed is made again. Unset: none failed.
	// +optional
	RetryTime *metav1.Time `json:"retryTime,omitempty"`
}
