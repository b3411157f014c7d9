// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestConflicts: others write the same objects, or wrong ones, or keep pods where they are.
func TestConflicts(t *testing.T) {
	startManager(t)
	for name, test := range map[string]func(*testing.T, *fixture){
		"a node that somebody writes all the time":    testBusyNode,
		"a hundred nodes whose kubelets are busy":     testBusyKubelets,
		"a NodeTermination that names the wrong node": testWrongNode,
		"a budget that blocks until shortly before":   testBlockedToTheEnd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, taints))
		})
	}
}

func taints(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
}

// testBusyNode: the manager's writes to the node lose some races, and it tries again.
func testBusyNode(t *testing.T, f *fixture) {
	nodes := f.nodes(5)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, len(nodes))
	for _, node := range nodes {
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"e2e": "%d"}}}`, i)
				err := admin(t).Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, client.RawPatch(types.MergePatchType, patch))
				if err != nil && ctx.Err() == nil {
					written <- err
					return
				}
			}
			written <- nil
		}()
	}
	for _, node := range nodes {
		f.interrupt(node)
	}
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCompleted)
		f.untilNode(node, cordoned)
	}
	stop()
	for range nodes {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
}

// testBusyKubelets: a hundred nodes go at once, while their kubelets write what they have to say.
func testBusyKubelets(t *testing.T, f *fixture) {
	const kubelets = 8 // each writes the status of as many nodes as the others
	nodes := f.nodes(100)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, kubelets)
	for first := range kubelets {
		go func() { written <- keepWritingStatus(ctx, admin(t), nodes, first, kubelets) }()
	}
	for _, node := range nodes {
		f.interrupt(node)
	}
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCompleted)
	}
	stop()
	for range kubelets {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	for _, node := range nodes {
		f.untilNode(node, func(current *corev1.Node) error {
			if !hasTaint(current, v1alpha1.SpotInterruption) {
				return fmt.Errorf("node %s has the taints %v", current.Name, current.Spec.Taints)
			}
			return cordoned(current)
		})
	}
	conflicts, err := audit.find(func(r *request) bool {
		return r.Verb == "patch" && r.resource() == "nodes" && r.Response.Code == http.StatusConflict
	})
	t.Logf("%d writes lost a race and were tried again, %v", len(conflicts), err)
}

// keepWritingStatus writes the status of every step-th node, from the first one on, until ctx ends.
func keepWritingStatus(ctx context.Context, c client.Client, nodes []*corev1.Node, first, step int) error {
	for n := 0; ; n++ {
		for i := first; i < len(nodes); i += step {
			patch := fmt.Appendf(nil, `{"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": %d}}}}`, 10_000+n%1000)
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodes[i].Name}}
			err := c.Status().Patch(ctx, node, client.RawPatch(types.MergePatchType, patch))
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// hasTaint is whether a node has the operator's taint for a kind of event.
func hasTaint(node *corev1.Node, kind v1alpha1.EventKind) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == v1alpha1.TaintKey(kind) })
}

// testWrongNode: an object that pairs an instance with a node that does not run on it must keep
// neither the truth from being stored nor the right node from being drained.
func testWrongNode(t *testing.T, f *fixture) {
	nodes := f.nodes(2)
	pods := f.pods(nodes[0], 1)
	f.pods(nodes[1], 1)
	wrong := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(nodes[0])}}
	wrong.Spec = v1alpha1.NodeTerminationSpec{
		InstanceID: instanceOf(nodes[0]), NodeName: nodes[1].Name,
		Events: []v1alpha1.Event{{ID: "wrong", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: metav1.Now()}},
	}
	f.create(wrong)
	f.interrupt(nodes[0])
	nt := f.until(nodes[0], v1alpha1.StateCompleted)
	if nt.UID != wrong.UID || nt.Spec.NodeName != nodes[0].Name {
		t.Errorf("the NodeTermination names node %s, want %s, in the same object", nt.Spec.NodeName, nodes[0].Name)
	}
	f.checkEvictedOnce(pods...)
	f.untilNode(nodes[1], schedulable)
}

// testBlockedToTheEnd: half of the time before the instance goes, what a budget still keeps is deleted,
// so that it gets its SIGTERM, and not before.
func testBlockedToTheEnd(t *testing.T, f *fixture) {
	const deletesBefore = 19 * time.Second
	node := f.nodes(1)[0]
	f.budgetForGood()
	pods := f.pods(node, 2, stuck)
	deadline := time.Now().Add(2 * deletesBefore).Truncate(time.Second)
	f.send(awssim.Notice{Kind: awssim.CapacityReservation, InstanceIDs: []string{instanceOf(node)}, NotBefore: deadline})
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.evictsPod() && r.Object.Namespace == f.namespace
	})
	if err != nil || len(deleted) != len(pods) {
		t.Fatalf("%d pods were deleted, %v, want %d", len(deleted), err, len(pods))
	}
	for i := range deleted {
		if left := deadline.Sub(deleted[i].At); left > deletesBefore+time.Second || left < deletesBefore/2 {
			t.Errorf("pod %s was deleted %s before the deadline, want about %s", deleted[i].Object.Name, left, deletesBefore)
		}
	}
}
