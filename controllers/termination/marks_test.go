// SPDX-License-Identifier: Apache-2.0

package termination

import (
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
		for _, taint := range []*corev1.Taint{nil, &ours} {
			t.Run(name, func(t *testing.T) {
				node := nodeReady(-time.Hour, "1")
				prepare(node)
				before := node.DeepCopy()
				if !mark(node, instance, taint) {
					t.Fatal("mark changed nothing")
				}
				if !node.Spec.Unschedulable || (taint != nil && !hasTaint(node, *taint)) {
					t.Fatalf("not marked: %+v", node.Spec)
				}
				if mark(node, instance, taint) {
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
	mark(node, instance, &corev1.Taint{Key: "nodetermination.dev/rebalance-recommendation", Effect: corev1.TaintEffectNoSchedule})
	mark(node, instance, &corev1.Taint{Key: "nodetermination.dev/spot-interruption", Effect: corev1.TaintEffectNoSchedule})
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "nodetermination.dev/spot-interruption" {
		t.Errorf("taints %v, want just the second", node.Spec.Taints)
	}
}

func TestUncordonedByHandIsCordonedAgain(t *testing.T) {
	node := nodeReady(-time.Hour, "1")
	mark(node, instance, nil)
	node.Spec.Unschedulable = false
	if !mark(node, instance, nil) || !node.Spec.Unschedulable {
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
