// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// annotate sets the annotation that asks for a drain, as kubectl does. null takes it away.
func (w *world) annotate(node *corev1.Node, value string) {
	w.t.Helper()
	if value != "null" {
		value = fmt.Sprintf("%q", value)
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationDrain, value))
	if err := admin(w.t).Patch(w.t.Context(), node.DeepCopy(), patch); err != nil {
		w.t.Fatal(err)
	}
}

// untilDrainedFor waits until a node is drained and the last of its events, the n-th, is for this reason.
func (w *world) untilDrainedFor(node *corev1.Node, n int, reason string) *v1alpha1.NodeTermination {
	w.t.Helper()
	var nt *v1alpha1.NodeTermination
	eventually(w.t, func() error {
		nt = w.until(node, v1alpha1.StateCompleted)
		if nt.Status.ObservedGeneration != nt.Generation {
			return fmt.Errorf("NodeTermination %s has changed", nt.Name)
		}
		if got := nt.Spec.Events; len(got) != n || got[n-1].Kind != v1alpha1.Manual || got[n-1].Source != v1alpha1.SourceManual || got[n-1].Description != reason {
			return fmt.Errorf("the events are %+v, want %d, the last one for %q", got, n, reason)
		}
		return nil
	})
	w.untilNode(node, cordoned)
	return nt
}

// TestDrainByAnnotation: a node is annotated, and drained; the annotation is taken away, and it gets
// pods again; and once more. Restarts in between change nothing of it, and neither does another reason.
func TestDrainByAnnotation(t *testing.T) {
	m := startManager(t)
	w := newWorld(t)
	nodes := w.nodes(2)
	node, other := nodes[0], nodes[1]
	first := w.pods(node, 2)

	w.annotate(node, "kernel update")
	w.untilDrainedFor(node, 1, "kernel update")
	w.checkToldOnce(first...)
	w.annotate(node, "two updates")
	w.untilDrainedFor(node, 1, "two updates")

	m.kill()
	w.annotate(node, "null") // while nobody listens
	m = startManager(t)
	w.untilNode(node, schedulable)

	second := w.pods(node, 2)
	w.annotate(node, "")
	before := w.untilDrainedFor(node, 2, "")
	w.checkToldOnce(append(first, second...)...)

	m.kill()
	startManager(t)
	w.annotate(other, "when this is done, the new manager has looked at all of them")
	w.until(other, v1alpha1.StateCompleted)
	if after := w.untilDrainedFor(node, 2, ""); after.Generation != before.Generation {
		t.Errorf("the restart has changed the NodeTermination: %+v", after.Spec)
	}

	// The annotation still asks for the drain, so it is recorded anew.
	w.remove(before)
	eventually(t, func() error {
		nt, err := w.termination(node)
		if err == nil && nt.UID == before.UID {
			err = fmt.Errorf("NodeTermination %s is not deleted yet", nt.Name)
		}
		return err
	})
	w.untilDrainedFor(node, 1, "")
	w.annotate(node, "null")
	w.untilNode(node, schedulable)
}

// TestManyAnnotations: kubectl annotate nodes --all is as good as one at a time.
func TestManyAnnotations(t *testing.T) {
	startManager(t)
	w := newWorld(t)
	nodes := w.nodes(30)
	var pods []*corev1.Pod
	for _, node := range nodes {
		pods = append(pods, w.pods(node, 1)...)
	}
	for _, node := range nodes {
		w.annotate(node, "all")
	}
	for _, node := range nodes {
		w.untilDrainedFor(node, 1, "all")
	}
	w.checkToldOnce(pods...)
	for _, node := range nodes {
		w.annotate(node, "null")
	}
	for _, node := range nodes {
		w.untilNode(node, schedulable)
	}
}
