// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeTermination is the record of one EC2 instance's way out: what was heard
// about it, what was done, what stands in the way. It is named after the
// instance, so everything heard about one instance meets in one object.
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
	// metadata is the object's standard metadata; its name is the instance ID.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what was heard about the instance.
	// +required
	Spec NodeTerminationSpec `json:"spec,omitzero"`

	// status is what was done about it. Unset: the manager has not seen the object yet.
	// +optional
	Status NodeTerminationStatus `json:"status,omitzero"`
}

// NodeTerminationList is a list of NodeTerminations.
//
// +kubebuilder:object:root=true
type NodeTerminationList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the list's standard metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the NodeTerminations.
	Items []NodeTermination `json:"items"`
}

// NodeTerminationSpec is what sources have heard about one instance.
type NodeTerminationSpec struct {
	// instanceID is the EC2 instance all events are about.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=19
	// +kubebuilder:validation:XValidation:rule="self.matches('^i-[0-9a-f]{8,17}$')",message="an instance ID is i- followed by 8 to 17 hexadecimal digits, such as i-0abc1234def567890"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="instanceID cannot change: create another NodeTermination"
	InstanceID string `json:"instanceID,omitempty"`

	// nodeName is the Kubernetes node that runs on the instance.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="nodeName cannot change: create another NodeTermination"
	NodeName string `json:"nodeName,omitempty"`

	// instance is what the metadata service says of the instance, for the record.
	// Unset: no watcher has heard of it.
	// +optional
	Instance *Instance `json:"instance,omitempty"`

	// suspend stops the termination where it is: nothing more is changed on the
	// node or its pods until it is false again. Unset: false.
	// +optional
	Suspend *bool `json:"suspend,omitempty"` //nolint:kubeapilinter // the same name and type as in Job and CronJob

	// events are the facts heard about the instance, each entry owned by whoever heard it.
	// +required
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Events []Event `json:"events,omitempty"`
}

// Instance is what the metadata service says of an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
//
// +kubebuilder:validation:MinProperties=1
type Instance struct {
	// type of the instance, such as m6i.large. Unset: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`

	// lifeCycle is spot, on-demand, scheduled or capacity-block. Unset: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	LifeCycle string `json:"lifeCycle,omitempty"`

	// availabilityZone the instance runs in. Unset: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	AvailabilityZone string `json:"availabilityZone,omitempty"`

	// region the instance runs in. Unset: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Region string `json:"region,omitempty"`

	// accountID is the AWS account's. Unset: not known.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	AccountID string `json:"accountID,omitempty"`
}

// NodeTerminationStatus is what was done about the events.
type NodeTerminationStatus struct {
	// conditions tell the state: Ready (its reason is the state in one word),
	// Reconciling, Stalled, Cordoned, Drained, LifecycleHookCompleted and Notified.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// cause is the kind of the event that decides what is done: the active one
	// with the strongest action, then the nearest deadline. Unset: nothing was decided yet.
	// +optional
	Cause EventKind `json:"cause,omitempty"`

	// policyRef is the policy that governs this termination, chosen at the first
	// action and kept. Unset: none was chosen yet.
	// +optional
	PolicyRef *PolicyReference `json:"policyRef,omitempty"`

	// deadline is when AWS takes the instance: the nearest of the active events'.
	// Unset: no active event has a hard deadline.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// startTime is when the first action on the node was taken. Unset: none was.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// drainStartTime is when the pods began to be told to go. Unset: they were not.
	// +optional
	DrainStartTime *metav1.Time `json:"drainStartTime,omitempty"`

	// completionTime is when the termination ended, well or not. Unset: it has not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// events tell what became of each event of the spec.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=32
	Events []EventStatus `json:"events,omitempty"`

	// node is the node this is about: a node's name comes back, its UID does not.
	// Unset: the node was never seen.
	// +optional
	Node *NodeReference `json:"node,omitempty"`

	// pods counts the pods that have to go. Unset: no drain has begun.
	// +optional
	Pods *PodCounts `json:"pods,omitempty"`

	// lifecycleHooks tell how it stands with the Auto Scaling hooks that wait for the
	// instance. Unset: none was heard of.
	// +optional
	// +listType=map
	// +listMapKey=autoScalingGroupName
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	LifecycleHooks []HookStatus `json:"lifecycleHooks,omitempty"`

	// webhooks tell how it stands with what webhooks are told. Unset: nothing yet.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +listMapKey=step
	// +kubebuilder:validation:MaxItems=40
	Webhooks []WebhookStatus `json:"webhooks,omitempty"`

	// blocked names pods that something keeps from being evicted, at most ten of them.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	Blocked []BlockedPod `json:"blocked,omitempty"`

	// podOutcomes tell of pods that did not go the ordinary way: the gravest, at most
	// twenty of them. Unset: all went as they were to, so far.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	PodOutcomes []PodOutcome `json:"podOutcomes,omitempty"`
}

// PolicyReference names a policy as it was when it was chosen.
type PolicyReference struct {
	// name of the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid of the policy: one deleted and created anew under its name is another policy.
	// +required
	UID types.UID `json:"uid,omitempty"` //nolint:kubeapilinter // markers cannot bound a type of another module

	// generation of the policy that the last step followed.
	// +required
	// +kubebuilder:validation:Minimum=1
	Generation int64 `json:"generation,omitempty"`
}

// EventState says whether an event still counts.
//
// +kubebuilder:validation:Enum=Active;Resolved;Cancelled;Stale
type EventState string

// The states of an event. Only active ones count.
const (
	// EventActive: the event stands and decides what is done.
	EventActive EventState = "Active"
	// EventResolved: it came to pass, and the instance has come back since.
	EventResolved EventState = "Resolved"
	// EventCancelled: AWS has called it off.
	EventCancelled EventState = "Cancelled"
	// EventStale: it was already past when the node last booted.
	EventStale EventState = "Stale"
)

// EventStatus tells what became of one event.
type EventStatus struct {
	// id of the event in the spec.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// state says whether the event still counts.
	// +required
	State EventState `json:"state,omitempty"`
}

// NodeReference pins the node: not its name, which is used again, but this one.
type NodeReference struct {
	// uid of the Node object.
	// +required
	UID types.UID `json:"uid,omitempty"` //nolint:kubeapilinter // markers cannot bound a type of another module

	// bootID of the machine when last looked: another one later means that it has
	// booted since. Unset: the node did not say.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// zone is the availability zone that the node's providerID names. Unset: it names none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Zone string `json:"zone,omitempty"`

	// goneTime is when the Node object was seen to be gone. Unset: it is there.
	// +optional
	GoneTime *metav1.Time `json:"goneTime,omitempty"`
}

// PodCounts counts the pods that have to leave the node. DaemonSet pods, mirror
// pods, finished pods and pods the policy skips are not among them.
type PodCounts struct {
	// total is how many pods had to go when last looked: those gone and those still there.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total *int32 `json:"total,omitempty"`

	// evicted is how many have been told to go, whether or not they are gone by now.
	// +required
	// +kubebuilder:validation:Minimum=0
	Evicted *int32 `json:"evicted,omitempty"`

	// terminating is how many have been told to go and are still shutting down.
	// +required
	// +kubebuilder:validation:Minimum=0
	Terminating *int32 `json:"terminating,omitempty"`

	// blocked is how many cannot be evicted for now.
	// +required
	// +kubebuilder:validation:Minimum=0
	Blocked *int32 `json:"blocked,omitempty"`

	// remaining is how many are still there.
	// +required
	// +kubebuilder:validation:Minimum=0
	Remaining *int32 `json:"remaining,omitempty"`

	// summary is gone/total, for people.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`
}

// BlockedPod is a pod that cannot be evicted for now, and why.
type BlockedPod struct {
	// namespace of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// name of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// reason says what keeps it, with the name of the disruption budget if one does.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Reason string `json:"reason,omitempty"`

	// startTime is since when it is known to be blocked. Unset: that is not known.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
}

// PodOutcomeType says how a pod went that did not go the ordinary way.
//
// +kubebuilder:validation:Enum=WasBlocked;CutShort;Remaining;Left
type PodOutcomeType string

// The ways in which pods go out of the ordinary.
const (
	// PodWasBlocked: something kept it for a while, and then it was told to go.
	PodWasBlocked PodOutcomeType = "WasBlocked"
	// PodCutShort: it was told to go with less than it is entitled to, because of a deadline.
	PodCutShort PodOutcomeType = "CutShort"
	// PodRemaining: it was still there at the end.
	PodRemaining PodOutcomeType = "Remaining"
)

// PodOutcome is a pod that did not go the ordinary way.
type PodOutcome struct {
	// namespace of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// name of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// outcome is WasBlocked, CutShort or Remaining. Left is what an earlier version wrote for Remaining.
	// +required
	Outcome PodOutcomeType `json:"outcome,omitempty"`

	// message says what kept it, or what it was denied.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`

	// time is when that was known.
	// +required
	Time metav1.Time `json:"time,omitempty,omitzero"` //nolint:kubeapilinter // the zero time is left out and so refused as missing
}
