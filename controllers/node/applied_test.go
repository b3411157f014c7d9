// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const instance = "i-0abc1234def567890"

var t0 = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

func TestAppliedIsRevertedToTheLetter(t *testing.T) {
	ours := corev1.Taint{Key: v1alpha1.TaintKey(v1alpha1.SpotInterruption), Effect: corev1.TaintEffectNoSchedule}
	nths := corev1.Taint{Key: v1alpha1.NTHTaintKey(v1alpha1.SpotInterruption), Value: "a", Effect: corev1.TaintEffectNoSchedule}
	theirs := corev1.Taint{Key: "example.com/theirs", Effect: corev1.TaintEffectNoExecute}
	for name, prepare := range map[string]func(*corev1.Node){
		"a plain node":                      func(*corev1.Node) {},
		"a node that somebody had cordoned": func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"a node with others' taints": func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{theirs}
			n.Annotations = map[string]string{"example.com/note": "kept"}
		},
	} {
		for _, desired := range []ec2node.Desired{{}, {Taint: &ours}, {Excluded: true}, {OutOfService: true}, {Taint: &ours, Excluded: true, OutOfService: true}, {Waiting: true}, {NTH: &ec2node.NTHLabels{EventID: "a"}, Taint: &nths}} {
			t.Run(fmt.Sprintf("%s, %+v", name, desired), func(t *testing.T) {
				node := &corev1.Node{}
				prepare(node)
				before := node.DeepCopy()
				if !ec2node.Apply(node, instance, desired, t0) {
					t.Fatal("Apply changed nothing")
				}
				if !node.Spec.Unschedulable != (desired.Waiting && !before.Spec.Unschedulable) || desired.Waiting != ec2node.HasTaint(node, &ec2node.WaitingTaint) || (desired.Taint != nil && !ec2node.HasTaint(node, desired.Taint)) ||
					desired.Excluded != (node.Labels[corev1.LabelNodeExcludeBalancers] != "") || desired.OutOfService && !ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
					t.Fatalf("not applied: %+v", node.Spec)
				}
				if ec2node.Apply(node, instance, desired, t0) {
					t.Error("a second Apply changed something")
				}
				if ec2node.Revert(node, "i-00000000000000000") {
					t.Error("reverted for another instance")
				}
				if !ec2node.Revert(node, instance) {
					t.Fatal("Revert changed nothing")
				}
				if diff := cmp.Diff(before.Spec, node.Spec, equateEmpty); diff != "" {
					t.Errorf("spec after reverting (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(before.Labels, node.Labels, equateEmpty); diff != "" {
					t.Errorf("labels after reverting (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(before.Annotations, node.Annotations, equateEmpty); diff != "" {
					t.Errorf("annotations after reverting (-before +after):\n%s", diff)
				}
				if ec2node.Revert(node, instance) {
					t.Error("a second Revert changed something")
				}
			})
		}
	}
}

// TestWaitingNodeIsCordoned: what waited is cordoned when its turn comes, and reverted to the letter.
func TestWaitingNodeIsCordoned(t *testing.T) {
	ours := corev1.Taint{Key: v1alpha1.TaintKey(v1alpha1.SpotInterruption), Effect: corev1.TaintEffectNoSchedule}
	node := &corev1.Node{}
	ec2node.Apply(node, instance, ec2node.Desired{Waiting: true, Taint: &ours}, t0)
	if node.Spec.Unschedulable || ec2node.HasTaint(node, &ours) {
		t.Errorf("cordoned before its turn: %+v", node.Spec)
	}
	if !ec2node.Apply(node, instance, ec2node.Desired{Taint: &ours}, t0) {
		t.Fatal("its turn changes nothing")
	}
	if !node.Spec.Unschedulable || !ec2node.HasTaint(node, &ours) || ec2node.HasTaint(node, &ec2node.WaitingTaint) {
		t.Errorf("its turn has come: %+v", node.Spec)
	}
	ec2node.Revert(node, instance)
	if diff := cmp.Diff(corev1.NodeSpec{}, node.Spec, equateEmpty); diff != "" {
		t.Errorf("spec after reverting (-before +after):\n%s", diff)
	}
}

// equateEmpty treats an empty slice or map as none.
var equateEmpty = cmp.FilterValues(func(a, b any) bool { return isEmpty(a) && isEmpty(b) }, cmp.Ignore())

func isEmpty(v any) bool {
	switch v := v.(type) {
	case []corev1.Taint:
		return len(v) == 0
	case map[string]string:
		return len(v) == 0
	}
	return false
}

func TestAnotherKindReplacesTheTaint(t *testing.T) {
	node := &corev1.Node{}
	ec2node.Apply(node, instance, ec2node.Desired{Taint: &corev1.Taint{Key: "nodetermination.dev/rebalance-recommendation", Effect: corev1.TaintEffectNoSchedule}}, t0)
	ec2node.Apply(node, instance, ec2node.Desired{Taint: &corev1.Taint{Key: "nodetermination.dev/spot-interruption", Effect: corev1.TaintEffectNoSchedule}}, t0)
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "nodetermination.dev/spot-interruption" {
		t.Errorf("taints %v, want just the second", node.Spec.Taints)
	}
}

func TestUncordonedByHandIsCordonedAgain(t *testing.T) {
	node := &corev1.Node{}
	ec2node.Apply(node, instance, ec2node.Desired{}, t0)
	node.Spec.Unschedulable = false
	if !ec2node.Apply(node, instance, ec2node.Desired{}, t0) || !node.Spec.Unschedulable {
		t.Error("a node that was made schedulable during its termination is not cordoned again")
	}
}

func TestUnreadableAppliedIsNotReverted(t *testing.T) {
	node := &corev1.Node{}
	node.Spec.Unschedulable = true
	node.Annotations = map[string]string{v1alpha1.AnnotationApplied: "yes"}
	if ec2node.Revert(node, instance) || !node.Spec.Unschedulable {
		t.Error("reverted what is not known to be ours")
	}
}

// TestLiesOnTheNode: a kubelet can write annotations on its own Node. What is another's stays.
func TestLiesOnTheNode(t *testing.T) {
	theirs := []corev1.Taint{
		{Key: "example.com/theirs", Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeOutOfService, Value: "theirs", Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoSchedule},
	}
	everything := `"instanceID":"` + instance + `","waiting":true,"excludedSince":1,"outOfService":true`
	for name, text := range map[string]string{
		"another's taint":         `{` + everything + `,"taint":"example.com/theirs"}`,
		"Kubernetes' taint":       `{` + everything + `,"taint":"node.kubernetes.io/unreachable"}`,
		"its out-of-service":      `{` + everything + `,"taint":"node.kubernetes.io/out-of-service"}`,
		"a prefix that is not it": `{` + everything + `,"taint":"nodetermination.dev.example.com/theirs"}`,
		"no instance":             `{"instanceID":"","taint":"example.com/theirs","unschedulable":true}`,
		"no instance's ID":        `{"instanceID":"default","unschedulable":true}`,
		"another instance":        `{"instanceID":"i-00000000000000000","unschedulable":true}`,
		"not JSON":                `{"instanceID":"` + instance,
		"another type":            `{"instanceID":["` + instance + `"]}`,
		"an overflow":             `{"instanceID":"` + instance + `","excludedSince":1e99}`,
		"nested too deep":         strings.Repeat("[", 100000),
		"huge":                    `{` + everything + `,"unschedulable":true,"more":"` + strings.Repeat("x", 100000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			node := &corev1.Node{}
			node.Spec.Unschedulable, node.Spec.Taints = true, slices.Clone(theirs)
			node.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: "theirs"}
			node.Annotations = map[string]string{v1alpha1.AnnotationApplied: text}
			before := node.DeepCopy()
			ec2node.ReturnToService(node, instance)
			ec2node.Revert(node, instance)
			if diff := cmp.Diff(before.Spec, node.Spec); diff != "" {
				t.Errorf("what others did is reverted (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(before.Labels, node.Labels); diff != "" {
				t.Errorf("labels (-before +after):\n%s", diff)
			}
			node.Annotations = before.Annotations
			ours := corev1.Taint{Key: v1alpha1.TaintKey(v1alpha1.SpotInterruption), Effect: corev1.TaintEffectNoSchedule}
			ec2node.Apply(node, instance, ec2node.Desired{Taint: &ours}, t0)
			if diff := cmp.Diff(append(theirs, ours), node.Spec.Taints); diff != "" {
				t.Errorf("taints after another event (-want +got):\n%s", diff)
			}
		})
	}
}

// A label that was there before is neither changed nor taken away, nor is a taint.
func TestWhatOthersSetStays(t *testing.T) {
	node := &corev1.Node{}
	node.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: "theirs"}
	node.Spec.Taints = []corev1.Taint{ec2node.OutOfServiceTaint}
	before := node.DeepCopy()
	ec2node.Apply(node, instance, ec2node.Desired{Excluded: true, OutOfService: true}, t0)
	if applied, _ := ec2node.AppliedOn(node); applied.ExcludedSince != 0 || applied.OutOfService {
		t.Errorf("claims what others did: %+v", applied)
	}
	ec2node.Revert(node, instance)
	if diff := cmp.Diff(before, node, equateEmpty); diff != "" {
		t.Errorf("node after reverting (-before +after):\n%s", diff)
	}
}

// Nor is one that somebody has changed since.
func TestLabelThatOthersTookOverStays(t *testing.T) {
	node := &corev1.Node{}
	ec2node.Apply(node, instance, ec2node.Desired{Excluded: true}, t0)
	node.Labels[corev1.LabelNodeExcludeBalancers] = "theirs"
	ec2node.Revert(node, instance)
	if node.Labels[corev1.LabelNodeExcludeBalancers] != "theirs" {
		t.Errorf("labels %v, want theirs", node.Labels)
	}
}

// TestNTHLabels: the labels say what is done and since when, change when that does, and go when nobody asks for them.
func TestNTHLabels(t *testing.T) {
	node := &corev1.Node{}
	labels := func() string {
		return node.Labels[v1alpha1.LabelNTHAction] + " " + node.Labels[v1alpha1.LabelNTHEventID] + " " + node.Labels[v1alpha1.LabelNTHActionTime]
	}
	for _, step := range []struct {
		after  time.Duration
		labels *ec2node.NTHLabels
		waits  bool
		want   string
	}{
		{0, &ec2node.NTHLabels{EventID: "a"}, true, "  "}, // nothing is done yet
		{0, &ec2node.NTHLabels{EventID: "a"}, false, "cordon a 1795324080"},
		{time.Minute, &ec2node.NTHLabels{EventID: "a"}, false, "cordon a 1795324080"},
		{2 * time.Minute, &ec2node.NTHLabels{EventID: "a", Drains: true}, false, "cordon-and-drain a 1795324200"},
		{3 * time.Minute, &ec2node.NTHLabels{EventID: "b", Drains: true}, false, "cordon-and-drain b 1795324260"},
		{4 * time.Minute, nil, false, "  "},
	} {
		ec2node.Apply(node, instance, ec2node.Desired{NTH: step.labels, Waiting: step.waits}, t0.Add(step.after))
		if got := labels(); got != step.want {
			t.Errorf("after %s: %q, want %q", step.after, got, step.want)
		}
	}
}

func TestLabelValue(t *testing.T) {
	for text, want := range map[string]string{
		"IMDS-SpotInterruption": "IMDS-SpotInterruption", "a/b:c d": "a-b-c-d", "": "", "/": "", "_a_": "a", "é": "",
		strings.Repeat("a", 62) + "--b": strings.Repeat("a", 62),
	} {
		if got := ec2node.LabelValue(text); got != want || len(validation.IsValidLabelValue(got)) > 0 {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
