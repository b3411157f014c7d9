// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// EventAction is what is done for an event.
//
// +kubebuilder:validation:Enum=CordonAndDrain;Cordon;Ignore
type EventAction string

// The actions for an event, strongest first.
const (
	// ActionCordonAndDrain cordons the node and evicts its pods.
	ActionCordonAndDrain EventAction = "CordonAndDrain"
	// ActionCordon cordons the node and does not touch its pods.
	ActionCordon EventAction = "Cordon"
	// ActionIgnore records the event and does nothing.
	ActionIgnore EventAction = "Ignore"
)

// EventRule says what is done for one kind of event.
//
// +kubebuilder:validation:XValidation:rule="!has(self.uncordonAfterSeconds) || self.action == 'Cordon'",message="uncordonAfterSeconds is for action Cordon: a drained node is not made schedulable again"
// +kubebuilder:validation:XValidation:rule="!has(self.startBeforeSeconds) || self.action == 'CordonAndDrain'",message="startBeforeSeconds is for action CordonAndDrain: without a drain nothing begins later"
// +kubebuilder:validation:XValidation:rule="!has(self.startBeforeSeconds) || self.kind in ['SpotInterruption', 'CapacityReservationInterruption', 'AutoScalingTermination', 'ScheduledMaintenance']",message="startBeforeSeconds is for kinds with a deadline to count from: SpotInterruption, CapacityReservationInterruption, AutoScalingTermination and ScheduledMaintenance"
// +kubebuilder:validation:XValidation:rule="!has(self.windows) || self.action == 'CordonAndDrain'",message="windows are for action CordonAndDrain: without a drain nothing begins later"
// +kubebuilder:validation:XValidation:rule="!has(self.windows) || self.kind in ['RebalanceRecommendation', 'ScheduledMaintenance', 'AutoScalingTermination', 'InstanceStatusCheckFailed', 'Manual']",message="windows are for kinds that can wait: RebalanceRecommendation, ScheduledMaintenance, AutoScalingTermination, InstanceStatusCheckFailed and Manual; the others leave two minutes"
type EventRule struct {
	// kind is the kind of event.
	// +required
	Kind EventKind `json:"kind,omitempty"`

	// action is CordonAndDrain, Cordon or Ignore.
	// +required
	Action EventAction `json:"action,omitempty"`

	// uncordonAfterSeconds is how long after the event the node is uncordoned, if
	// nothing followed. It is for action Cordon. Unset: 3600 for
	// RebalanceRecommendation, 86400 for InstanceStatusCheckFailed, never for other kinds.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=604800
	UncordonAfterSeconds *int32 `json:"uncordonAfterSeconds,omitempty"`

	// startBeforeSeconds is how long before its deadline the drain for an event
	// begins. The node is cordoned at once. Unset: at once, but 86400 for
	// ScheduledMaintenance without windows.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=2592000
	StartBeforeSeconds *int32 `json:"startBeforeSeconds,omitempty"`

	// windows are when the drain may begin. Where there is a deadline, the node is cordoned at
	// once, and the drain begins outside of the windows if it would not fit before the deadline
	// any more: it takes drain.timeoutSeconds at most. Without a deadline the node has the taint
	// nodetermination.dev/waiting:PreferNoSchedule until the drain begins. A drain that has begun
	// goes on when the window closes. Unset: at any time.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Windows []Window `json:"windows,omitempty"`
}

// Window is a time of the week that comes again.
type Window struct {
	// days are those on which the window opens. Unset: every day.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	Days []Day `json:"days,omitempty"`

	// start is when it opens, as hours and minutes of a clock of 24 hours, such as 02:00. If the clock skips that time on a day,
	// because daylight saving begins, the window opens later by as much as was skipped. If it shows the time twice, it is the first.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",message="start is a time of day from 00:00 to 23:59, such as 02:00"
	Start string `json:"start,omitempty"`

	// durationMinutes is how long it stays open.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10080
	DurationMinutes int32 `json:"durationMinutes,omitempty"`

	// timeZone is the name of a time zone in the IANA database, such as Europe/Berlin.
	// Unset: UTC.
	// https://www.iana.org/time-zones
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local' && timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",message="timeZone is a name such as Europe/Berlin or UTC"
	TimeZone string `json:"timeZone,omitempty"`
}

// Day is a day of the week.
//
// +kubebuilder:validation:Enum=Mon;Tue;Wed;Thu;Fri;Sat;Sun
type Day string
