// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// smallPod is the part of a Pod that a forecast needs: to read no more of it halves the time that a large cluster takes.
type smallPod struct {
	Metadata struct {
		Name                       string                  `json:"name"`
		Namespace                  string                  `json:"namespace"`
		UID                        types.UID               `json:"uid"`
		CreationTimestamp          metav1.Time             `json:"creationTimestamp"`
		DeletionTimestamp          *metav1.Time            `json:"deletionTimestamp"`
		DeletionGracePeriodSeconds *int64                  `json:"deletionGracePeriodSeconds"`
		Labels                     map[string]string       `json:"labels"`
		Annotations                map[string]string       `json:"annotations"`
		OwnerReferences            []metav1.OwnerReference `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName                      string                            `json:"nodeName"`
		Priority                      *int32                            `json:"priority"`
		TerminationGracePeriodSeconds *int64                            `json:"terminationGracePeriodSeconds"`
		NodeSelector                  map[string]string                 `json:"nodeSelector"`
		Tolerations                   []corev1.Toleration               `json:"tolerations"`
		Affinity                      *corev1.Affinity                  `json:"affinity"`
		TopologySpreadConstraints     []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
		Overhead                      corev1.ResourceList               `json:"overhead"`
		Resources                     *corev1.ResourceRequirements      `json:"resources"`
		Containers                    []smallContainer                  `json:"containers"`
		InitContainers                []smallContainer                  `json:"initContainers"`
		Volumes                       []struct {
			Name                  string                                    `json:"name"`
			PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim"`
			Ephemeral             *struct{}                                 `json:"ephemeral"`
		} `json:"volumes"`
	} `json:"spec"`
	Status struct {
		Phase      corev1.PodPhase `json:"phase"`
		Conditions []struct {
			Type   corev1.PodConditionType `json:"type"`
			Status corev1.ConditionStatus  `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// smallContainer is the same of a container.
type smallContainer struct {
	RestartPolicy *corev1.ContainerRestartPolicy `json:"restartPolicy"`
	Resources     struct {
		Requests corev1.ResourceList `json:"requests"`
	} `json:"resources"`
}

// pod returns a Pod with that part.
func (small *smallPod) pod() *corev1.Pod {
	meta, spec := &small.Metadata, &small.Spec
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: meta.Name, Namespace: meta.Namespace, UID: meta.UID, CreationTimestamp: meta.CreationTimestamp,
			DeletionTimestamp: meta.DeletionTimestamp, DeletionGracePeriodSeconds: meta.DeletionGracePeriodSeconds,
			Labels: meta.Labels, Annotations: meta.Annotations, OwnerReferences: meta.OwnerReferences,
		},
		Spec: corev1.PodSpec{
			NodeName: spec.NodeName, Priority: spec.Priority, TerminationGracePeriodSeconds: spec.TerminationGracePeriodSeconds,
			NodeSelector: spec.NodeSelector, Tolerations: spec.Tolerations, Affinity: spec.Affinity,
			TopologySpreadConstraints: spec.TopologySpreadConstraints, Overhead: spec.Overhead, Resources: spec.Resources,
			Containers: containers(spec.Containers), InitContainers: containers(spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: small.Status.Phase},
	}
	for _, volume := range spec.Volumes {
		source := corev1.VolumeSource{PersistentVolumeClaim: volume.PersistentVolumeClaim}
		if volume.Ephemeral != nil {
			source.Ephemeral = &corev1.EphemeralVolumeSource{}
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume.Name, VolumeSource: source})
	}
	for _, condition := range small.Status.Conditions {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: condition.Type, Status: condition.Status})
	}
	return pod
}

// containers returns Containers with what is known of them.
func containers(small []smallContainer) []corev1.Container {
	list := make([]corev1.Container, len(small))
	for i := range small {
		list[i].RestartPolicy = small[i].RestartPolicy
		list[i].Resources.Requests = small[i].Resources.Requests
	}
	return list
}
