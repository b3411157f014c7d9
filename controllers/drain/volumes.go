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

// volumesTimeout bounds a call of Attached. VolumeAttachments that cannot be
// listed would hold it up for as long as that lasts.
const volumesTimeout = 2 * time.Second

// Attached returns the volumes attached to a node that no pod in keep, the pods that stay
// there, uses, sorted: names of PersistentVolumes, or of VolumeAttachments where a pod names its
// volume inline. They are detached once their pods are gone and unmounted.
//
// VolumeAttachments come from cached, a manager's client, which lists and watches
// them from the first call on; see TrimVolumeAttachment. The claims of pods that
// stay are read from live, which need not know them beforehand. It takes two
// seconds at most, and fails if either cannot be read in that time.
func Attached(ctx context.Context, cached, live client.Reader, node string, keep []Pod) ([]string, error) {
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
	used, err := volumesOf(ctx, live, keep)
	if err != nil {
		return nil, err
	}
	attached = slices.DeleteFunc(attached, func(volume string) bool { return slices.Contains(used, volume) })
	slices.Sort(attached)
	return attached, nil
}

// volumeName returns the name by which people know the volume of an attachment.
func volumeName(attachment *storagev1.VolumeAttachment) string {
	if volume := attachment.Spec.Source.PersistentVolumeName; volume != nil {
		return *volume
	}
	return attachment.Name
}

// volumesOf returns the PersistentVolumes that the pods' claims are bound to.
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

// TrimVolumeAttachment keeps of a VolumeAttachment what Attached reads: it is the cache's
// transform for them.
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
