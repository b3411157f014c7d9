// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

func TestInstanceID(t *testing.T) {
	for _, test := range []struct {
		name, providerID string
		labels           map[string]string
		want             string // empty: none
	}{
		{"EC2", "aws:///us-east-1a/i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"an old instance", "aws:///eu-west-1b/i-0abc1234", nil, "i-0abc1234"},
		{"a local zone", "aws:///us-west-2-lax-1a/i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"a managed node group", "aws:///us-east-1a/i-0abc1234def567890", map[string]string{"eks.amazonaws.com/nodegroup": "a"}, "i-0abc1234def567890"},
		{"Auto Mode", "aws:///us-east-1a/i-0abc1234def567890", map[string]string{"eks.amazonaws.com/compute-type": "auto"}, ""},
		{"another compute type", "aws:///us-east-1a/i-0abc1234def567890", map[string]string{"eks.amazonaws.com/compute-type": "ec2"}, "i-0abc1234def567890"},
		{"Fargate", "aws:///us-east-1a/0a1b2c3d4e-0123456789abcdef/fargate-ip-10-0-3-7.ec2.internal", map[string]string{"eks.amazonaws.com/compute-type": "fargate"}, ""},
		{"hybrid", "eks-hybrid:///us-east-1/cluster/mi-0abc1234def567890", nil, ""},
		{"another cloud", "gce://project/us-east1-b/i-0abc1234def567890", nil, ""},
		{"no zone", "aws:////i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"no zone, and no slash for it", "aws:///i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"the zone as a host", "aws://us-east-1a/i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"the ID alone", "i-0abc1234def567890", nil, "i-0abc1234def567890"},
		{"the ID as a host", "aws://i-0abc1234def567890", nil, ""},
		{"k3s", "k3s://ip-10-0-3-7", nil, ""},
		{"k3s, of a node named like an instance", "k3s://i-0abc1234def567890", nil, ""},
		{"a path alone", "/us-east-1a/i-0abc1234def567890", nil, ""},
		{"something behind it", "aws:///us-east-1a/i-0abc1234def567890/x", nil, ""},
		{"something before it", "x-aws:///us-east-1a/i-0abc1234def567890", nil, ""},
		{"capital letters", "aws:///us-east-1a/i-0ABC1234DEF567890", nil, ""},
		{"too short", "aws:///us-east-1a/i-0abc123", nil, ""},
		{"too long", "aws:///us-east-1a/i-0abc1234def5678901", nil, ""},
		{"not known yet", "", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: test.labels}, Spec: corev1.NodeSpec{ProviderID: test.providerID}}
			got, ok := ec2node.InstanceID(node)
			if got != test.want || ok != (test.want != "") {
				t.Errorf("InstanceID = %q, %t; want %q", got, ok, test.want)
			}
		})
	}
}

// TestZone: the zone says in which Region AWS is asked.
func TestZone(t *testing.T) {
	for providerID, want := range map[string]string{
		"aws:///us-east-1a/i-0abc1234def567890": "us-east-1a",
		"aws://us-east-1a/i-0abc1234def567890":  "us-east-1a",
		"aws:////i-0abc1234def567890":           "",
		"aws:///i-0abc1234def567890":            "",
		"i-0abc1234def567890":                   "",
		"k3s://ip-10-0-3-7":                     "",
		"":                                      "",
	} {
		if got := ec2node.Zone(&corev1.Node{Spec: corev1.NodeSpec{ProviderID: providerID}}); got != want {
			t.Errorf("Zone of %q = %q, want %q", providerID, got, want)
		}
	}
}

func TestLacksProviderID(t *testing.T) {
	for _, test := range []struct {
		providerID, computeType string
		want                    bool
	}{
		{"", "", true},
		{"k3s://ip-10-0-3-7", "", true},
		{"rke2://ip-10-0-3-7", "", true},
		{"", "ec2", true},
		{"", "auto", false},
		{"", "fargate", false},
		{"", "hybrid", false},
		{"aws:///us-east-1a/i-0abc1234def567890", "", false},
		{"aws:///us-east-1a/0a1b2c3d4e-0123456789abcdef/fargate-ip-10-0-3-7.ec2.internal", "", false},
		{"eks-hybrid:///us-east-1/cluster/mi-0abc1234def567890", "", false},
		{"gce://project/us-east1-b/vm", "", false},
		{"openstack:///0a1b2c3d", "", false},
	} {
		node := &corev1.Node{Spec: corev1.NodeSpec{ProviderID: test.providerID}}
		if test.computeType != "" {
			node.Labels = map[string]string{ec2node.ComputeTypeLabel: test.computeType}
		}
		if got := ec2node.LacksProviderID(node); got != test.want {
			t.Errorf("%q, compute type %q: %t", test.providerID, test.computeType, got)
		}
	}
}

func TestReadySince(t *testing.T) {
	since := time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(since)}
	}
	for _, test := range []struct {
		name       string
		conditions []corev1.NodeCondition
		want       bool
	}{
		{"ready", []corev1.NodeCondition{condition(corev1.NodeMemoryPressure, corev1.ConditionFalse), condition(corev1.NodeReady, corev1.ConditionTrue)}, true},
		{"not ready", []corev1.NodeCondition{condition(corev1.NodeReady, corev1.ConditionFalse)}, false},
		{"unknown", []corev1.NodeCondition{condition(corev1.NodeReady, corev1.ConditionUnknown)}, false},
		{"another condition", []corev1.NodeCondition{condition(corev1.NodeMemoryPressure, corev1.ConditionTrue)}, false},
		{"new", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := ec2node.ReadySince(&corev1.Node{Status: corev1.NodeStatus{Conditions: test.conditions}})
			if ok != test.want || ok && !got.Equal(since) {
				t.Errorf("ReadySince = %s, %t; want %t", got, ok, test.want)
			}
		})
	}
}

// TestTrim checks that nothing that is decided by is lost, and that the rest is.
func TestTrim(t *testing.T) {
	since := metav1.NewTime(time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC))
	kept := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "a", UID: "uid", ResourceVersion: "7", CreationTimestamp: since, DeletionTimestamp: &since,
			Labels:      map[string]string{"a": "b"},
			Annotations: map[string]string{v1alpha1.AnnotationApplied: "{}"},
		},
		Spec: corev1.NodeSpec{
			ProviderID: "aws:///us-east-1a/i-0abc1234def567890", Unschedulable: true,
			Taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}},
		},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: since}},
			NodeInfo:   corev1.NodeSystemInfo{BootID: "boot", SystemUUID: "system"},
		},
	}
	whole := kept.DeepCopy()
	whole.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	whole.Annotations["other"] = "x"
	whole.Spec.PodCIDR = "10.0.0.0/24"
	whole.Status.Images = []corev1.ContainerImage{{SizeBytes: 1}}
	whole.Status.Conditions[0].LastHeartbeatTime = since
	whole.Status.Conditions = append(whole.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure})
	whole.Status.NodeInfo.KernelVersion = "6"

	got, err := ec2node.Trim(whole)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&kept, got); diff != "" {
		t.Errorf("Trim (-want +got):\n%s", diff)
	}
	huge := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationDrain: strings.Repeat("x", 100000)}}}
	if got, err := ec2node.Trim(huge); err != nil || len(got.(*corev1.Node).Annotations[v1alpha1.AnnotationDrain]) != 4096 { //nolint:forcetypeassert // a panic says as much
		t.Errorf("Trim of a huge annotation = %v, %v", got, err)
	}
	// The cache passes through it what is not a node, such as the tombstone of one.
	if got, err := ec2node.Trim("tombstone"); err != nil || got != "tombstone" {
		t.Errorf("Trim of something else = %v, %v", got, err)
	}
	if got, err := ec2node.Trim(&corev1.Node{}); err != nil || cmp.Diff(&corev1.Node{}, got) != "" {
		t.Errorf("Trim of an empty node = %v, %v", got, err)
	}
}

func TestSelects(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"type": "spot", "zone": "a"}}}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) *v1alpha1.LabelSelector {
		return &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for _, test := range []struct {
		name     string
		selector *v1alpha1.LabelSelector
		want     bool
		wantErr  bool
	}{
		{"unset", nil, true, false},
		{"empty", &v1alpha1.LabelSelector{}, true, false},
		{"its labels", &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"type": "spot", "zone": "a"}}, true, false},
		{"one that differs", &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"type": "spot", "zone": "b"}}, false, false},
		{"In", expression("zone", metav1.LabelSelectorOpIn, "b", "a"), true, false},
		{"NotIn", expression("zone", metav1.LabelSelectorOpNotIn, "a"), false, false},
		{"NotIn of a label it lacks", expression("other", metav1.LabelSelectorOpNotIn, "a"), true, false},
		{"Exists", expression("zone", metav1.LabelSelectorOpExists), true, false},
		{"DoesNotExist", expression("zone", metav1.LabelSelectorOpDoesNotExist), false, false},
		{"a key that is none", expression("no key", metav1.LabelSelectorOpExists), false, true},
		{"a value that is none", &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"type": "no value"}}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			policy := &v1alpha1.NodeTerminationPolicy{Spec: v1alpha1.NodeTerminationPolicySpec{NodeSelector: test.selector}}
			got, err := ec2node.Selects(policy, node)
			if got != test.want || (err != nil) != test.wantErr {
				t.Errorf("Selects = %t, %v; want %t, an error %t", got, err, test.want, test.wantErr)
			}
		})
	}
}

func TestGoverning(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"type": "spot"}}}
	start := time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)
	policy := func(name string, priority *int32, age time.Duration, change ...func(*v1alpha1.NodeTerminationPolicy)) v1alpha1.NodeTerminationPolicy {
		p := v1alpha1.NodeTerminationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start.Add(-age))},
			Spec:       v1alpha1.NodeTerminationPolicySpec{Priority: priority},
		}
		for _, f := range change {
			f(&p)
		}
		return p
	}
	selecting := func(labels map[string]v1alpha1.LabelValue) func(*v1alpha1.NodeTerminationPolicy) {
		return func(p *v1alpha1.NodeTerminationPolicy) {
			p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: labels}
		}
	}
	dryRun := func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Mode = v1alpha1.ModeDryRun }
	deleting := func(p *v1alpha1.NodeTerminationPolicy) { p.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }

	for _, test := range []struct {
		name     string
		policies []v1alpha1.NodeTerminationPolicy
		want     string // empty: none
	}{
		{"none", nil, ""},
		{"none selects it", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0, selecting(map[string]v1alpha1.LabelValue{"type": "other"}))}, ""},
		{"the highest priority", []v1alpha1.NodeTerminationPolicy{policy("a", ptr.To[int32](1), time.Hour), policy("b", ptr.To[int32](2), 0)}, "b"},
		{"unset is zero", []v1alpha1.NodeTerminationPolicy{policy("a", ptr.To[int32](-1), time.Hour), policy("b", nil, 0)}, "b"},
		{"the oldest", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0), policy("b", nil, time.Hour)}, "b"},
		{"the first by name", []v1alpha1.NodeTerminationPolicy{policy("b", nil, 0), policy("a", nil, 0)}, "a"},
		{"Enforce before DryRun, whatever the age", []v1alpha1.NodeTerminationPolicy{policy("a", nil, time.Hour, dryRun), policy("b", nil, 0)}, "b"},
		{"and whatever the priority", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0), policy("b", ptr.To[int32](9), 0, dryRun)}, "a"},
		{"one in mode DryRun if there is no other", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0, dryRun), policy("b", nil, time.Hour, dryRun)}, "b"},
		{"not one that does not select it", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0), policy("b", ptr.To[int32](9), 0, selecting(map[string]v1alpha1.LabelValue{"type": "other"}))}, "a"},
		{"not one that is being deleted", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0), policy("b", ptr.To[int32](9), 0, deleting)}, "a"},
		{"not one that cannot be used", []v1alpha1.NodeTerminationPolicy{policy("a", nil, 0), policy("b", ptr.To[int32](9), 0, selecting(map[string]v1alpha1.LabelValue{"no key": ""}))}, "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			if governing := ec2node.Governing(test.policies, node); governing != nil {
				got = governing.Name
			}
			if got != test.want {
				t.Errorf("Governing = %q, want %q", got, test.want)
			}
		})
	}
}

// TestGoverningIgnoresOrder: every replica and every restart comes to the same policy.
func TestGoverningIgnoresOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)
	for range 200 {
		var policies []v1alpha1.NodeTerminationPolicy
		for i := range 1 + random.IntN(6) {
			policies = append(policies, v1alpha1.NodeTerminationPolicy{
				ObjectMeta: metav1.ObjectMeta{
					Name:              string(rune('a' + i)),
					CreationTimestamp: metav1.NewTime(start.Add(time.Duration(random.IntN(2)) * time.Hour)),
				},
				Spec: v1alpha1.NodeTerminationPolicySpec{
					Priority: ptr.To(random.Int32N(2)), Mode: []v1alpha1.Mode{v1alpha1.ModeEnforce, v1alpha1.ModeDryRun}[random.IntN(2)],
				},
			})
		}
		want := ec2node.Governing(policies, &corev1.Node{}).Name
		shuffled := slices.Clone(policies)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := ec2node.Governing(shuffled, &corev1.Node{}).Name; got != want {
			t.Fatalf("%s governs, but %s in another order of %v", want, got, policies)
		}
	}
}
