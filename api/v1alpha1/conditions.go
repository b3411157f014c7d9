// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "strings"

// Conditions of both kinds. Ready, Reconciling and Stalled follow kstatus, which Flux
// and other tools built on cli-utils read; kubectl wait waits for any of them by name.
// Argo CD does not use kstatus: it has health checks of its own, written in Lua. Those for
// these kinds are in config/argocd, to be added to resource.customizations.
// https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
// https://argo-cd.readthedocs.io/en/stable/operator-manual/health/#custom-health-checks
const (
	// ConditionReady is True when there is nothing left to do. Its reason is the
	// object's state in one word, its message the same in a sentence.
	ConditionReady = "Ready"
	// ConditionReconciling is True while something is still being done. On
	// NodeTerminations only.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing more is done until somebody changes
	// something. On NodeTerminations only.
	ConditionStalled = "Stalled"
)

// Conditions of a NodeTermination besides Ready, Reconciling and Stalled.
const (
	// ConditionCordoned is True while the node is unschedulable, whether this operator
	// or somebody else cordoned it.
	ConditionCordoned = "Cordoned"
	// ConditionDrained is True when no pod that has to be evicted is on the node any
	// more.
	ConditionDrained = "Drained"
	// ConditionNotified is True when every webhook was notified of every step so far.
	// Absent: the policy has no webhook.
	ConditionNotified = "Notified"
	// ConditionMaintenanceOverdue is True when a maintenance should have begun more than a
	// day ago, AWS gives no end of it and nobody has said that it is over. Absent: there
	// was none.
	ConditionMaintenanceOverdue = "MaintenanceOverdue"
	// ConditionInstanceStateConfirmed says whether EC2 confirms an InstanceStateChange that is
	// doubted, as too many nodes of the policy received one: Unknown while EC2 is asked,
	// False if the instance runs. Absent: it was not doubted.
	ConditionInstanceStateConfirmed = "InstanceStateConfirmed"
	// ConditionLifecycleHookCompleted is True when no Auto Scaling lifecycle hook
	// waits for this termination any more. Absent: none ever did.
	ConditionLifecycleHookCompleted = "LifecycleHookCompleted"
)

// Conditions of a NodeTerminationPolicy besides Ready.
const (
	// ConditionSourcesReady is True while every source is up. Otherwise its reason is
	// that of the first source that is not, and its message says what to do.
	ConditionSourcesReady = "SourcesReady"
	// ConditionOverlapping is True when another policy selects some of the same nodes,
	// or another controller drains them too; its message says which.
	ConditionOverlapping = "Overlapping"
	// ConditionRoleAssumed is True while the role of lifecycleHook.roleARN can be assumed.
	// Otherwise its message says what to do. Absent: the policy has no such role.
	ConditionRoleAssumed = "RoleAssumed"
	// ConditionLowMaxReceiveCount is True while the redrive policy of a queue that several
	// clusters share moves messages to the dead-letter queue before the right one may have
	// received them. Absent: no source of the policy has a clusterName.
	ConditionLowMaxReceiveCount = "LowMaxReceiveCount"
	// ConditionTooManyUnhealthy is True while more of a policy's nodes have an InstanceStatusCheckFailed
	// than maxUnhealthy, so that nothing more is done for this kind of event.
	ConditionTooManyUnhealthy = "TooManyUnhealthy"
	// ConditionNodesIdentified is True when the instance is known of each node without a providerID
	// that the policy governs. Only policies with nodeIdentity PrivateDNSName have it.
	ConditionNodesIdentified = "NodesIdentified"
)

// Reasons of a NodeTermination's Ready condition: its state.
const (
	// StateReceived: events were received and nothing has been done yet.
	StateReceived = "Received"
	// StateIgnored: the policy's action for the active events is to do nothing, or the
	// instance does not have the policy's instanceTag.
	StateIgnored = "Ignored"
	// StateNoPolicy: no policy selects the node, so nothing is done.
	StateNoPolicy = "NoPolicy"
	// StateCordoned: the node is cordoned and its pods are not touched.
	StateCordoned = "Cordoned"
	// StateScheduled: the node is cordoned and the drain begins later.
	StateScheduled = "Scheduled"
	// StateWaiting: the drain waits: for the drains of other nodes, for load
	// balancers, or for EC2's answer.
	StateWaiting = "Waiting"
	// StateHeld: the drain can wait, and somebody has asked for that; the message says who and
	// why.
	StateHeld = "Held"
	// StateDraining: pods are being evicted.
	StateDraining = "Draining"
	// StateCompleting: the pods are gone, and the instance's lifecycle hook has yet to
	// be completed.
	StateCompleting = "Completing"
	// StateCompleted: the pods are gone.
	StateCompleted = "Completed"
	// StateFailed: the termination ended before the pods were gone; the message says
	// what blocked them.
	StateFailed = "Failed"
	// StateCancelled: every event was cancelled or is over, and what was done is
	// undone.
	StateCancelled = "Cancelled"
	// StateDryRun: the policy is in mode DryRun; the message says what would be done.
	StateDryRun = "DryRun"
	// StateSuspended: spec.suspend is true, of the termination or of its policy.
	StateSuspended = "Suspended"
	// StatePolicyGone: the policy that governs the termination was deleted, or its mode
	// changed to DryRun meanwhile, and no other one governs the node: everything stays as
	// it is until one does.
	StatePolicyGone = "PolicyGone"
	// StateRefused: the node does not run on the instance.
	StateRefused = "Refused"
)

// Reasons of the Cordoned and Drained conditions.
const (
	// ReasonCordoned: this operator cordoned the node.
	ReasonCordoned = "Cordoned"
	// ReasonCordonedBefore: the node was cordoned before, by somebody else; it stays
	// so.
	ReasonCordonedBefore = "CordonedBefore"
	// ReasonCordonRefused: the API server or an admission webhook refuses to have the node
	// cordoned; the message has its answer.
	ReasonCordonRefused = "CordonRefused"
	// ReasonUncordonedByOthers: somebody else uncordoned the node, and it is cordoned again
	// at the time in the message.
	ReasonUncordonedByOthers = "UncordonedByOthers"
	// ReasonUncordoned: what was done to the node was undone.
	ReasonUncordoned = "Uncordoned"
	// ReasonNodeGone: the Node object is gone.
	ReasonNodeGone = "NodeGone"
	// ReasonDraining: pods remain.
	ReasonDraining = "Draining"
	// ReasonBlocked: pods remain, and none of them can be evicted now.
	ReasonBlocked = "Blocked"
	// ReasonPodsGone: no pod that has to be evicted remains.
	ReasonPodsGone = "PodsGone"
	// ReasonTimeout: drain.timeoutSeconds has passed.
	ReasonTimeout = "Timeout"
	// ReasonDeadlineExceeded: the instance's deadline has passed.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonInstanceStopped: the instance stopped or was terminated before the pods
	// were gone.
	ReasonInstanceStopped = "InstanceStopped"
	// ReasonNotRequested: the action for the active events has no drain.
	ReasonNotRequested = "NotRequested"
	// ReasonScheduled: the drain begins later.
	ReasonScheduled = "Scheduled"
	// ReasonWaiting: the drain waits for something else first.
	ReasonWaiting = "Waiting"
	// ReasonHeld: somebody has asked for the drain to wait.
	ReasonHeld = "Held"
)

// Reasons of the MaintenanceOverdue condition.
const (
	// ReasonMaintenanceOverdue: nobody has said that the maintenance is over.
	ReasonMaintenanceOverdue = "NoEndKnown"
	// ReasonMaintenanceOver: it is over, or has another date.
	ReasonMaintenanceOver = "Over"
)

// Reasons of the InstanceStateConfirmed condition.
const (
	// ReasonAsking: EC2 is asked.
	ReasonAsking = "Asking"
	// ReasonConfirmed: EC2 says that the instance is stopping or has stopped.
	ReasonConfirmed = "Confirmed"
	// ReasonNotAnswered: EC2 has not answered, so that the message is believed. Of NodesIdentified: EC2
	// has not answered about some nodes, so that nothing is done about them yet.
	ReasonNotAnswered = "NotAnswered"
	// ReasonInstanceRunning: EC2 says that the instance runs.
	ReasonInstanceRunning = "InstanceRunning"
)

// Reasons of the Notified condition.
const (
	// ReasonNotifying: a delivery is pending.
	ReasonNotifying = "Pending"
	// ReasonNotified: the receivers have accepted everything.
	ReasonNotified = "Delivered"
	// ReasonNotificationFailed: a delivery was given up; the message says why.
	ReasonNotificationFailed = "Failed"
)

// Reasons of the LifecycleHookCompleted condition.
const (
	// ReasonHookWaiting: the group waits at the hook for the drain.
	ReasonHookWaiting = "Waiting"
	// ReasonHookFailing: Auto Scaling refused the last call, or did not answer.
	ReasonHookFailing = "CallFailed"
	// ReasonHookCompleted: every hook was completed, or its group does not wait any
	// more.
	ReasonHookCompleted = "Completed"
	// ReasonHookIgnored: this operator does not complete a hook, so the hook runs into
	// its own timeout.
	ReasonHookIgnored = "Ignored"
)

// Reasons of a policy's condition RoleAssumed besides those of sources.
const (
	// ReasonRoleAssumed: there are credentials of the role.
	ReasonRoleAssumed = "RoleAssumed"
)

// Reasons of a policy's condition LowMaxReceiveCount.
const (
	// ReasonMaxReceiveCount: a queue's maxReceiveCount is below 20.
	ReasonMaxReceiveCount = "MaxReceiveCount"
	// ReasonEnoughReceives: no queue's is.
	ReasonEnoughReceives = "EnoughReceives"
)

// Reasons of a policy's condition TooManyUnhealthy.
const (
	ReasonMaxUnhealthy = "MaxUnhealthy"
	ReasonFewUnhealthy = "FewUnhealthy"
)

// Reasons of a policy's condition NodesIdentified.
const (
	// ReasonIdentified: all of them are.
	ReasonIdentified = "Identified"
	// ReasonNotIdentified: EC2 knows no running instance, or several, for some nodes.
	ReasonNotIdentified = "NotIdentified"
)

// Reasons of a policy's Ready, SourcesReady and Overlapping conditions, and of its sources.
const (
	// ReasonReady: everything is in order.
	ReasonReady = "Ready"
	// ReasonStarting: the source is not up yet.
	ReasonStarting = "Starting"
	// ReasonQueueNotFound: the queue does not exist.
	ReasonQueueNotFound = "QueueNotFound"
	// ReasonAccessDenied: the credentials do not allow a call.
	ReasonAccessDenied = "AccessDenied"
	// ReasonNoCredentials: no AWS credentials were found, or they are not valid.
	ReasonNoCredentials = "NoCredentials"
	// ReasonNoRegion: neither the policy, the queue's URL nor the environment names a
	// Region.
	ReasonNoRegion = "NoRegion"
	// ReasonThrottled: AWS throttles the calls.
	ReasonThrottled = "Throttled"
	// ReasonUnreachable: AWS cannot be reached.
	ReasonUnreachable = "Unreachable"
	// ReasonSourceError: AWS returned another error.
	ReasonSourceError = "SourceError"
	// ReasonWatchersNotReady: some nodes have no watcher that is ready.
	ReasonWatchersNotReady = "WatchersNotReady"
	// ReasonMetadataUnavailable: watchers cannot reach the metadata service.
	ReasonMetadataUnavailable = "MetadataUnavailable"
	// ReasonShortRetention: the queue retains messages for less than an hour.
	ReasonShortRetention = "ShortRetention"
	// ReasonUnknownInstancesDiffer: two policies with the same queue have different
	// unknownInstances; Retain applies.
	ReasonUnknownInstancesDiffer = "UnknownInstancesDiffer"
	// ReasonInvalidWebhook: a webhook's template cannot be used, or what it refers to
	// does not exist.
	ReasonInvalidWebhook = "InvalidWebhook"
	// ReasonInvalidHold: the ConfigMap that spec.drain.hold refers to does not exist.
	ReasonInvalidHold = "InvalidHold"
	// ReasonInvalidSelector: a label selector cannot be used. If it is nodeSelector
	// the policy governs no node; if it is one in drain.skip no pod is evicted.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonNoOverlap: no other policy selects these nodes.
	ReasonNoOverlap = "NoOverlap"
	// ReasonPolicies: other policies select some of the same nodes.
	ReasonPolicies = "OtherPolicies"
	// ReasonOtherManagers: Karpenter or a managed node group drains some of the nodes
	// too.
	ReasonOtherManagers = "OtherManagers"
)

// TruncateMessage returns a message that fits into a status: of a longer one the first
// maxBytes bytes, without a character that is cut in two, and "…".
func TruncateMessage(message string, maxBytes int) string {
	if len(message) <= maxBytes {
		return message
	}
	return strings.ToValidUTF8(message[:maxBytes], "") + "…"
}
