// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// The last wave waits for the one before it until its reserve begins, and what the
// policy skips stays.
func TestWavesWithAReserve(t *testing.T) {
	t.Parallel()
	const reserve = 10 * time.Second
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{
			Waves:       []v1alpha1.Wave{{PriorityBelow: ptr.To[int32](1)}, {ReserveSeconds: ptr.To(int32(reserve / time.Second))}},
			Skip:        []v1alpha1.PodRule{{PodSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "agent"}}}},
			BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait},
		}
	})
	s.budget()
	node := s.nodes[0].Name
	stay := []string{cluster.Get(t).CreatePods(t, s.ns, node, 1, app("web"))[0].Name, cluster.Get(t).CreatePods(t, s.ns, node, 1, app("agent"))[0].Name}
	last := cluster.Get(t).CreatePods(t, s.ns, node, 1, func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-cluster-critical" })[0].Name
	notice := notice("a", 20*time.Second)
	s.terminate(0, notice)
	testcluster.Eventually(t, patience, func() error {
		if left := s.left(0); slices.Contains(left, last) {
			return fmt.Errorf("pods %v are left", left)
		}
		return nil
	})
	begins := notice.Deadline.Truncate(time.Second).Add(-reserve) // the API keeps whole seconds
	if early := time.Until(begins); early > 0 {
		t.Errorf("pod %s was evicted %s before the reserve begins", last, early)
	}
	left := s.left(0)
	slices.Sort(left)
	slices.Sort(stay)
	if !slices.Equal(left, stay) {
		t.Errorf("pods %v are left, want %v", left, stay)
	}
}
