// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/hack/testcluster"
)

// A Job that must not fail because of disruptions goes on elsewhere, though a budget blocks its pod and it is
// deleted in the end.
func TestDrainOfAJob(t *testing.T) {
	c := cluster.Get(t).Client()
	namespace := cluster.Get(t).CreateNamespace(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "without-kubelet-"}}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "job"},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](0),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:          batchv1.PodFailurePolicyActionIgnore,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
			}}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "job"}},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					Containers:    []corev1.Container{{Name: "main", Image: "example.com/job"}},
				},
			},
		},
	}
	if err := c.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(t.Context(), node) })
	job.Spec.Template.Spec.NodeName = node.Name
	if err := c.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	pod := onlyPod(t, namespace, node.Name)
	setPhase(t, pod, corev1.PodRunning)
	untilCounted(t, createBudget(t, namespace, "job", "job", 1), 1)

	r := newFixture(t, cluster.Get(t).Config())
	r.drain(node.Name, Input{Earliest: time.Now().Add(-time.Minute), Deadline: time.Now().Add(20 * time.Second)})
	testcluster.Eventually(t, time.Minute, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.DeletionTimestamp == nil {
			return fmt.Errorf("pod %s is not terminating", pod.Name)
		}
		return nil
	})
	if !slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue && condition.Reason == deletionReason
	}) {
		t.Errorf("conditions: %+v", pod.Status.Conditions)
	}
	setPhase(t, pod, corev1.PodFailed)
	if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, time.Minute, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(job), job); err != nil {
			return err
		}
		if another := onlyPod(t, namespace, node.Name); another.UID == pod.UID {
			return fmt.Errorf("no other pod; status of the job: %+v", job.Status)
		}
		return nil
	})
	if job.Status.Failed != 0 {
		t.Errorf("status of the job: %+v", job.Status)
	}
}

// onlyPod waits for a pod on a node and returns it.
func onlyPod(t *testing.T, namespace, node string) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	testcluster.Eventually(t, time.Minute, func() error {
		err := cluster.Get(t).Client().List(t.Context(), &pods, client.InNamespace(namespace))
		if err == nil && (len(pods.Items) != 1 || pods.Items[0].Spec.NodeName != node) {
			err = fmt.Errorf("%d pods", len(pods.Items))
		}
		return err
	})
	return &pods.Items[0]
}

// setPhase reports, in the kubelet's place, how a pod is.
func setPhase(t *testing.T, pod *corev1.Pod, phase corev1.PodPhase) {
	t.Helper()
	patch := client.MergeFrom(pod.DeepCopy())
	pod.Status.Phase = phase
	if phase == corev1.PodRunning {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	}
	if err := cluster.Get(t).Client().Status().Patch(t.Context(), pod, patch); err != nil {
		t.Fatal(err)
	}
}
