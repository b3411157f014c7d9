// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/sqs"
	"github.com/nodetermination/operator/controllers/webhook"
)

const queueURL = "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"

func newPolicy(name string, priority int32, pool string) v1alpha1.NodeTerminationPolicy {
	p := v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 3}}
	p.Spec.Priority = ptr.To(priority)
	p.Spec.Sources = []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: queueURL}}}
	if pool != "" {
		p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": v1alpha1.LabelValue(pool)}}
	}
	return p
}

func newNode(pool string, labels ...string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"pool": pool}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"},
	}
	for _, label := range labels {
		node.Labels[label] = "x"
	}
	return node
}

func snapshotOf(policies []v1alpha1.NodeTerminationPolicy, nodes ...*corev1.Node) *snapshot {
	snap := newSnapshot(policies)
	for _, node := range nodes {
		snap.addNode(node)
	}
	return snap
}

func TestNodesAreCountedForThePolicyThatGovernsThem(t *testing.T) {
	policies := []v1alpha1.NodeTerminationPolicy{newPolicy("all", 0, ""), newPolicy("spot", 10, "spot")}
	fargate := newNode("spot")
	fargate.Spec.ProviderID = "aws:///us-east-1a/0123456789-abcdef/fargate-ip-10-0-0-1.ec2.internal"
	auto := newNode("spot")
	auto.Labels["eks.amazonaws.com/compute-type"] = "auto"
	snap := snapshotOf(policies, newNode("spot"), newNode("spot"), newNode("other"), fargate, auto)
	if snap.governed["spot"] != 2 || snap.governed["all"] != 1 {
		t.Errorf("governed %v, want spot 2 and all 1", snap.governed)
	}
}

func TestOverlapping(t *testing.T) {
	differs := newPolicy("differs", 0, "batch")
	differs.Spec.Sources[0].SQS.UnknownInstances = v1alpha1.UnknownDiscard
	differsWithRole := *differs.DeepCopy()
	differsWithRole.Spec.Sources[0].SQS.RoleARN = "arn:aws:iam::123456789012:role/queue"
	deleted := newPolicy("deleted", 0, "")
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	for name, tc := range map[string]struct {
		others []v1alpha1.NodeTerminationPolicy
		node   *corev1.Node
		reason string
		says   string
	}{
		"alone":                         {node: newNode("spot"), reason: v1alpha1.ReasonNoOverlap},
		"another policy":                {others: []v1alpha1.NodeTerminationPolicy{newPolicy("all", 0, "")}, node: newNode("spot"), reason: v1alpha1.ReasonPolicies, says: "all"},
		"another policy of other nodes": {others: []v1alpha1.NodeTerminationPolicy{newPolicy("batch", 0, "batch")}, node: newNode("spot"), reason: v1alpha1.ReasonNoOverlap},
		"Karpenter":                     {node: newNode("spot", "karpenter.sh/nodepool"), reason: v1alpha1.ReasonOtherManagers, says: "Karpenter"},
		"a managed node group":          {node: newNode("spot", "eks.amazonaws.com/nodegroup"), reason: v1alpha1.ReasonOtherManagers, says: "managed node group"},
		"unknown instances":             {others: []v1alpha1.NodeTerminationPolicy{differs}, node: newNode("spot"), reason: v1alpha1.ReasonUnknownInstancesDiffer, says: "differs"},
		"unknown instances, by a role":  {others: []v1alpha1.NodeTerminationPolicy{differsWithRole}, node: newNode("spot"), reason: v1alpha1.ReasonUnknownInstancesDiffer, says: "differs"},
	} {
		t.Run(name, func(t *testing.T) {
			policies := append([]v1alpha1.NodeTerminationPolicy{newPolicy("spot", 10, "spot")}, tc.others...)
			got := overlapping(&policies[0], snapshotOf(policies, tc.node))
			if got.Reason != tc.reason || !strings.Contains(got.Message, tc.says) {
				t.Errorf("got %s: %s, want %s naming %q", got.Reason, got.Message, tc.reason, tc.says)
			}
			if (got.Status == metav1.ConditionTrue) != (tc.reason != v1alpha1.ReasonNoOverlap) {
				t.Errorf("status %s with reason %s", got.Status, got.Reason)
			}
		})
	}
}

func TestQueuesAreSharedAndEndWithTheirPolicies(t *testing.T) {
	role := newPolicy("role", 0, "")
	role.Spec.Sources[0].SQS.RoleARN = "arn:aws:iam::123456789012:role/queue"
	deleted := newPolicy("deleted", 0, "")
	deleted.Spec.Sources[0].SQS.QueueURL = "https://sqs.us-east-1.amazonaws.com/123456789012/other"
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	policies := []v1alpha1.NodeTerminationPolicy{newPolicy("a", 0, ""), role, newPolicy("b", 0, ""), deleted}
	got := snapshotOf(policies).queues()
	shared := sqs.Queue{URL: queueURL, Region: "us-east-1"}
	withRole := shared
	withRole.RoleARN = role.Spec.Sources[0].SQS.RoleARN
	if want := []sqs.Queue{shared, withRole}; !slices.Equal(got, want) {
		t.Errorf("queues %v, want the one that two policies share, and the same with a role", got)
	}
}

func TestSummaryNamesTheWorst(t *testing.T) {
	ready := v1alpha1.SourceStatus{Name: "a", Ready: ptr.To(true), Reason: v1alpha1.ReasonReady}
	warns := v1alpha1.SourceStatus{Name: "b", Ready: ptr.To(true), Reason: v1alpha1.ReasonShortRetention, Message: "keep them longer"}
	fails := v1alpha1.SourceStatus{Name: "c", Ready: ptr.To(false), Reason: v1alpha1.ReasonAccessDenied, Message: "allow it"}
	for name, tc := range map[string]struct {
		sources []v1alpha1.SourceStatus
		status  metav1.ConditionStatus
		reason  string
		message string
	}{
		"all ready": {[]v1alpha1.SourceStatus{ready}, metav1.ConditionTrue, v1alpha1.ReasonReady, "every source is up"},
		"warning":   {[]v1alpha1.SourceStatus{ready, warns}, metav1.ConditionTrue, v1alpha1.ReasonShortRetention, "source b: keep them longer"},
		"failure":   {[]v1alpha1.SourceStatus{warns, ready, fails}, metav1.ConditionFalse, v1alpha1.ReasonAccessDenied, "source c: allow it"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := summarize(tc.sources); got.Status != tc.status || got.Reason != tc.reason || got.Message != tc.message {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	r := &Reconciler{Queues: sqs.NewConsumers(sqs.Options{NewAdopter: func(sqs.AdoptedQueue) sqs.Adopter { return nil }}), Webhooks: &webhook.Resolver{}}
	notAValue := &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "not a value"}}
	for where, change := range map[string]func(*v1alpha1.NodeTerminationPolicySpec){
		"spec.nodeSelector": func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.NodeSelector = notAValue },
		"spec.drain.skip[0].podSelector": func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Drain = &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: notAValue}}}
		},
	} {
		t.Run(where, func(t *testing.T) {
			policies := []v1alpha1.NodeTerminationPolicy{newPolicy("spot", 0, "spot")}
			change(&policies[0].Spec)
			r.describe(t.Context(), &policies[0], snapshotOf(policies, newNode("other")))
			status := policies[0].Status
			ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != v1alpha1.ReasonInvalidSelector || !strings.HasPrefix(ready.Message, where) || !strings.Contains(ready.Message, "not a value") {
				t.Errorf("the message lacks what is wrong with the selector: %+v", ready)
			}
			if status.ObservedGeneration != 3 || *status.Nodes != 0 || *status.ActiveTerminations != 0 || status.Sources[0].Reason != v1alpha1.ReasonStarting {
				t.Errorf("status %+v", status)
			}
		})
	}
}

// TestLastEventOfWatchers comes from NodeTerminations and is kept when they are gone.
func TestLastEventOfWatchers(t *testing.T) {
	at := func(minute int) metav1.Time { return metav1.Date(2026, 11, 22, 5, minute, 0, 0, time.UTC) }
	policy := newPolicy("spot", 0, "spot")
	received := func(snap *snapshot, governing types.UID, source v1alpha1.EventSource, when metav1.Time) {
		nt := &v1alpha1.NodeTermination{}
		nt.Spec.Events = []v1alpha1.Event{{Source: source, Time: when}}
		nt.Status.PolicyRef = &v1alpha1.PolicyReference{UID: governing}
		snap.addTermination(nt)
	}
	for _, test := range []struct {
		name    string
		receive func(*snapshot)
		want    *metav1.Time
	}{
		{"nothing", func(*snapshot) {}, nil},
		{"others", func(snap *snapshot) {
			received(snap, policy.UID, v1alpha1.SourceSQS, at(1))
			received(snap, "another", v1alpha1.SourceIMDS, at(1))
		}, nil},
		{"two", func(snap *snapshot) {
			received(snap, policy.UID, v1alpha1.SourceIMDS, at(3))
			received(snap, policy.UID, v1alpha1.SourceIMDS, at(2))
		}, ptr.To(at(3))},
		{"gone", func(*snapshot) {}, ptr.To(at(3))},
		{"older", func(snap *snapshot) { received(snap, policy.UID, v1alpha1.SourceIMDS, at(2)) }, ptr.To(at(3))},
		{"newer", func(snap *snapshot) { received(snap, policy.UID, v1alpha1.SourceIMDS, at(4)) }, ptr.To(at(4))},
	} {
		snap := newSnapshot(nil)
		test.receive(snap)
		status := snap.watcherStatus("metadata", &policy)
		if !status.LastEventTime.Equal(test.want) {
			t.Errorf("%s: last event at %v, want %v", test.name, status.LastEventTime, test.want)
		}
		policy.Status.Sources = []v1alpha1.SourceStatus{status}
	}
}

func TestTooManyUnhealthy(t *testing.T) {
	policy := newPolicy("spot", 0, "spot")
	nodes := make([]*corev1.Node, 10)
	for i := range nodes {
		nodes[i] = newNode("spot")
		nodes[i].Name = string(rune('a' + i))
	}
	failing := func(node string, state v1alpha1.EventState) *v1alpha1.NodeTermination {
		return &v1alpha1.NodeTermination{
			Spec:   v1alpha1.NodeTerminationSpec{NodeName: node, Events: []v1alpha1.Event{{ID: "a", Kind: v1alpha1.InstanceStatusCheckFailed}}},
			Status: v1alpha1.NodeTerminationStatus{Events: []v1alpha1.EventStatus{{ID: "a", State: state}}},
		}
	}
	snap := snapshotOf([]v1alpha1.NodeTerminationPolicy{policy}, nodes...)
	for _, nt := range []*v1alpha1.NodeTermination{
		failing("a", v1alpha1.EventActive), failing("b", v1alpha1.EventActive), failing("c", v1alpha1.EventCancelled), failing("elsewhere", v1alpha1.EventActive),
	} {
		snap.addTermination(nt)
	}
	if got := snap.tooManyUnhealthy(&policy); got.Status != metav1.ConditionFalse {
		t.Errorf("two of ten: %+v", got)
	}
	snap.addTermination(failing("d", v1alpha1.EventActive))
	if got := snap.tooManyUnhealthy(&policy); got.Status != metav1.ConditionTrue || !strings.Contains(got.Message, "3 of 10 nodes fail status checks, and maxUnhealthy is 2") {
		t.Errorf("three of ten: %+v", got)
	}
}
