// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

var forged = flag.Int("forged", 3000, "how many NodeTerminations TestForgedTerminations makes up")

// TestForgedTerminations: whoever has the token of a node's watcher makes up instances, half of them before the
// manager starts and half while it runs. They are deleted, and a spot notice among them has its node drained in
// time, in the memory that the manager's container has.
func TestForgedTerminations(t *testing.T) {
	withImage := func(opts *operator.Options) { opts.Args = append(opts.Args, "--watcher-image="+operator.Image) }
	first := startManager(t, withImage)
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = append(spec.Sources, v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}})
	})
	node := f.nodes(1)[0]
	stolen := withTokenOf(t, kubeletOf(t, node), untilWatched(t, f.policy, node, operator.Image))
	first.mayEnd = true
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	other := f.nodes(1)[0] // its watcher's word is true
	pods := f.pods(other, 5, stopsIn(20*time.Second))

	makeUp(t, stolen, node, 0, *forged/2)
	limit := memoryOfManager(t)
	started := time.Now()
	m := startManager(t, withImage, func(opts *operator.Options) {
		opts.Env = append(opts.Env, "MEMORY_LIMIT="+strconv.FormatInt(limit, 10))
	})
	var flood sync.WaitGroup
	flood.Go(func() { makeUp(t, stolen, node, *forged/2, *forged) })
	m.untilSays(t, leads)
	sent := f.interrupt(other)
	f.untilEvicted(pods)
	if took := time.Since(sent); took > time.Minute {
		t.Errorf("the pods were evicted %s after the notice", took)
	} else {
		t.Logf("the pods were evicted %s after the notice", took.Round(10*time.Millisecond))
	}
	flood.Wait()
	written := time.Now()
	deadline := time.Now().Add(10 * time.Minute)
	for {
		left := countTerminations(t)
		if left == 1 { // of the spot notice
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d NodeTerminations are still there", left)
		}
		time.Sleep(time.Second)
	}
	usage, err := m.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if usage.MaxMemory > limit {
		t.Errorf("the manager took %d MiB, its container has %d", usage.MaxMemory>>20, limit>>20)
	}
	t.Logf("%d were gone %s after the manager's start, %s after the last was written; the manager took %d MiB and %s of CPU",
		*forged, time.Since(started).Round(time.Second), time.Since(written).Round(time.Second), usage.MaxMemory>>20, usage.CPU)
	if said := len(m.said("look who has the token")); said == 0 || said > 30 {
		t.Errorf("the manager's log says so %d times", said)
	}
	f.until(other, v1alpha1.StateCompleted)
	f.untilNode(node, schedulable)
}

// makeUp creates the NodeTerminations from..to of instances that there are not.
func makeUp(t *testing.T, stolen client.Client, node *corev1.Node, from, to int) {
	t.Helper()
	var next atomic.Int64
	next.Store(int64(from))
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(to) || t.Context().Err() != nil {
					return
				}
				if err := forge(t.Context(), stolen, node, fmt.Sprintf("i-0f%015x", i)); err != nil {
					t.Errorf("making up the %dth: %v", i, err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// forge creates a NodeTermination with a spot notice of an instance, as a watcher may.
func forge(ctx context.Context, c client.Client, node *corev1.Node, instance string) error {
	now := metav1.Now()
	deadline := metav1.NewTime(now.Add(2 * time.Minute))
	return c.Create(ctx, &v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: instance},
		Spec: v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: node.Name, Events: []v1alpha1.Event{{
			ID: "spot", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceIMDS, Time: now, Deadline: &deadline, InstanceAction: "terminate",
		}}},
	})
}

// memoryOfManager returns how many bytes the manager's container has.
func memoryOfManager(t *testing.T) int64 {
	t.Helper()
	deployment := &appsv1.Deployment{}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: operator.Namespace, Name: operator.Deployment}, deployment); err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value()
}

// countTerminations returns how many NodeTerminations there are.
func countTerminations(t *testing.T) int {
	t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("NodeTerminationList"))
	if err := admin(t).List(t.Context(), list, client.Limit(1)); err != nil {
		t.Fatal(err)
	}
	if list.RemainingItemCount != nil {
		return len(list.Items) + int(*list.RemainingItemCount)
	}
	return len(list.Items)
}
