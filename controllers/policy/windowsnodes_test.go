// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestWindowsNodes: a policy has a DaemonSet for Windows as long as it selects a Windows node, and its status counts
// both.
func TestWindowsNodes(t *testing.T) {
	t.Parallel()
	onWindows := func(node *corev1.Node) { node.Labels[corev1.LabelOSStable] = "windows" }
	newNodes(t, 2)
	policy := applyIMDS(t, "mixed")
	untilSource(t, policy, watchersReady(2))
	ofLinux, err := getDaemonSet(t, policy.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := getDaemonSetOf(t, &windows, policy.Name); !apierrors.IsNotFound(err) {
		t.Errorf("there is a DaemonSet for Windows and no node: %v", err)
	}
	for range 2 { // they come and go, again and again
		node := newNodes(t, 1, onWindows)[0]
		untilSource(t, policy, watchersReady(3))
		ofWindows, err := getDaemonSetOf(t, &windows, policy.Name)
		if err != nil {
			t.Fatal(err)
		}
		if owner := metav1.GetControllerOf(ofWindows); owner == nil || owner.UID != policy.UID {
			t.Errorf("it is owned by %+v, want the policy", owner)
		}
		pods, err := podsOf(t, policy.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods {
			if onIt := pod.Spec.NodeName == node.Name; onIt != metav1.IsControlledBy(&pod, ofWindows) {
				t.Errorf("pod %s is on node %s", pod.Name, pod.Spec.NodeName)
			}
		}
		if err := admin(t).Delete(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if _, err := getDaemonSetOf(t, &windows, policy.Name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the DaemonSet for Windows is still there: %w", err)
			}
			return nil
		})
		untilSource(t, policy, watchersReady(2))
	}
	if ds, err := getDaemonSet(t, policy.Name); err != nil || ds.UID != ofLinux.UID || ds.Generation != ofLinux.Generation {
		t.Errorf("the DaemonSet for Linux was changed: %v", err)
	}
	newNodes(t, 1, onWindows)
	untilSource(t, policy, watchersReady(3))
	change(t, policy, func() {
		policy.Spec.Sources = []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: queueURL}}}
	})
	untilGone(t, policy.Name)
	if _, err := getDaemonSetOf(t, &windows, policy.Name); !apierrors.IsNotFound(err) {
		t.Errorf("the DaemonSet for Windows is still there: %v", err)
	}
}
