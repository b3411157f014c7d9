// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// taggedInEC2 are the running instances by their tag; a tag that is not there is an error.
type taggedInEC2 map[string][]string

func (e taggedInEC2) TaggedInstances(_ context.Context, _, tag string) ([]string, error) {
	if ids, found := e[tag]; found {
		return ids, nil
	}
	return nil, errors.New("EC2 is away")
}

func TestTaggedInstancesWithoutNode(t *testing.T) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	policy := func(name, tag string) *v1alpha1.NodeTerminationPolicy {
		p := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.InstanceTag = tag
		return p
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"}}
	counter := &TaggedInstances{AWS: taggedInEC2{"a": {"i-0abc1234def567890", "i-0abc1234def567891", "i-0abc1234def567892"}, "b=c": nil}}
	clock := clocktesting.NewFakeClock(time.Now())
	counter.Clock = clock
	policies := []*v1alpha1.NodeTerminationPolicy{policy("none", ""), policy("two", "a"), policy("zero", "b=c"), policy("unknown", "away")}
	objects := []client.Object{node}
	var own policyGauges
	listed := make([]v1alpha1.NodeTerminationPolicy, len(policies))
	for i, p := range policies {
		objects = append(objects, p)
		listed[i] = *p
	}
	counter.Cache = fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).WithObjects(objects...).Build()
	before := gauges.strays.Load()
	t.Cleanup(func() { gauges.strays.Store(before) })
	counts := map[string]tagCount{}
	check := func(when string, want ...string) {
		t.Helper()
		own.set(listed)
		own.strays.Store(gauges.strays.Load())
		expect := "# HELP node_termination_tagged_instances_without_node Running instances with a policy's instanceTag that are no node of this cluster, as EC2 said within five minutes; 0 without an instanceTag. Only the leader reports it, and only what EC2 has answered.\n" +
			"# TYPE node_termination_tagged_instances_without_node gauge\n" + strings.Join(want, "\n") + "\n"
		if err := testutil.CollectAndCompare(&own, strings.NewReader(expect), "node_termination_tagged_instances_without_node"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	const none, two, zero = `node_termination_tagged_instances_without_node{policy="none"} 0`, `node_termination_tagged_instances_without_node{policy="two"} 2`,
		`node_termination_tagged_instances_without_node{policy="zero"} 0`
	if err := counter.count(t.Context(), counts); err == nil || err.Error() != "EC2 is away" {
		t.Errorf("error %v", err)
	}
	check("at first", none, two, zero)
	counter.Identities = identity.New(identity.Options{}) // a node without a providerID may be one of them
	clock.Step(tagsPeriod - time.Second)
	_ = counter.count(t.Context(), counts)
	check("within five minutes", none, two, zero)
	clock.Step(time.Second)
	if err := counter.count(t.Context(), counts); err == nil {
		t.Error("they are counted while EC2 is being asked")
	}
	check("while it is not known which instance a node is", none, zero)
}
