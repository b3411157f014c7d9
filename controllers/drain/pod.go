// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/controllers/node"
)

// Pod is what a drain has to know of a pod. It is kept instead of the whole
// object, which is five times as large.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	// Owner stands for the controller that replaces the pod, and of a Job's pod for the
	// CronJob, which makes a new Job every time. Empty: nobody does.
	Owner string
	// Created is when it was created.
	Created  time.Time
	Labels   map[string]string
	Priority int32
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
	// ToleratesCordon: the scheduler may put it on a node that is cordoned.
	ToleratesCordon bool
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
		Owner:                      ownerOf(pod, controller),
		Created:                    pod.CreationTimestamp.Time,
		Labels:                     pod.Labels,
		Priority:                   ptr.Deref(pod.Spec.Priority, 0),
		GracePeriodSeconds:         ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds),
		DeletionGracePeriodSeconds: ptr.Deref(pod.DeletionGracePeriodSeconds, 0),
		Mirror:                     mirror,
		DaemonSet:                  controller != nil && controller.Kind == "DaemonSet",
		ToleratesCordon:            toleratesCordon(pod.Spec.Tolerations),
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

// cordon is the taint that Kubernetes sets on a node that is unschedulable.
var cordon = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// toleratesCordon reports whether the scheduler may put a pod on a node that is cordoned.
func toleratesCordon(tolerations []corev1.Toleration) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), &cordon, false) })
}

// ownerOf returns Pod.Owner of a pod with a controller; nil is none.
func ownerOf(pod *corev1.Pod, controller *metav1.OwnerReference) string {
	if controller == nil {
		return ""
	}
	if cronJob, ok := cronJobOf(controller, pod.CreationTimestamp.Time); ok {
		return "CronJob " + pod.Namespace + "/" + cronJob
	}
	return string(controller.UID)
}

// cronJobOf returns the CronJob that made the controller of a pod, by its name, as the
// Job is not worth a request: to that of the CronJob its controller adds the minutes since 1970
// of the scheduled time. False: it is none of a CronJob's.
// https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
func cronJobOf(controller *metav1.OwnerReference, created time.Time) (string, bool) {
	dash := strings.LastIndexByte(controller.Name, '-')
	if controller.Kind != "Job" || dash < 1 {
		return "", false
	}
	minutes, err := strconv.ParseInt(controller.Name[dash+1:], 10, 64)
	age := created.Sub(time.Unix(minutes*60, 0))
	if err != nil || age < -time.Hour || age > 7*24*time.Hour {
		return "", false // a number, but not of minutes: that of a date for example
	}
	return controller.Name[:dash], true
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
