// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// volumesTimeout bounds a question for volumes. VolumeAttachments that cannot be
// listed would hold it up for as long as that lasts.
const volumesTimeout = 2 * time.Second

// Attached are the volumes attached to a node that no pod which stays there uses,
// sorted: names of PersistentVolumes, or of VolumeAttachments where a pod names its
// volume inline. They are detached once their pods are gone and unmounted.
//
// VolumeAttachments come from cached, a manager's client, which lists and watches
// them from the first call on; see TrimVolumeAttachment. The claims of pods that
// stay are asked for from live, which need not know them beforehand. It takes two
// seconds at most, and fails if either cannot be read in that time.
func Attached(ctx context.Context, cached, live client.Reader, node string, staying []Pod) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, volumesTimeout)
	defer cancel()
	var attachments storagev1.VolumeAttachmentList
	if err := cached.List(ctx, &attachments, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list VolumeAttachments: %w", err)
	}
	var attached []string
	for i := range attachments.Items {
		if attachments.Items[i].Spec.NodeName == node {
			attached = append(attached, volumeName(&attachments.Items[i]))
		}
	}
	if len(attached) == 0 {
		return nil, nil
	}
	used, err := volumesOf(ctx, live, staying)
	if err != nil {
		return nil, err
	}
	attached = slices.DeleteFunc(attached, func(volume string) bool { return slices.Contains(used, volume) })
	slices.Sort(attached)
	return attached, nil
}

// volumeName is what people know the volume of an attachment by.
func volumeName(attachment *storagev1.VolumeAttachment) string {
	if volume := attachment.Spec.Source.PersistentVolumeName; volume != nil {
		return *volume
	}
	return attachment.Name
}

// volumesOf are the PersistentVolumes that the pods' claims are bound to.
func volumesOf(ctx context.Context, live client.Reader, pods []Pod) ([]string, error) {
	var volumes []string
	for i := range pods {
		for _, name := range pods[i].Claims {
			var claim corev1.PersistentVolumeClaim
			err := live.Get(ctx, client.ObjectKey{Namespace: pods[i].Namespace, Name: name}, &claim)
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("cannot get PersistentVolumeClaim %s/%s of pod %s: %w", pods[i].Namespace, name, pods[i].Name, err)
			}
			if claim.Spec.VolumeName != "" {
				volumes = append(volumes, claim.Spec.VolumeName)
			}
		}
	}
	return volumes, nil
}

// claims are the names of the claims that a pod uses. That of a generic ephemeral
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

// TrimVolumeAttachment is the cache's transform for VolumeAttachments: it keeps
// what Attached reads.
func TrimVolumeAttachment(object any) (any, error) {
	attachment, ok := object.(*storagev1.VolumeAttachment)
	if !ok {
		return object, nil
	}
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: attachment.Name, UID: attachment.UID, ResourceVersion: attachment.ResourceVersion},
		Spec: storagev1.VolumeAttachmentSpec{
			NodeName: attachment.Spec.NodeName,
			Source:   storagev1.VolumeAttachmentSource{PersistentVolumeName: attachment.Spec.Source.PersistentVolumeName},
		},
	}, nil
}
