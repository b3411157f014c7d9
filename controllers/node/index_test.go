// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	ec2node "github.com/nodetermination/operator/controllers/node"
)

// A machine that registered anew is its newest node.
func TestByInstance(t *testing.T) {
	const instance = "i-0abc1234def567890"
	node := func(name, instance string, age time.Duration) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Now().Add(-age))},
			Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instance},
		}
	}
	cache := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).
		WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).
		WithObjects(node("old", instance, time.Hour), node("new", instance, time.Minute), node("other", "i-0abc1234def567891", 0)).Build()
	if got, err := ec2node.ByInstance(t.Context(), cache, instance); err != nil || got == nil || got.Name != "new" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ec2node.ByInstance(t.Context(), cache, "i-0abc1234def567892"); err != nil || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestByInstanceOfOneSecond: Nodes do not take turns, whatever the order in which they are listed.
func TestByInstanceOfOneSecond(t *testing.T) {
	created := metav1.NewTime(time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC))
	builder := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID)
	for _, name := range []string{"b", "c", "a"} {
		builder.WithObjects(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: created},
			Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"},
		})
	}
	if got, err := ec2node.ByInstance(t.Context(), builder.Build(), "i-0abc1234def567890"); err != nil || got == nil || got.Name != "c" {
		t.Errorf("%+v, %v; want c", got, err)
	}
}

func TestIndexByInstanceID(t *testing.T) {
	node := &corev1.Node{Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"}}
	if got := ec2node.IndexByInstanceID(node); len(got) != 1 || got[0] != "i-0abc1234def567890" {
		t.Errorf("a node is indexed as %q", got)
	}
	if got := ec2node.IndexByInstanceID(&corev1.Node{}); got != nil {
		t.Errorf("a node of another kind is indexed as %q", got)
	}
	if got := ec2node.IndexByInstanceID(&corev1.Pod{}); got != nil {
		t.Errorf("a pod is indexed as %q", got)
	}
}
