// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"fmt"
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
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/sqs"
)

// view is what one look sees.
type view struct {
	policies []v1alpha1.NodeTerminationPolicy
	// governed counts the nodes of each policy, active its terminations under way.
	governed, active map[types.UID]int32
	// overlaps are the other policies that select a node a policy selects too,
	// others who else watches over its nodes; both by the policy's UID.
	overlaps, others map[types.UID]map[string]bool
	// nodesDown are the names of nodes that are not ready.
	nodesDown map[string]bool
	// daemonSets are those of watchers.
	daemonSets []appsv1.DaemonSet
	// watchers tell how each policy's do, heard when they last heard of an event.
	watchers map[types.UID]v1alpha1.SourceStatus
	heard    map[types.UID]metav1.Time
}

// managerLabels are on nodes that something else watches over as well.
var managerLabels = map[string]string{
	"karpenter.sh/nodepool":       "Karpenter",
	"eks.amazonaws.com/nodegroup": "an EKS managed node group",
}

func (r *Reconciler) look(ctx context.Context) (*view, error) {
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
	if err := r.Client.List(ctx, &daemonSets, client.InNamespace(WatcherNamespace), client.MatchingLabels(everyWatcher)); err != nil {
		return nil, fmt.Errorf("cannot list the watchers' DaemonSets: %w", err)
	}
	v := newView(policies.Items)
	v.daemonSets = daemonSets.Items
	for i := range nodes.Items {
		v.see(&nodes.Items[i])
	}
	for i := range terminations.Items {
		v.seeTermination(&terminations.Items[i])
	}
	return v, nil
}

func newView(policies []v1alpha1.NodeTerminationPolicy) *view {
	return &view{
		policies: policies,
		governed: map[types.UID]int32{}, active: map[types.UID]int32{},
		overlaps: map[types.UID]map[string]bool{}, others: map[types.UID]map[string]bool{},
		nodesDown: map[string]bool{}, watchers: map[types.UID]v1alpha1.SourceStatus{}, heard: map[types.UID]metav1.Time{},
	}
}

// see counts one node.
func (v *view) see(node *corev1.Node) {
	if _, ready := ec2node.ReadySince(node); !ready {
		v.nodesDown[node.Name] = true
	}
	if _, ours := ec2node.InstanceID(node); !ours {
		return
	}
	var selecting []*v1alpha1.NodeTerminationPolicy
	for i := range v.policies {
		if selects, err := ec2node.Selects(&v.policies[i], node); err == nil && selects {
			selecting = append(selecting, &v.policies[i])
		}
	}
	if governing := ec2node.Governing(v.policies, node); governing != nil {
		v.governed[governing.UID]++
		for label, manager := range managerLabels {
			if _, found := node.Labels[label]; found {
				note(v.others, governing.UID, manager)
			}
		}
	}
	for _, policy := range selecting {
		for _, other := range selecting {
			if other != policy {
				note(v.overlaps, policy.UID, other.Name)
			}
		}
	}
}

// seeTermination counts one termination for the policy that governs it.
func (v *view) seeTermination(termination *v1alpha1.NodeTermination) {
	if termination.Status.PolicyRef == nil {
		return
	}
	policy := termination.Status.PolicyRef.UID
	if termination.Status.CompletionTime == nil {
		v.active[policy]++
	}
	for _, e := range termination.Spec.Events {
		if last := v.heard[policy]; e.Source == v1alpha1.SourceIMDS && last.Before(&e.Time) {
			v.heard[policy] = e.Time
		}
	}
}

func note(notes map[types.UID]map[string]bool, uid types.UID, what string) {
	if notes[uid] == nil {
		notes[uid] = map[string]bool{}
	}
	notes[uid][what] = true
}

// queues are the distinct queues that policies name.
func (v *view) queues() []sqs.Queue {
	var queues []sqs.Queue
	for i := range v.policies {
		if v.policies[i].DeletionTimestamp == nil {
			queues = append(queues, queuesOf(&v.policies[i])...)
		}
	}
	return unique(queues)
}

// queuesOf are the queues that one policy names.
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

// describe writes the policy's status, in memory.
func (r *Reconciler) describe(ctx context.Context, policy *v1alpha1.NodeTerminationPolicy, v *view) {
	status := &policy.Status
	status.ObservedGeneration = policy.Generation
	status.Nodes = ptr.To(v.governed[policy.UID])
	status.ActiveTerminations = ptr.To(v.active[policy.UID])
	status.Sources = r.sources(policy, v)
	sourcesReady := sumUp(status.Sources)
	ready := sourcesReady
	ready.Type = v1alpha1.ConditionReady
	if err := policy.Spec.CheckSelectors(); err != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, err.Error()
	}
	switch err := r.checkWebhooks(ctx, policy); {
	case err == nil:
	case ready.Status == metav1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalidWebhook, err.Error()
	default: // whoever mends the one sees the other, too
		ready.Message += "; " + err.Error()
	}
	for _, condition := range []metav1.Condition{ready, sourcesReady, overlapping(policy, v)} {
		condition.ObservedGeneration = policy.Generation
		meta.SetStatusCondition(&status.Conditions, condition)
	}
}

func (r *Reconciler) sources(policy *v1alpha1.NodeTerminationPolicy, v *view) []v1alpha1.SourceStatus {
	var sources []v1alpha1.SourceStatus
	for _, s := range policy.Spec.Sources {
		switch {
		case s.SQS != nil:
			sources = append(sources, r.queueStatus(s.Name, sqs.QueueOf(s.SQS)))
		case s.IMDS != nil:
			sources = append(sources, v.watcherStatus(s.Name, policy))
		}
	}
	return sources
}

func (r *Reconciler) queueStatus(name string, queue sqs.Queue) v1alpha1.SourceStatus {
	health := r.Queues.Health(queue)
	status := v1alpha1.SourceStatus{Name: name, Ready: ptr.To(health.Ready), Reason: health.Reason, Message: health.Message}
	if !health.LastEventTime.IsZero() {
		status.LastEventTime = &metav1.Time{Time: health.LastEventTime}
	}
	return status
}

// watcherStatus is how the policy's watchers do. The time of the last event comes
// from NodeTerminations, and is kept when these are gone.
func (v *view) watcherStatus(name string, policy *v1alpha1.NodeTerminationPolicy) v1alpha1.SourceStatus {
	status, known := v.watchers[policy.UID]
	if !known { // the policy is being deleted, and its watchers with it
		status = v1alpha1.SourceStatus{Name: name, Ready: ptr.To(false), Reason: v1alpha1.ReasonWatchersNotReady}
	}
	for _, before := range policy.Status.Sources {
		if before.Name == name {
			status.LastEventTime = before.LastEventTime
		}
	}
	if heard, found := v.heard[policy.UID]; found && (status.LastEventTime == nil || status.LastEventTime.Before(&heard)) {
		status.LastEventTime = &heard
	}
	return status
}

// sumUp makes one condition of all sources: the first that is not ready
// decides, then the first that has something to say.
func sumUp(sources []v1alpha1.SourceStatus) metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionSourcesReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonReady, Message: "every source is heard",
	}
	speaks := slices.IndexFunc(sources, func(s v1alpha1.SourceStatus) bool { return !*s.Ready })
	if speaks >= 0 {
		condition.Status = metav1.ConditionFalse
	} else {
		speaks = slices.IndexFunc(sources, func(s v1alpha1.SourceStatus) bool { return s.Message != "" })
	}
	if speaks >= 0 {
		condition.Reason = sources[speaks].Reason
		condition.Message = fmt.Sprintf("source %s: %s", sources[speaks].Name, cmp.Or(sources[speaks].Message, sources[speaks].Reason))
	}
	return condition
}

// overlapping says who else has to do with the policy's nodes and queues.
func overlapping(policy *v1alpha1.NodeTerminationPolicy, v *view) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionOverlapping, Status: metav1.ConditionTrue}
	switch differing := v.differing(policy); {
	case len(differing) > 0:
		condition.Reason = v1alpha1.ReasonUnknownInstancesDiffer
		condition.Message = fmt.Sprintf("policies %s name one queue with different unknownInstances: Retain is done; make them agree",
			strings.Join(differing, ", "))
	case len(v.overlaps[policy.UID]) > 0:
		condition.Reason = v1alpha1.ReasonPolicies
		condition.Message = fmt.Sprintf("policies %s select some of the same nodes: the highest priority governs each node, then the oldest policy",
			strings.Join(sorted(v.overlaps[policy.UID]), ", "))
	case len(v.others[policy.UID]) > 0:
		condition.Reason = v1alpha1.ReasonOtherManagers
		condition.Message = fmt.Sprintf("%s watches over some of these nodes too and may drain them by itself",
			strings.Join(sorted(v.others[policy.UID]), " and "))
	default:
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, v1alpha1.ReasonNoOverlap, "nothing else watches over these nodes"
	}
	return condition
}

// differing are the policies that name one of this policy's queues where they do
// not agree about unknown instances.
func (v *view) differing(policy *v1alpha1.NodeTerminationPolicy) []string {
	differing := map[string]bool{}
	for _, queue := range queuesOf(policy) {
		choices := map[v1alpha1.UnknownInstances][]string{}
		for i := range v.policies {
			for _, source := range v.policies[i].Spec.Sources {
				if source.SQS != nil && sqs.QueueOf(source.SQS).Same(queue) {
					choice := cmp.Or(source.SQS.UnknownInstances, v1alpha1.UnknownRetain)
					choices[choice] = append(choices[choice], v.policies[i].Name)
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
	return sorted(differing)
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
