// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// budget keeps every pod with the label app=web.
func (s *setting) budget() {
	s.t.Helper()
	const name = "web"
	s.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	})
}

func app(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels["app"] = name
	}
}

func terminatesAfter(d time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[testcluster.TerminatesAfter] = d.String()
		pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(d/time.Second) + 1)
	}
}

func TestSpotNoticeDrainsTheNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 7)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)

	node := s.node(0)
	if !node.Spec.Unschedulable || !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == "nodetermination.dev/spot-interruption" && taint.Effect == corev1.TaintEffectNoSchedule
	}) {
		t.Errorf("node is not cordoned and tainted: %+v", node.Spec)
	}
	if left := s.left(0); len(left) > 0 {
		t.Errorf("pods are left: %v", left)
	}
	status := nt.Status
	if status.Pods == nil || status.Pods.Summary != "7/7" || *status.Pods.Evicted != 7 {
		t.Errorf("pods %+v, want 7/7", status.Pods)
	}
	if status.Cause != v1alpha1.SpotInterruption || status.Deadline == nil || status.CompletionTime == nil ||
		status.PolicyRef == nil || status.PolicyRef.UID != s.policy.UID || status.Node == nil || status.Node.UID != node.UID {
		t.Errorf("status is not complete: %+v", status)
	}
	for condition, want := range map[string]metav1.ConditionStatus{
		v1alpha1.ConditionReady: "True", v1alpha1.ConditionReconciling: "False", v1alpha1.ConditionStalled: "False",
		v1alpha1.ConditionCordoned: "True", v1alpha1.ConditionDrained: "True",
	} {
		if got := meta.FindStatusCondition(status.Conditions, condition); got == nil || got.Status != want {
			t.Errorf("condition %s is %+v, want %s", condition, got, want)
		}
	}
}

func TestWhatStaysOnTheNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "agent"}}}}}
	})
	node := s.nodes[0].Name
	daemon := s.daemonPod(0)
	agent := cluster.Get(t).CreatePods(t, s.ns, node, 1, app("agent"))
	cluster.Get(t).CreatePods(t, s.ns, node, 2)
	s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	left, want := s.left(0), []string{agent[0].Name, daemon}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left on the node: %v, want %v", left, want)
	}
}

// daemonPod is the pod of a DaemonSet on the i-th node.
func (s *setting) daemonPod(i int) string {
	s.t.Helper()
	labels := map[string]string{"app": "daemon"}
	s.create(&appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "daemon"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeSelector: map[string]string{"test": s.nodes[i].Labels["test"]},
					Containers:   []corev1.Container{{Name: "daemon", Image: "daemon"}},
				},
			},
		},
	})
	var pods corev1.PodList
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin(s.t).List(s.t.Context(), &pods, client.InNamespace(s.ns), client.MatchingLabels(labels)); err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Spec.NodeName != s.nodes[i].Name {
			return fmt.Errorf("%d pods of the DaemonSet, want one on node %s", len(pods.Items), s.nodes[i].Name)
		}
		return nil
	})
	return pods.Items[0].Name
}

func TestBlockedPodsAreNamedAndDeletedInTime(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](5)}}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3)
	created := time.Now()
	nt := s.terminate(0, notice("a", 15*time.Second))
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 2 || *nt.Status.Pods.Blocked != 2 || !strings.Contains(nt.Status.Blocked[0].Reason, s.ns+"/web") {
			return fmt.Errorf("want two pods blocked by budget %s/web, got %+v, %+v", s.ns, nt.Status.Blocked, nt.Status.Pods)
		}
		return nil
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	ended := nt.Status.CompletionTime.Sub(created)
	if ended < 8*time.Second || ended > 16*time.Second {
		t.Errorf("ended after %s, want shortly before the deadline", ended)
	}
	if len(nt.Status.Blocked) > 0 || *nt.Status.Pods.Blocked > 0 {
		t.Errorf("still says blocked: %+v", nt.Status)
	}
}

func TestSoftDrainDeletesNothingPastABudget(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](4)}
	})
	s.budget()
	pods := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.until(s.terminate(0, e), v1alpha1.StateFailed)
	if !slices.Equal(s.left(0), []string{pods[0].Name}) {
		t.Errorf("left: %v, want the blocked pod", s.left(0))
	}
	drained := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionDrained)
	if drained.Reason != v1alpha1.ReasonTimeout || !strings.Contains(drained.Message, "web") || len(nt.Status.Blocked) != 1 {
		t.Errorf("does not say what blocked it: %+v, %+v", drained, nt.Status.Blocked)
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestNearerDeadlineShortensGrace(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](600)}
	})
	pod := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, terminatesAfter(5*time.Minute))[0]
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.terminate(0, e)
	testcluster.Eventually(t, patience, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.DeletionTimestamp == nil || time.Until(pod.DeletionTimestamp.Time) < 4*time.Minute {
			return fmt.Errorf("want the pod to take its five minutes, got %v", pod.DeletionTimestamp)
		}
		return nil
	})
	deadline := time.Now().Add(12 * time.Second)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, notice("a", 12*time.Second))
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	if nt.Status.CompletionTime.After(deadline.Add(2 * time.Second)) {
		t.Errorf("ended at %v, deadline %v", nt.Status.CompletionTime, deadline)
	}
	if nt.Status.Cause != v1alpha1.SpotInterruption {
		t.Errorf("cause %s", nt.Status.Cause)
	}
}
