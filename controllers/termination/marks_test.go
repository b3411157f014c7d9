// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const instance = "i-0abc1234def567890"

func TestMarksAreUndoneToTheLetter(t *testing.T) {
	ours := corev1.Taint{Key: v1alpha1.TaintKey(v1alpha1.SpotInterruption), Effect: corev1.TaintEffectNoSchedule}
	theirs := corev1.Taint{Key: "example.com/theirs", Effect: corev1.TaintEffectNoExecute}
	for name, prepare := range map[string]func(*corev1.Node){
		"a plain node":                      func(*corev1.Node) {},
		"a node that somebody had cordoned": func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"a node with others' taints": func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{theirs}
			n.Annotations = map[string]string{"example.com/note": "kept"}
		},
	} {
		for _, want := range []wanted{{}, {taint: &ours}, {excluded: true}, {outOfService: true}, {&ours, true, true}} {
			t.Run(fmt.Sprintf("%s, %+v", name, want), func(t *testing.T) {
				node := nodeReady(-time.Hour, "1")
				prepare(node)
				before := node.DeepCopy()
				if !mark(node, instance, want, t0) {
					t.Fatal("mark changed nothing")
				}
				if !node.Spec.Unschedulable || (want.taint != nil && !hasTaint(node, *want.taint)) ||
					want.excluded != (node.Labels[corev1.LabelNodeExcludeBalancers] != "") || want.outOfService && !hasTaint(node, outOfService) {
					t.Fatalf("not marked: %+v", node.Spec)
				}
				if mark(node, instance, want, t0) {
					t.Error("a second mark changed something")
				}
				if unmark(node, "i-00000000000000000") {
					t.Error("undone for another instance")
				}
				if !unmark(node, instance) {
					t.Fatal("unmark changed nothing")
				}
				if diff := cmp.Diff(before.Spec, node.Spec, equateEmpty); diff != "" {
					t.Errorf("spec after undoing (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(before.Labels, node.Labels, equateEmpty); diff != "" {
					t.Errorf("labels after undoing (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(before.Annotations, node.Annotations, equateEmpty); diff != "" {
					t.Errorf("annotations after undoing (-before +after):\n%s", diff)
				}
				if unmark(node, instance) {
					t.Error("a second unmark changed something")
				}
			})
		}
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
	node := nodeReady(-time.Hour, "1")
	mark(node, instance, wanted{taint: &corev1.Taint{Key: "nodetermination.dev/rebalance-recommendation", Effect: corev1.TaintEffectNoSchedule}}, t0)
	mark(node, instance, wanted{taint: &corev1.Taint{Key: "nodetermination.dev/spot-interruption", Effect: corev1.TaintEffectNoSchedule}}, t0)
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "nodetermination.dev/spot-interruption" {
		t.Errorf("taints %v, want just the second", node.Spec.Taints)
	}
}

func TestUncordonedByHandIsCordonedAgain(t *testing.T) {
	node := nodeReady(-time.Hour, "1")
	mark(node, instance, wanted{}, t0)
	node.Spec.Unschedulable = false
	if !mark(node, instance, wanted{}, t0) || !node.Spec.Unschedulable {
		t.Error("a node that was made schedulable during its termination is not cordoned again")
	}
}

func TestUnreadableMarksAreNotUndone(t *testing.T) {
	node := nodeReady(-time.Hour, "1")
	node.Spec.Unschedulable = true
	node.Annotations = map[string]string{v1alpha1.AnnotationApplied: "yes"}
	if unmark(node, instance) || !node.Spec.Unschedulable {
		t.Error("undid what is not known to be ours")
	}
}

// A label that was there before is neither changed nor taken away, nor is a taint.
func TestOthersMarksStay(t *testing.T) {
	node := nodeReady(-time.Hour, "1")
	node.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: "theirs"}
	node.Spec.Taints = []corev1.Taint{outOfService}
	before := node.DeepCopy()
	mark(node, instance, wanted{excluded: true, outOfService: true}, t0)
	if m, _ := marksOn(node); m.ExcludedSince != 0 || m.OutOfService {
		t.Errorf("claims what others did: %+v", m)
	}
	unmark(node, instance)
	if diff := cmp.Diff(before, node, equateEmpty); diff != "" {
		t.Errorf("node after undoing (-before +after):\n%s", diff)
	}
}

// Nor is one that somebody has changed since.
func TestLabelThatOthersTookOverStays(t *testing.T) {
	node := nodeReady(-time.Hour, "1")
	mark(node, instance, wanted{excluded: true}, t0)
	node.Labels[corev1.LabelNodeExcludeBalancers] = "theirs"
	unmark(node, instance)
	if node.Labels[corev1.LabelNodeExcludeBalancers] != "theirs" {
		t.Errorf("labels %v, want theirs", node.Labels)
	}
}
