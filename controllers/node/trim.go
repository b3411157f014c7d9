// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxAnnotation is how much of an annotation is kept, in bytes: more than is read of any. A kubelet
// can write 256 KiB on its own Node.
const maxAnnotation = 4 << 10

// Trim trims a Node for the cache, as its transform: it keeps what decisions and patches need, so that an idle manager's memory does not follow the size of
// its nodes' statuses.
func Trim(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	trimmed := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:              node.Name,
			UID:               node.UID,
			ResourceVersion:   node.ResourceVersion,
			CreationTimestamp: node.CreationTimestamp,
			DeletionTimestamp: node.DeletionTimestamp,
			Labels:            node.Labels,
		},
		Spec: corev1.NodeSpec{
			ProviderID:    node.Spec.ProviderID,
			Unschedulable: node.Spec.Unschedulable,
			Taints:        node.Spec.Taints,
		},
	}
	for _, key := range []string{v1alpha1.AnnotationApplied, v1alpha1.AnnotationDrain, v1alpha1.AnnotationHold} {
		if value, found := node.Annotations[key]; found {
			metav1.SetMetaDataAnnotation(&trimmed.ObjectMeta, key, strings.Clone(value[:min(len(value), maxAnnotation)]))
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			trimmed.Status.Conditions = []corev1.NodeCondition{{
				Type: condition.Type, Status: condition.Status, LastTransitionTime: condition.LastTransitionTime,
			}}
		}
	}
	trimmed.Status.Addresses = node.Status.Addresses
	trimmed.Status.NodeInfo.BootID = node.Status.NodeInfo.BootID
	trimmed.Status.NodeInfo.SystemUUID = node.Status.NodeInfo.SystemUUID
	return trimmed, nil
}
