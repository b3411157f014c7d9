// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions of both kinds. Ready, Reconciling and Stalled follow kstatus, so
// that kubectl wait, Flux and Argo CD understand them.
// https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
const (
	// ConditionReady is True when there is nothing left to do. Its reason is the
	// object's state in one word, its message the same in a sentence.
	ConditionReady = "Ready"
	// ConditionReconciling is True while something is still being done.
	// On NodeTerminations only.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing more is done until somebody changes
	// something. On NodeTerminations only.
	ConditionStalled = "Stalled"
)

// Conditions of a NodeTermination besides Ready, Reconciling and Stalled.
const (
	// ConditionCordoned is True while the node is unschedulable for this
	// termination's sake or somebody else's.
	ConditionCordoned = "Cordoned"
	// ConditionDrained is True once no pod that has to go is left on the node.
	ConditionDrained = "Drained"
	// ConditionNotified is True once every webhook was told of every step so far.
	// Absent: the policy has no webhook.
	ConditionNotified = "Notified"
	// ConditionLifecycleHookCompleted is True once no Auto Scaling hook waits for this
	// termination any more. Absent: none ever did.
	ConditionLifecycleHookCompleted = "LifecycleHookCompleted"
)

// Conditions of a NodeTerminationPolicy besides Ready.
const (
	// ConditionSourcesReady is True while every source is heard. Its reason is
	// that of the first source that is not, and its message says what to do.
	ConditionSourcesReady = "SourcesReady"
	// ConditionOverlapping is True when another policy selects some of the same
	// nodes, or something else watches over them; its message says which.
	ConditionOverlapping = "Overlapping"
)

// Reasons of a NodeTermination's Ready condition: its state.
const (
	// StateReceived: events were heard and nothing was done yet.
	StateReceived = "Received"
	// StateIgnored: the policy says to do nothing about the active events.
	StateIgnored = "Ignored"
	// StateNoPolicy: no policy selects the node, so nothing is done.
	StateNoPolicy = "NoPolicy"
	// StateCordoned: the node is unschedulable and its pods are left alone.
	StateCordoned = "Cordoned"
	// StateScheduled: the node is unschedulable and the drain begins later.
	StateScheduled = "Scheduled"
	// StateWaiting: the node is unschedulable and waits for others to be drained first,
	// or for load balancers or EC2.
	StateWaiting = "Waiting"
	// StateDraining: pods are being told to go.
	StateDraining = "Draining"
	// StateCompleting: the pods are gone, and the instance's lifecycle hook is yet to be completed.
	StateCompleting = "Completing"
	// StateCompleted: the pods are gone.
	StateCompleted = "Completed"
	// StateFailed: it ended before the pods were gone; the message says what kept them.
	StateFailed = "Failed"
	// StateCancelled: every event was called off or resolved, and what was done is undone.
	StateCancelled = "Cancelled"
	// StateDryRun: the policy is in mode DryRun: the message says what would be done.
	StateDryRun = "DryRun"
	// StateSuspended: spec.suspend is true.
	StateSuspended = "Suspended"
	// StatePolicyGone: the policy that governs it was deleted, or turned to DryRun in
	// the middle of it: it stays where it is.
	StatePolicyGone = "PolicyGone"
	// StateRefused: the instance and the node do not belong together.
	StateRefused = "Refused"
)

// Reasons of the Cordoned and Drained conditions.
const (
	// ReasonCordoned: this operator made the node unschedulable.
	ReasonCordoned = "Cordoned"
	// ReasonCordonedBefore: somebody else had; it stays so.
	ReasonCordonedBefore = "CordonedBefore"
	// ReasonUncordoned: what was done to the node was undone.
	ReasonUncordoned = "Uncordoned"
	// ReasonNodeGone: the Node object is gone.
	ReasonNodeGone = "NodeGone"
	// ReasonDraining: pods are still there.
	ReasonDraining = "Draining"
	// ReasonBlocked: pods are still there, and none of them can be evicted now.
	ReasonBlocked = "Blocked"
	// ReasonPodsGone: no pod that has to go is left.
	ReasonPodsGone = "PodsGone"
	// ReasonTimeout: drain.timeoutSeconds passed.
	ReasonTimeout = "Timeout"
	// ReasonDeadlineExceeded: the instance's deadline passed.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonInstanceStopped: the instance stopped or terminated while pods were there.
	ReasonInstanceStopped = "InstanceStopped"
	// ReasonNotRequested: the action for the active events has no drain.
	ReasonNotRequested = "NotRequested"
	// ReasonScheduled: the drain begins later.
	ReasonScheduled = "Scheduled"
	// ReasonWaiting: the drain waits for something else first.
	ReasonWaiting = "Waiting"
)

// Reasons of the Notified condition.
const (
	// ReasonNotifying: something is yet to be sent.
	ReasonNotifying = "Pending"
	// ReasonNotified: the receivers have taken everything.
	ReasonNotified = "Delivered"
	// ReasonNotificationFailed: something could not be sent; the message says why.
	ReasonNotificationFailed = "Failed"
)

// Reasons of the LifecycleHookCompleted condition.
const (
	// ReasonHookWaiting: the group waits at the hook for the drain.
	ReasonHookWaiting = "Waiting"
	// ReasonHookFailing: Auto Scaling refused the last call, or did not answer.
	ReasonHookFailing = "CallFailed"
	// ReasonHookCompleted: every hook was completed, or its group waits no more.
	ReasonHookCompleted = "Completed"
	// ReasonHookIgnored: a hook is not completed by this operator and runs into its own timeout.
	ReasonHookIgnored = "Ignored"
)

// Reasons of a policy's Ready, SourcesReady and Overlapping conditions, and of its sources.
const (
	// ReasonReady: all is well.
	ReasonReady = "Ready"
	// ReasonStarting: the source was not heard yet.
	ReasonStarting = "Starting"
	// ReasonQueueNotFound: the queue does not exist.
	ReasonQueueNotFound = "QueueNotFound"
	// ReasonAccessDenied: the credentials do not allow a call.
	ReasonAccessDenied = "AccessDenied"
	// ReasonNoCredentials: no AWS credentials were found, or they are not valid.
	ReasonNoCredentials = "NoCredentials"
	// ReasonNoRegion: neither the policy, the queue's URL nor the environment names a region.
	ReasonNoRegion = "NoRegion"
	// ReasonThrottled: AWS asks to slow down.
	ReasonThrottled = "Throttled"
	// ReasonUnreachable: no connection to AWS.
	ReasonUnreachable = "Unreachable"
	// ReasonSourceError: AWS answered with another error.
	ReasonSourceError = "SourceError"
	// ReasonWatchersNotReady: some nodes have no watcher that listens.
	ReasonWatchersNotReady = "WatchersNotReady"
	// ReasonMetadataUnavailable: watchers cannot reach the metadata service.
	ReasonMetadataUnavailable = "MetadataUnavailable"
	// ReasonShortRetention: the queue keeps messages for less than an hour.
	ReasonShortRetention = "ShortRetention"
	// ReasonUnknownInstancesDiffer: two policies on one queue want different things done
	// about unknown instances; Retain is done.
	ReasonUnknownInstancesDiffer = "UnknownInstancesDiffer"
	// ReasonInvalidWebhook: a webhook's template cannot be used, or what it refers to is not there.
	ReasonInvalidWebhook = "InvalidWebhook"
	// ReasonInvalidSelector: a label selector cannot be used. If it is nodeSelector the
	// policy governs no node; if it is one of drain.skip no pod is told to go.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonNoOverlap: no other policy selects these nodes.
	ReasonNoOverlap = "NoOverlap"
	// ReasonPolicies: other policies select some of the same nodes.
	ReasonPolicies = "OtherPolicies"
	// ReasonOtherManagers: Karpenter or a managed node group watches over some of the nodes too.
	ReasonOtherManagers = "OtherManagers"
)
