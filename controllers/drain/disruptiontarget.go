// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// markTimeout is how long a deletion waits for the pod's condition.
	markTimeout = time.Second
	// deletionReason is the condition's reason. Each component of Kubernetes that deletes
	// pods has one of its own, such as DeletionByTaintManager.
	deletionReason = "DeletionByNodeTermination"
)

// markDisrupted gives a pod that is to be deleted the condition that its eviction would have given
// it: a Job's podFailurePolicy tells by it that the pod did not fail by itself.
// https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
func markDisrupted(ctx context.Context, client rest.Interface, action *Action, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	pod := &action.Pod
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID}, // else it is another pod's
		"status": map[string]any{"conditions": []any{map[string]any{
			"type":               corev1.DisruptionTarget,
			"status":             corev1.ConditionTrue,
			"reason":             deletionReason,
			"message":            v1alpha1.TruncateMessage("Node termination: deleting although it cannot be evicted: "+action.Overrides.Reason, maxReason),
			"lastTransitionTime": metav1.Time{Time: now},
		}}},
	})
	if err != nil {
		return fmt.Errorf("cannot write the condition of pod %s: %w", pod, err)
	}
	return client.Patch(types.StrategicMergePatchType).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("status").
		Body(patch).MaxRetries(0).Do(ctx).Error()
}
