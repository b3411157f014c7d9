// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/controllers/node"
)

// Pod is what a drain has to know of a pod. It is kept instead of the whole
// object, which is five times as large.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	Labels          map[string]string
	Priority        int32
	// GracePeriodSeconds is the pod's own terminationGracePeriodSeconds.
	GracePeriodSeconds int64
	// DeletionTimestamp is when its shutdown has to be over. Zero: it was neither evicted nor deleted.
	DeletionTimestamp time.Time
	// DeletionGracePeriodSeconds is how long the shutdown may take from its beginning.
	DeletionGracePeriodSeconds int64
	// Mirror: the kubelet runs it from a file, and the API server only shows it.
	Mirror bool
	// DaemonSet: its controller would put it back on the same node.
	DaemonSet bool
	// Finished: its phase is Succeeded or Failed.
	Finished bool
	// Pending: no container has run yet. Disruption budgets do not keep such pods.
	Pending bool
	// Ready: it counts as healthy for disruption budgets.
	Ready bool
	// Preferences are stated by its annotations, whether the policy honors them or not.
	Preferences Preferences
	// Claims are the names of its persistent volume claims.
	Claims []string
}

// NewPod takes from a pod what a drain has to know.
func NewPod(pod *corev1.Pod) Pod {
	controller := metav1.GetControllerOfNoCopy(pod)
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	small := Pod{
		Namespace:                  pod.Namespace,
		Name:                       pod.Name,
		UID:                        pod.UID,
		Node:                       pod.Spec.NodeName,
		Labels:                     pod.Labels,
		Priority:                   ptr.Deref(pod.Spec.Priority, 0),
		GracePeriodSeconds:         ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds),
		DeletionGracePeriodSeconds: ptr.Deref(pod.DeletionGracePeriodSeconds, 0),
		Mirror:                     mirror,
		DaemonSet:                  controller != nil && controller.Kind == "DaemonSet",
		Finished:                   pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
		Pending:                    pod.Status.Phase == corev1.PodPending,
		Ready:                      node.PodReady(pod),
		Preferences:                newPreferences(pod.Annotations),
		Claims:                     claims(pod),
	}
	if pod.DeletionTimestamp != nil {
		small.DeletionTimestamp = pod.DeletionTimestamp.Time
	}
	return small
}

// Terminating reports whether the pod was evicted or deleted and is still there.
func (p *Pod) Terminating() bool {
	return !p.DeletionTimestamp.IsZero()
}

// String returns namespace/name.
func (p *Pod) String() string {
	return p.Namespace + "/" + p.Name
}

// claims returns the names of the claims that a pod uses. That of a generic ephemeral
// volume is named after pod and volume.
// https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
func claims(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		switch volume := &pod.Spec.Volumes[i]; {
		case volume.PersistentVolumeClaim != nil:
			names = append(names, volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			names = append(names, pod.Name+"-"+volume.Name)
		}
	}
	return names
}

// byName orders pods by namespace and name.
func byName(a, b Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
