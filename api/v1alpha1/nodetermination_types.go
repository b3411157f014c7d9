// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeTermination is the record of the termination of one EC2 instance: which events
// were received, what was done, and what blocks it. It is named after the instance, so
// that all events about an instance are in one object.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nt,categories=node-termination
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Event",type=string,JSONPath=`.status.cause`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pods",type=string,JSONPath=`.status.pods.summary`
// +kubebuilder:printcolumn:name="Blocked",type=integer,JSONPath=`.status.pods.blocked`
// +kubebuilder:printcolumn:name="Deadline",type=string,JSONPath=`.status.deadline`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.instanceID",message="a NodeTermination is named after its instance: set metadata.name to the value of spec.instanceID"
// +genclient
// +genclient:nonNamespaced
type NodeTermination struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. Its name is the instance ID.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec holds the events that were received about the instance.
	// +required
	Spec NodeTerminationSpec `json:"spec,omitzero"`

	// status is what was done about the events. Unset: the manager has not processed
	// the object yet.
	// +optional
	Status NodeTerminationStatus `json:"status,omitzero"`
}

// NodeTerminationList is a list of NodeTerminations.
//
// +kubebuilder:object:root=true
type NodeTerminationList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items is the list of NodeTerminations.
	Items []NodeTermination `json:"items"`
}

// NodeTerminationSpec holds the events that sources received about one instance.
type NodeTerminationSpec struct {
	// instanceID is the ID of the EC2 instance that all events are about.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=19
	// +kubebuilder:validation:XValidation:rule="self.matches('^i-[0-9a-f]{8,17}$')",message="an instance ID is i- followed by 8 to 17 hexadecimal digits, such as i-0abc1234def567890"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="instanceID cannot change: create another NodeTermination"
	InstanceID string `json:"instanceID,omitempty"`

	// nodeName is the name of the Kubernetes node that runs on the instance. The manager
	// changes it if the instance registers again under another name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="nodeName is a Node's name, such as ip-10-0-3-7.ec2.internal"
	NodeName string `json:"nodeName,omitempty"`

	// instance holds details of the instance from its metadata service, for the
	// record. Unset: no watcher has reported any.
	// +optional
	Instance *Instance `json:"instance,omitempty"`

	// suspend stops the termination in its current state: nothing more is changed on
	// the node or its pods until it is false again. Unset: false.
	// +optional
	Suspend *bool `json:"suspend,omitempty"` //nolint:kubeapilinter // the same name and type as in Job and CronJob

	// events are the facts that were received about the instance. Each entry is owned
	// by the source that received it.
	// +required
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Events []Event `json:"events,omitempty"`
}

// Instance holds details of an instance from its metadata service.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
//
// +kubebuilder:validation:MinProperties=1
type Instance struct {
	// type is the instance type, such as m6i.large. Unset: unknown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`

	// lifeCycle is spot, on-demand, scheduled or capacity-block. Unset: unknown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	LifeCycle string `json:"lifeCycle,omitempty"`

	// availabilityZone is the Availability Zone of the instance. Unset: unknown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	AvailabilityZone string `json:"availabilityZone,omitempty"`

	// region is the AWS Region of the instance. Unset: unknown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]{2,}(-[a-z]+)+-[0-9]+$')",message="region is an AWS region's code, such as us-east-1"
	Region string `json:"region,omitempty"`

	// accountID is the ID of the AWS account. Unset: unknown.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	AccountID string `json:"accountID,omitempty"`
}

// NodeTerminationStatus is what was done about the events.
type NodeTerminationStatus struct {
	// conditions describe the state: Ready (its reason is the state in one word),
	// Reconciling, Stalled, Cordoned, Drained, LifecycleHookCompleted, Notified and
	// MaintenanceOverdue.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is based on.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// cause is the kind of the event that decides what is done: of the active events
	// the one with the strongest action, then the one with the nearest deadline.
	// Unset: nothing has been decided yet.
	// +optional
	Cause EventKind `json:"cause,omitempty"`

	// policyRef refers to the policy that governs this termination. It is chosen at
	// the first action and then kept; if it is deleted or its mode changes to DryRun,
	// another policy that governs the node takes over. Unset: none has been chosen yet.
	// +optional
	PolicyRef *PolicyReference `json:"policyRef,omitempty"`

	// deadline is when the instance is interrupted, stopped or terminated: the nearest
	// deadline of the active events. Unset: no active event has a hard deadline.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// startTime is when the node was first changed. Unset: it was not.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// holdStartTime is when the drain was first held. Unset: it was not.
	// +optional
	HoldStartTime *metav1.Time `json:"holdStartTime,omitempty"`

	// drainStartTime is when the eviction of the pods began. Unset: it has not begun.
	// +optional
	DrainStartTime *metav1.Time `json:"drainStartTime,omitempty"`

	// completionTime is when the termination ended, successfully or not. Unset: it has
	// not ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// events hold the state of each event of the spec.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=32
	Events []EventStatus `json:"events,omitempty"`

	// node identifies the Node object. A node's name can be used again, its UID
	// cannot. Unset: the node was never seen.
	// +optional
	Node *NodeReference `json:"node,omitempty"`

	// instanceFoundTime is when EC2 first described the instance to the manager. If EC2 does
	// not find it later, it is gone. Unset: EC2 has not described it: if it does not find the
	// instance, that may be another account's or Region's, and says nothing.
	// +optional
	InstanceFoundTime *metav1.Time `json:"instanceFoundTime,omitempty"`

	// pods counts the pods that have to be evicted. Unset: no drain has begun.
	// +optional
	Pods *PodCounts `json:"pods,omitempty"`

	// lifecycleHooks are the Auto Scaling lifecycle hooks at which the instance waits.
	// Unset: none is known.
	// +optional
	// +listType=map
	// +listMapKey=autoScalingGroupName
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	LifecycleHooks []HookStatus `json:"lifecycleHooks,omitempty"`

	// webhooks are the deliveries to webhooks. Unset: there is none yet.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +listMapKey=step
	// +kubebuilder:validation:MaxItems=40
	Webhooks []WebhookStatus `json:"webhooks,omitempty"`

	// blocked lists pods that cannot be evicted now, at most ten of them.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	Blocked []BlockedPod `json:"blocked,omitempty"`

	// podOutcomes lists pods that were not evicted the usual way, at most twenty of
	// them, the most severe first. Unset: there are none so far.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	PodOutcomes []PodOutcome `json:"podOutcomes,omitempty"`
}

// PolicyReference refers to a policy as it was when it was chosen.
type PolicyReference struct {
	// name is the name of the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid is the UID of the policy. A policy that was deleted and created again under
	// the same name is another policy.
	// +required
	UID types.UID `json:"uid,omitempty"` //nolint:kubeapilinter // markers cannot bound a type of another module

	// generation is the generation of the policy that the last step followed.
	// +required
	// +kubebuilder:validation:Minimum=1
	Generation int64 `json:"generation,omitempty"`

	// takenOverFrom is the name of the policy that governed the termination before, until
	// it was deleted or its mode changed to DryRun. Unset: this is the first one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	TakenOverFrom string `json:"takenOverFrom,omitempty"`
}

// EventState says whether an event still counts.
//
// +kubebuilder:validation:Enum=Active;Resolved;Cancelled;Stale
type EventState string

// The states of an event. Only active events count.
const (
	// EventActive: the event counts.
	EventActive EventState = "Active"
	// EventResolved: the event is over: it has happened and the instance is back since, or
	// its time has passed.
	EventResolved EventState = "Resolved"
	// EventCancelled: the event was cancelled: by AWS, by removing the annotation, or by
	// uncordoning the node where a cordon without a deadline was all that was asked for.
	EventCancelled EventState = "Cancelled"
	// EventStale: the event was over when it was first received.
	EventStale EventState = "Stale"
)

// EventStatus is the state of one event.
type EventStatus struct {
	// id is the id of the event in the spec.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// state says whether the event still counts.
	// +required
	State EventState `json:"state,omitempty"`

	// time is the time of the statement that the state belongs to: a later statement
	// about the same thing is judged anew. Unset: an earlier version wrote the state,
	// which belongs to the statement in the spec.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`

	// plan is what that statement announced, such as "terminate 2026-11-22T05:10:00Z". A
	// later statement with the same plan is no reason to begin again. Unset: it announced
	// no more than its kind.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Plan string `json:"plan,omitempty"`

	// message says why the event is in this state, where the event itself does not: such as
	// that somebody else uncordoned the node, which cancels a cordon without a deadline.
	// Unset: the event itself does.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// NodeReference identifies one Node object: not its name, which can be used again, but
// its UID.
type NodeReference struct {
	// uid is the UID of the Node object.
	// +required
	UID types.UID `json:"uid,omitempty"` //nolint:kubeapilinter // markers cannot bound a type of another module

	// bootID is the node's boot ID when the termination began. It stands for the bootID of
	// events that have none. Unset: the node does not report one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// systemUUID is the node's system UUID, by which a node without a providerID is known to
	// run on the same instance still. Unset: the node has a providerID, or reports none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	SystemUUID string `json:"systemUUID,omitempty"`

	// zone is the Availability Zone in the node's providerID, or that EC2 says of its
	// instance. Unset: neither has one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Zone string `json:"zone,omitempty"`

	// goneTime is when the instance was first seen to have no Node object. Unset: it has one.
	// +optional
	GoneTime *metav1.Time `json:"goneTime,omitempty"`
}

// PodCounts counts the pods that have to be evicted. Pods of DaemonSets, mirror pods,
// finished pods and pods that the policy skips are not counted.
type PodCounts struct {
	// total is the number of pods that have to be evicted: those that are gone and
	// those that remain.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total *int32 `json:"total,omitempty"`

	// evicted is the number of pods that were evicted or deleted, whether or not they
	// are gone.
	// +required
	// +kubebuilder:validation:Minimum=0
	Evicted *int32 `json:"evicted,omitempty"`

	// terminating is the number of pods that were evicted or deleted and are still
	// shutting down.
	// +required
	// +kubebuilder:validation:Minimum=0
	Terminating *int32 `json:"terminating,omitempty"`

	// blocked is the number of pods that cannot be evicted now.
	// +required
	// +kubebuilder:validation:Minimum=0
	Blocked *int32 `json:"blocked,omitempty"`

	// remaining is the number of pods that are still on the node.
	// +required
	// +kubebuilder:validation:Minimum=0
	Remaining *int32 `json:"remaining,omitempty"`

	// summary is gone/total, for people.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`
}

// BlockedPod is a pod that cannot be evicted now.
type BlockedPod struct {
	// namespace is the namespace of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// name is the name of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// reason says what blocks the pod. It names the disruption budget if there is one.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`

	// startTime is since when the pod is known to be blocked. Unset: unknown.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
}

// PodOutcomeType says what was unusual about a pod's eviction.
//
// +kubebuilder:validation:Enum=WasBlocked;CutShort;Remaining;Left
type PodOutcomeType string

// The outcomes of pods that were not evicted the usual way.
const (
	// PodWasBlocked: the pod was blocked for a while, and evicted later.
	PodWasBlocked PodOutcomeType = "WasBlocked"
	// PodCutShort: because of a deadline the pod was deleted although it could not be
	// evicted, mostly because of a disruption budget, or had less than its grace period.
	PodCutShort PodOutcomeType = "CutShort"
	// PodRemaining: the pod was still on the node at the end.
	PodRemaining PodOutcomeType = "Remaining"
)

// PodOutcome is the outcome of a pod that was not evicted the usual way.
type PodOutcome struct {
	// namespace is the namespace of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// name is the name of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// outcome is WasBlocked, CutShort or Remaining. Left is what an earlier version
	// wrote for Remaining.
	// +required
	Outcome PodOutcomeType `json:"outcome,omitempty"`

	// message says what blocked the pod, or which budget or grace period was cut
	// short.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`

	// time is when the outcome was recorded.
	// +required
	Time metav1.Time `json:"time,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing
}
