// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/sqs"
)

// snapshot is what one reconcile reads of the cluster.
type snapshot struct {
	policies []v1alpha1.NodeTerminationPolicy
	// governed counts the nodes of each policy, active its terminations under way, and unhealthy those of
	// nodes that fail a status check.
	governed, active, unhealthy map[types.UID]int32
	// regions are those of the policies' nodes: one of each policy's.
	regions map[types.UID]string
	// governing has the policy of each node, by the node's name.
	governing map[string]types.UID
	// overlaps are the other policies that select a node a policy selects too,
	// others the other managers of its nodes; both by the policy's UID.
	overlaps, others map[types.UID]map[string]bool
	// identities finds the instances of nodes; unidentified are the nodes of which the instance is not known, by
	// the UID of the policy that governs them.
	identities   *identity.Finder
	unidentified map[types.UID]unidentified
	// nodesDown are the names of nodes that are not ready.
	nodesDown map[string]bool
	// windows has the policies that select a Windows node, by their UID.
	windows map[types.UID]bool
	// daemonSets are those of watchers.
	daemonSets []appsv1.DaemonSet
	// watchers are the states of the policies' watchers, lastEvents the times of the
	// last events that they received; both by the policy's UID.
	watchers   map[types.UID]v1alpha1.SourceStatus
	lastEvents map[types.UID]metav1.Time
}

// managerLabels are on nodes that something else manages as well.
var managerLabels = map[string]string{
	"karpenter.sh/nodepool":       "Karpenter",
	"eks.amazonaws.com/nodegroup": "an EKS managed node group",
}

// takeSnapshot reads all policies, nodes, NodeTerminations and watchers' DaemonSets.
func (r *Reconciler) takeSnapshot(ctx context.Context) (*snapshot, error) {
	var (
		policies     v1alpha1.NodeTerminationPolicyList
		nodes        corev1.NodeList
		terminations v1alpha1.NodeTerminationList
		daemonSets   appsv1.DaemonSetList
	)
	if err := r.Client.List(ctx, &policies); err != nil {
		return nil, fmt.Errorf("cannot list policies: %w", err)
	}
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list nodes: %w", err)
	}
	if err := r.Client.List(ctx, &terminations, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list NodeTerminations: %w", err)
	}
	if namespace := r.Watchers.Namespace; namespace != "" {
		if err := r.Client.List(ctx, &daemonSets, client.InNamespace(namespace), client.MatchingLabels(everyWatcher)); err != nil {
			return nil, fmt.Errorf("cannot list the watchers' DaemonSets: %w", err)
		}
	}
	snap := newSnapshot(policies.Items)
	snap.identities = r.Identities
	snap.daemonSets = daemonSets.Items
	for i := range nodes.Items {
		snap.addNode(&nodes.Items[i])
	}
	for i := range terminations.Items {
		snap.addTermination(&terminations.Items[i])
	}
	return snap, nil
}

func newSnapshot(policies []v1alpha1.NodeTerminationPolicy) *snapshot {
	return &snapshot{
		policies: policies,
		governed: map[types.UID]int32{}, active: map[types.UID]int32{}, unhealthy: map[types.UID]int32{},
		regions: map[types.UID]string{}, governing: map[string]types.UID{},
		overlaps: map[types.UID]map[string]bool{}, others: map[types.UID]map[string]bool{},
		unidentified: map[types.UID]unidentified{},
		nodesDown:    map[string]bool{}, windows: map[types.UID]bool{}, watchers: map[types.UID]v1alpha1.SourceStatus{}, lastEvents: map[types.UID]metav1.Time{},
	}
}

// addNode counts one node.
func (snap *snapshot) addNode(node *corev1.Node) {
	if _, ready := ec2node.ReadySince(node); !ready {
		snap.nodesDown[node.Name] = true
	}
	snap.addWindowsNode(node)
	if _, ours := snap.identities.InstanceID(node); !ours {
		snap.addUnidentified(node)
		return
	}
	var selecting []*v1alpha1.NodeTerminationPolicy
	for i := range snap.policies {
		if selects, err := ec2node.Selects(&snap.policies[i], node); err == nil && selects {
			selecting = append(selecting, &snap.policies[i])
		}
	}
	if governing := ec2node.Governing(snap.policies, node); governing != nil {
		snap.governed[governing.UID]++
		snap.governing[node.Name] = governing.UID
		if region := awsapi.RegionOf(ec2node.Zone(node)); region != "" {
			snap.regions[governing.UID] = region
		}
		for label, manager := range managerLabels {
			if _, found := node.Labels[label]; found {
				note(snap.others, governing.UID, manager)
			}
		}
	}
	for _, policy := range selecting {
		for _, other := range selecting {
			if other != policy {
				note(snap.overlaps, policy.UID, other.Name)
			}
		}
	}
}

// addTermination counts one termination for the policy that governs it.
func (snap *snapshot) addTermination(termination *v1alpha1.NodeTermination) {
	if termination.HasActive(v1alpha1.InstanceStatusCheckFailed) {
		snap.unhealthy[snap.governing[termination.Spec.NodeName]]++
	}
	if termination.Status.PolicyRef == nil {
		return
	}
	policy := termination.Status.PolicyRef.UID
	if termination.Status.CompletionTime == nil {
		snap.active[policy]++
	}
	for _, e := range termination.Spec.Events {
		if last := snap.lastEvents[policy]; e.Source == v1alpha1.SourceIMDS && last.Before(&e.Time) {
			snap.lastEvents[policy] = e.Time
		}
	}
}

func note(notes map[types.UID]map[string]bool, uid types.UID, what string) {
	if notes[uid] == nil {
		notes[uid] = map[string]bool{}
	}
	notes[uid][what] = true
}

// queues returns the distinct queues that policies name.
func (snap *snapshot) queues() []sqs.Queue {
	var queues []sqs.Queue
	for i := range snap.policies {
		if snap.policies[i].DeletionTimestamp == nil {
			queues = append(queues, queuesOf(&snap.policies[i])...)
		}
	}
	return unique(queues)
}

// queuesOf returns the queues that one policy names.
func queuesOf(policy *v1alpha1.NodeTerminationPolicy) []sqs.Queue {
	var queues []sqs.Queue
	for _, source := range policy.Spec.Sources {
		if source.SQS != nil {
			queues = append(queues, sqs.QueueOf(source.SQS))
		}
	}
	return queues
}

func unique(queues []sqs.Queue) []sqs.Queue {
	slices.SortFunc(queues, func(a, b sqs.Queue) int {
		return cmp.Or(strings.Compare(a.URL, b.URL), strings.Compare(a.Region, b.Region), strings.Compare(a.RoleARN, b.RoleARN))
	})
	return slices.Compact(queues)
}

// describe sets the policy's status, in memory.
func (r *Reconciler) describe(ctx context.Context, policy *v1alpha1.NodeTerminationPolicy, snap *snapshot) {
	status := &policy.Status
	status.ObservedGeneration = policy.Generation
	status.Nodes = ptr.To(snap.governed[policy.UID])
	status.ActiveTerminations = ptr.To(snap.active[policy.UID])
	status.Sources = r.sources(policy, snap)
	sourcesReady := summarize(status.Sources)
	ready := sourcesReady
	ready.Type = v1alpha1.ConditionReady
	if err := policy.Spec.CheckSelectors(); err != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, err.Error()
	}
	addProblem(&ready, v1alpha1.ReasonInvalidWebhook, r.checkWebhooks(ctx, policy))
	addProblem(&ready, v1alpha1.ReasonInvalidHold, r.checkHold(ctx, policy))
	role := r.roleAssumed(policy, snap)
	if role != nil && role.Status == metav1.ConditionFalse {
		addProblem(&ready, role.Reason, errors.New(role.Message))
	}
	setOrRemove(&status.Conditions, v1alpha1.ConditionRoleAssumed, role, policy.Generation)
	setOrRemove(&status.Conditions, v1alpha1.ConditionNodesIdentified, snap.nodesIdentified(policy), policy.Generation)
	setOrRemove(&status.Conditions, v1alpha1.ConditionLowMaxReceiveCount, lowMaxReceiveCount(policy.Spec.Sources, r.maxReceiveCount), policy.Generation)
	for _, condition := range []metav1.Condition{ready, sourcesReady, overlapping(policy, snap), snap.tooManyUnhealthy(policy)} {
		condition.ObservedGeneration = policy.Generation
		meta.SetStatusCondition(&status.Conditions, condition)
	}
}

// addProblem adds what is wrong to the condition Ready, if anything is: whoever mends one thing
// sees the others, too.
func addProblem(ready *metav1.Condition, reason string, err error) {
	switch {
	case err == nil:
	case ready.Status == metav1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reason, err.Error()
	default:
		ready.Message += "; " + err.Error()
	}
}

// checkHold returns what is wrong with the ConfigMap that holds drains, if there is to be one.
func (r *Reconciler) checkHold(ctx context.Context, policy *v1alpha1.NodeTerminationPolicy) error {
	ref := policy.Spec.Drain.HoldReference()
	if ref == nil {
		return nil
	}
	if _, err := r.Webhooks.ConfigMapKey(ctx, *ref); err != nil {
		return fmt.Errorf("drain.hold: %w", err)
	}
	return nil
}

// setOrRemove sets a condition that only some policies have; nil removes it.
func setOrRemove(conditions *[]metav1.Condition, kind string, condition *metav1.Condition, generation int64) {
	if condition == nil {
		meta.RemoveStatusCondition(conditions, kind)
		return
	}
	condition.ObservedGeneration = generation
	meta.SetStatusCondition(conditions, *condition)
}

func (r *Reconciler) sources(policy *v1alpha1.NodeTerminationPolicy, snap *snapshot) []v1alpha1.SourceStatus {
	var sources []v1alpha1.SourceStatus
	for _, s := range policy.Spec.Sources {
		switch {
		case s.SQS != nil:
			sources = append(sources, r.queueStatus(s.Name, sqs.QueueOf(s.SQS)))
		case s.IMDS != nil:
			sources = append(sources, snap.watcherStatus(s.Name, policy))
		}
	}
	return sources
}

// maxReceiveCount returns that of a queue's redrive policy, zero if there is none or it is not known.
func (r *Reconciler) maxReceiveCount(source *v1alpha1.SQSSource) int {
	return r.Queues.Health(sqs.QueueOf(source)).MaxReceiveCount
}

func (r *Reconciler) queueStatus(name string, queue sqs.Queue) v1alpha1.SourceStatus {
	health := r.Queues.Health(queue)
	status := v1alpha1.SourceStatus{Name: name, Ready: ptr.To(health.Ready), Reason: health.Reason, Message: health.Message}
	if !health.LastEventTime.IsZero() {
		status.LastEventTime = &metav1.Time{Time: health.LastEventTime}
	}
	return status
}

// watcherStatus returns the state of the policy's watchers. The time of the last event
// comes from NodeTerminations, and is kept when these are gone.
func (snap *snapshot) watcherStatus(name string, policy *v1alpha1.NodeTerminationPolicy) v1alpha1.SourceStatus {
	status, known := snap.watchers[policy.UID]
	if !known { // the policy is being deleted, and its watchers with it
		status = v1alpha1.SourceStatus{Name: name, Ready: ptr.To(false), Reason: v1alpha1.ReasonWatchersNotReady}
	}
	for _, before := range policy.Status.Sources {
		if before.Name == name {
			status.LastEventTime = before.LastEventTime
		}
	}
	if last, found := snap.lastEvents[policy.UID]; found && (status.LastEventTime == nil || status.LastEventTime.Before(&last)) {
		status.LastEventTime = &last
	}
	return status
}

// summarize makes one condition of all sources: the first that is not ready
// decides, then the first that has a message.
func summarize(sources []v1alpha1.SourceStatus) metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionSourcesReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonReady, Message: "every source is up",
	}
	decides := slices.IndexFunc(sources, func(s v1alpha1.SourceStatus) bool { return !*s.Ready })
	if decides >= 0 {
		condition.Status = metav1.ConditionFalse
	} else {
		decides = slices.IndexFunc(sources, func(s v1alpha1.SourceStatus) bool { return s.Message != "" })
	}
	if decides >= 0 {
		condition.Reason = sources[decides].Reason
		condition.Message = fmt.Sprintf("source %s: %s", sources[decides].Name, cmp.Or(sources[decides].Message, sources[decides].Reason))
	}
	return condition
}

// tooManyUnhealthy returns the condition that says whether failed status checks are still acted on.
func (snap *snapshot) tooManyUnhealthy(policy *v1alpha1.NodeTerminationPolicy) metav1.Condition {
	unhealthy, nodes := int(snap.unhealthy[policy.UID]), int(snap.governed[policy.UID])
	limit := policy.Spec.UnhealthyLimit(nodes)
	if unhealthy <= limit {
		return metav1.Condition{
			Type: v1alpha1.ConditionTooManyUnhealthy, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonFewUnhealthy,
			Message: "no more nodes fail status checks than maxUnhealthy allows",
		}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionTooManyUnhealthy, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonMaxUnhealthy,
		Message: fmt.Sprintf("%d of %d nodes fail status checks, and maxUnhealthy is %d: no more nodes are cordoned for that; see whether the network or AWS is the cause, or raise maxUnhealthy",
			unhealthy, nodes, limit),
	}
}

// overlapping returns the condition that names the other policies and managers of the
// policy's nodes and queues.
func overlapping(policy *v1alpha1.NodeTerminationPolicy, snap *snapshot) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionOverlapping, Status: metav1.ConditionTrue}
	switch differing := snap.differing(policy); {
	case len(differing) > 0:
		condition.Reason = v1alpha1.ReasonUnknownInstancesDiffer
		condition.Message = fmt.Sprintf("policies %s name one queue with different unknownInstances: Retain applies; make them agree",
			strings.Join(differing, ", "))
	case len(snap.overlaps[policy.UID]) > 0:
		condition.Reason = v1alpha1.ReasonPolicies
		condition.Message = fmt.Sprintf("policies %s select some of the same nodes: each node is governed by one that enforces before one in mode DryRun, then by the highest priority, then by the oldest",
			strings.Join(slices.Sorted(maps.Keys(snap.overlaps[policy.UID])), ", "))
	case len(snap.others[policy.UID]) > 0:
		condition.Reason = v1alpha1.ReasonOtherManagers
		condition.Message = fmt.Sprintf("%s manages some of these nodes too and may drain them by itself",
			strings.Join(slices.Sorted(maps.Keys(snap.others[policy.UID])), " and "))
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, v1alpha1.ReasonNoOverlap, "nothing else manages these nodes"
	}
	return condition
}

// differing returns the policies that name one of this policy's queues where they do
// not agree about unknown instances.
func (snap *snapshot) differing(policy *v1alpha1.NodeTerminationPolicy) []string {
	differing := map[string]bool{}
	for _, queue := range queuesOf(policy) {
		choices := map[v1alpha1.UnknownInstances][]string{}
		for i := range snap.policies {
			for _, source := range snap.policies[i].Spec.Sources {
				if source.SQS != nil && sqs.QueueOf(source.SQS).Same(queue) {
					choice := cmp.Or(source.SQS.UnknownInstances, v1alpha1.UnknownRetain)
					choices[choice] = append(choices[choice], snap.policies[i].Name)
				}
			}
		}
		if len(choices) < 2 {
			continue
		}
		for _, names := range choices {
			for _, name := range names {
				differing[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(differing))
}
