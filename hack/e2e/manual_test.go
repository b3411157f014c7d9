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
func (f *fixture) annotate(node *corev1.Node, value string) {
	f.t.Helper()
	if value != "null" {
		value = fmt.Sprintf("%q", value)
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationDrain, value))
	if err := admin(f.t).Patch(f.t.Context(), node.DeepCopy(), patch); err != nil {
		f.t.Fatal(err)
	}
}

// untilDrainedFor waits until a node is drained and the last of its events, the n-th, is for this reason.
func (f *fixture) untilDrainedFor(node *corev1.Node, n int, reason string) *v1alpha1.NodeTermination {
	f.t.Helper()
	var nt *v1alpha1.NodeTermination
	eventually(f.t, func() error {
		nt = f.until(node, v1alpha1.StateCompleted)
		if nt.Status.ObservedGeneration != nt.Generation {
			return fmt.Errorf("NodeTermination %s has changed", nt.Name)
		}
		if got := nt.Spec.Events; len(got) != n || got[n-1].Kind != v1alpha1.Manual || got[n-1].Source != v1alpha1.SourceManual || got[n-1].Description != reason {
			return fmt.Errorf("the events are %+v, want %d, the last one for %q", got, n, reason)
		}
		return nil
	})
	f.untilNode(node, cordoned)
	return nt
}

// TestDrainByAnnotation: a node is annotated, and drained; the annotation is taken away, and it gets
// pods again; and once more. Restarts in between change nothing of it, and neither does another reason.
func TestDrainByAnnotation(t *testing.T) {
	m := startManager(t)
	f := newFixture(t)
	nodes := f.nodes(2)
	node, other := nodes[0], nodes[1]
	first := f.pods(node, 2)

	f.annotate(node, "kernel update")
	f.untilDrainedFor(node, 1, "kernel update")
	f.checkEvictedOnce(first...)
	f.annotate(node, "two updates")
	f.untilDrainedFor(node, 1, "two updates")

	m.kill()
	f.annotate(node, "null") // while nobody listens
	m = startManager(t)
	f.untilNode(node, schedulable)

	second := f.pods(node, 2)
	f.annotate(node, "")
	before := f.untilDrainedFor(node, 2, "")
	f.checkEvictedOnce(append(first, second...)...)

	m.kill()
	startManager(t)
	f.annotate(other, "when this is done, the new manager has looked at all of them")
	f.until(other, v1alpha1.StateCompleted)
	if after := f.untilDrainedFor(node, 2, ""); after.Generation != before.Generation {
		t.Errorf("the restart has changed the NodeTermination: %+v", after.Spec)
	}

	// The annotation still asks for the drain, so it is recorded anew.
	f.remove(before)
	eventually(t, func() error {
		nt, err := f.termination(node)
		if err == nil && nt.UID == before.UID {
			err = fmt.Errorf("NodeTermination %s is not deleted yet", nt.Name)
		}
		return err
	})
	f.untilDrainedFor(node, 1, "")
	f.annotate(node, "null")
	f.untilNode(node, schedulable)
}

// TestManyAnnotations: kubectl annotate nodes --all is as good as one at a time.
func TestManyAnnotations(t *testing.T) {
	startManager(t)
	f := newFixture(t)
	nodes := f.nodes(30)
	var pods []*corev1.Pod
	for _, node := range nodes {
		pods = append(pods, f.pods(node, 1)...)
	}
	for _, node := range nodes {
		f.annotate(node, "all")
	}
	for _, node := range nodes {
		f.untilDrainedFor(node, 1, "all")
	}
	f.checkEvictedOnce(pods...)
	for _, node := range nodes {
		f.annotate(node, "null")
	}
	for _, node := range nodes {
		f.untilNode(node, schedulable)
	}
}
