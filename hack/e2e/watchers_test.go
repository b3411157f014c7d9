// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// TestWatchersAndQueue: a node with the watchers of two policies, whose end is announced by its
// metadata and from the queue, is drained once.
func TestWatchersAndQueue(t *testing.T) {
	const image = operator.Image
	own := managerPod(t, image)
	startManager(t, func(opts *operator.Options) {
		opts.Env = append(opts.Env, "POD_NAMESPACE="+own.Namespace, "POD_NAME="+own.Name)
	})
	metadata := v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Priority = ptr.To[int32](1)
		spec.Sources = append(spec.Sources, metadata)
	})
	lower := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: f.policy.Name + "-lower"}}
	lower.Spec.NodeSelector = f.policy.Spec.NodeSelector
	lower.Spec.Sources = []v1alpha1.Source{metadata}
	f.create(lower)
	node := f.nodes(1)[0]
	pods := f.pods(node, 5, stopsIn(3*time.Second))
	watchers := map[types.UID]bool{}
	for _, p := range []*v1alpha1.NodeTerminationPolicy{f.policy, lower} {
		watchers[untilWatched(t, p, node, image).UID] = true
	}

	announced := metav1.Time{Time: time.Now().UTC().Truncate(time.Second)}
	announceInMetadata(t, node, announced)
	f.interrupt(node)
	f.untilQueueEmpty()
	nt := f.until(node, v1alpha1.StateCompleted)
	if len(nt.Spec.Events) != 2 || nt.Status.PolicyRef == nil || nt.Status.PolicyRef.UID != f.policy.UID {
		t.Errorf("events %+v, governed by %+v; want two, and %s", nt.Spec.Events, nt.Status.PolicyRef, f.policy.Name)
	}
	f.checkEvictedOnce(pods...)
	for _, pod := range watchersOn(t, node) {
		if !watchers[pod.UID] || pod.DeletionTimestamp != nil {
			t.Errorf("watcher %s did not stay as it was", pod.Name)
		}
	}

	for _, p := range []*v1alpha1.NodeTerminationPolicy{f.policy, lower} {
		if c := untilOverlaps(t, p); c.Reason != v1alpha1.ReasonPolicies {
			t.Errorf("policy %s: %s: %s", p.Name, c.Reason, c.Message)
		}
	}
	f.untilStatus(func(status *v1alpha1.NodeTerminationPolicyStatus) error {
		if last := status.Sources[1].LastEventTime; last == nil || !last.Time.Equal(announced.Time) {
			return fmt.Errorf("the last event of the metadata is of %v, want %s", last, announced)
		}
		return nil
	})

	eventually(t, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(f.policy), f.policy); err != nil {
			return err
		}
		f.policy.Spec.Sources = f.policy.Spec.Sources[:1]
		return admin(t).Update(t.Context(), f.policy)
	})
	eventually(t, func() error {
		if _, err := daemonSetOf(t, f.policy); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the watchers are still there: %w", err)
		}
		return nil
	})
}

// TestWatchersWithoutImage: the policy says how to give the manager one.
func TestWatchersWithoutImage(t *testing.T) {
	startManager(t)
	f := emptyFixture(t, aws)
	f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}}
	})
	eventually(t, func() error {
		c, err := f.policyCondition(v1alpha1.ConditionSourcesReady)
		if err == nil && (c.Reason != v1alpha1.ReasonWatchersNotReady || !strings.Contains(c.Message, "--watcher-image")) {
			err = fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
		return err
	})
}

// managerPod stands for the pod that a manager would run in.
func managerPod(t *testing.T, image string) *corev1.Pod {
	t.Helper()
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	return cluster.Get(t).CreatePods(t, operator.Namespace, node.Name, 1, func(pod *corev1.Pod) {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.To(true),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		pod.Spec.Containers = []corev1.Container{{Name: "manager", Image: image, SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}}
	})[0]
}

// announceInMetadata stores a spot notice as the node's watcher does.
func announceInMetadata(t *testing.T, node *corev1.Node, announced metav1.Time) {
	t.Helper()
	const id = "spot-notice-of-the-metadata"
	nt := ac.NodeTermination(instanceOf(node)).WithSpec(ac.NodeTerminationSpec().
		WithInstanceID(instanceOf(node)).
		WithNodeName(node.Name).
		WithEvents(ac.Event().WithID(id).WithKind(v1alpha1.SpotInterruption).WithSource(v1alpha1.SourceIMDS).
			WithTime(announced).WithDeadline(metav1.Time{Time: announced.Add(2 * time.Minute)}).WithInstanceAction("terminate")))
	if err := admin(t).Apply(t.Context(), nt, client.FieldOwner(v1alpha1.EventFieldManager(id)), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

func daemonSetOf(t *testing.T, p *v1alpha1.NodeTerminationPolicy) (*appsv1.DaemonSet, error) {
	t.Helper()
	ds := &appsv1.DaemonSet{}
	return ds, admin(t).Get(t.Context(), client.ObjectKey{Namespace: operator.WatcherNamespace, Name: "imds-watcher-" + p.Name}, ds)
}

func watchersOn(t *testing.T, node *corev1.Node) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	err := admin(t).List(t.Context(), &pods, client.InNamespace(operator.WatcherNamespace), client.MatchingFields{"spec.nodeName": node.Name})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

// untilWatched waits until a policy says that its watchers listen, and returns the one on a node.
func untilWatched(t *testing.T, p *v1alpha1.NodeTerminationPolicy, node *corev1.Node, image string) *corev1.Pod {
	t.Helper()
	var watcher *corev1.Pod
	eventually(t, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		ds, err := daemonSetOf(t, p)
		if err != nil {
			return err
		}
		if got := ds.Spec.Template.Spec.Containers[0].Image; got != image {
			t.Fatalf("watchers run %s, want the manager's %s", got, image)
		}
		for _, pod := range watchersOn(t, node) {
			if metav1.IsControlledBy(&pod, ds) {
				watcher = &pod
			}
		}
		source := p.Status.Sources
		if watcher == nil || len(source) == 0 || ptr.Deref(source[len(source)-1].WatchersReady, 0) != 1 {
			return fmt.Errorf("policy %s has no watcher on node %s: %s", p.Name, node.Name, describe(p.Status.Conditions))
		}
		return nil
	})
	return watcher
}

// untilOverlaps waits until a policy says that it overlaps.
func untilOverlaps(t *testing.T, p *v1alpha1.NodeTerminationPolicy) *metav1.Condition {
	t.Helper()
	var c *metav1.Condition
	eventually(t, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		c = meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionOverlapping)
		if c == nil || c.Status != metav1.ConditionTrue {
			return fmt.Errorf("policy %s does not overlap: %s", p.Name, describe(p.Status.Conditions))
		}
		return nil
	})
	return c
}
