// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
)

func TestNodesIdentified(t *testing.T) {
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}}
	if got := newSnapshot(nil).nodesIdentified(policy); got != nil {
		t.Errorf("a policy that goes by the providerID has %+v", got)
	}
	policy.Spec.NodeIdentity = v1alpha1.NodeIdentityPrivateDNSName
	for name, test := range map[string]struct {
		counted         unidentified
		status          metav1.ConditionStatus
		reason, message string
	}{
		"all are":             {unidentified{}, metav1.ConditionTrue, v1alpha1.ReasonIdentified, "the instance of each node is known"},
		"one is not":          {unidentified{nodes: 1, node: "a", why: "no instance"}, metav1.ConditionFalse, v1alpha1.ReasonNotIdentified, "node a: no instance"},
		"EC2 does not answer": {unidentified{nodes: 2, pending: 2, node: "a", why: "denied"}, metav1.ConditionFalse, v1alpha1.ReasonNotAnswered, "of 2 nodes"},
		"it does for one":     {unidentified{nodes: 2, pending: 1, node: "a", why: "several"}, metav1.ConditionFalse, v1alpha1.ReasonNotIdentified, "node a: several"},
		"a long reason":       {unidentified{nodes: 1, node: "a", why: strings.Repeat("x", 5000)}, metav1.ConditionFalse, v1alpha1.ReasonNotIdentified, "…"},
	} {
		snap := newSnapshot(nil)
		if test.counted.nodes > 0 {
			snap.unidentified[policy.UID] = test.counted
		}
		got := snap.nodesIdentified(policy)
		if got.Status != test.status || got.Reason != test.reason || !strings.Contains(got.Message, test.message) || len(got.Message) > maxIdentifiedMessage+3 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestUnidentifiedNodesAreCounted: they are not the policy's nodes, and the first is named.
func TestUnidentifiedNodesAreCounted(t *testing.T) {
	policy := v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}}
	policy.Spec.NodeIdentity = v1alpha1.NodeIdentityPrivateDNSName
	snap := newSnapshot([]v1alpha1.NodeTerminationPolicy{policy})
	snap.identities = identity.New(identity.Options{}) // which knows nothing yet
	for _, node := range []struct{ name, providerID string }{{"b", ""}, {"a", "k3s://a"}, {"c", "aws:///us-east-1a/i-0abc1234def567890"}, {"d", "gce://x/y/z"}} {
		snap.addNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.name}, Spec: corev1.NodeSpec{ProviderID: node.providerID}})
	}
	if got := snap.unidentified["p"]; got.nodes != 2 || got.pending != 2 || got.node != "a" || snap.governed["p"] != 1 {
		t.Errorf("%+v, and %d are governed", got, snap.governed["p"])
	}
}
