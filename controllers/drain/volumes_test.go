// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestClaims(t *testing.T) {
	volume := func(name string, source corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: source}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		volume("config", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}),
		volume("data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-0"}}),
		volume("scratch", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}),
	}}}
	if diff := cmp.Diff([]string{"data-db-0", "db-0-scratch"}, NewPod(pod).Claims); diff != "" {
		t.Error(diff)
	}
}

func TestPodsToKeep(t *testing.T) {
	pods := []Pod{
		newPod("mirror", func(p *Pod) { p.Mirror = true }), newPod("daemon", func(p *Pod) { p.DaemonSet = true }),
		newPod("rule", inNamespace("monitoring")), newPod("annotated", preferring(PreferSkip)),
		newPod("web"), newPod("kept", preferring(PreferNoDisruption)),
		newPod("ended", func(p *Pod) { p.DaemonSet, p.Finished = true, true }), // has let go of its volumes
	}
	drain := &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{Namespaces: []string{"monitoring"}}}}
	keep := PodsToKeep(pods, drain)
	if diff := cmp.Diff([]string{"annotated", "daemon", "mirror", "rule"}, names(keep)); diff != "" {
		t.Error(diff)
	}
	drain.PodAnnotations = v1alpha1.PodAnnotationsIgnore
	keep = PodsToKeep(pods, drain)
	if diff := cmp.Diff([]string{"daemon", "mirror", "rule"}, names(keep)); diff != "" {
		t.Error("annotations ignored:", diff)
	}
	drain.Skip[0].PodSelector = selector("no key", "x")
	keep = PodsToKeep(pods, drain)
	if diff := cmp.Diff([]string{"daemon", "mirror"}, names(keep)); diff != "" {
		t.Error("a rule that cannot be read:", diff)
	}
}

// attach says that a volume is attached to a node; an empty one is named inline.
func attach(t *testing.T, name, node, volume string) *storagev1.VolumeAttachment {
	t.Helper()
	source := storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}
	if volume == "" {
		source = storagev1.VolumeAttachmentSource{InlineVolumeSpec: &corev1.PersistentVolumeSpec{
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com", VolumeHandle: "vol-1"}},
		}}
	}
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: "ebs.csi.aws.com", NodeName: node, Source: source},
	}
	create(t, attachment)
	return attachment
}

// create creates an object that is deleted at the end of the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := cluster.Get(t).Client().Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Get(t).Client().Delete(context.Background(), object) })
}

// claimed creates a claim that is bound to a volume, and the pod that uses it.
func claimed(t *testing.T, namespace, name, volume string) Pod {
	t.Helper()
	create(t, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: volume, StorageClassName: ptr.To(""),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	})
	return newPod("pod-of-"+name, inNamespace(namespace), func(p *Pod) { p.Claims = []string{name} })
}

func TestAttached(t *testing.T) {
	namespace := cluster.Get(t).CreateNamespace(t)
	node, other := namespace+"-1", namespace+"-2" // an attachment may outlive its node
	volume := func(name string) string { return namespace + "-" + name }
	left := attach(t, volume("a"), node, volume("left"))
	attach(t, volume("b"), node, volume("stays"))
	attach(t, volume("c"), other, volume("elsewhere"))
	inline := attach(t, volume("inline"), node, "")
	keep := []Pod{
		claimed(t, namespace, "stays", volume("stays")), claimed(t, namespace, "unbound", ""),
		newPod("claim-is-gone", inNamespace(namespace), func(p *Pod) { p.Claims = []string{"gone"} }),
	}

	informers, err := cache.New(cluster.Get(t).Config(), cache.Options{Scheme: scheme.Scheme, ByObject: map[client.Object]cache.ByObject{
		&storagev1.VolumeAttachment{}: {Transform: TrimVolumeAttachment},
	}})
	if err != nil {
		t.Fatal(err)
	}
	runUntilDone(t, informers.Start)
	attached := func(node string, want ...string) error {
		got, err := Attached(t.Context(), informers, cluster.Get(t).Client(), node, keep)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			err = errors.Join(err, fmt.Errorf("attached to %s: %s", node, diff))
		}
		return err
	}
	testcluster.Eventually(t, time.Minute, func() error { // the cache is about to start
		return errors.Join(attached(node, inline.Name, volume("left")), attached(other, volume("elsewhere")), attached("no-such-node"))
	})
	for _, attachment := range []*storagev1.VolumeAttachment{left, inline} {
		if err := cluster.Get(t).Client().Delete(t.Context(), attachment); err != nil {
			t.Fatal(err)
		}
	}
	testcluster.Eventually(t, time.Minute, func() error { return attached(node) })

	// The API server refuses: the caller gets an error, in bounded time.
	nobody := cluster.Get(t).Config()
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	refused, err := client.New(nobody, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Attached(t.Context(), refused, cluster.Get(t).Client(), node, keep); err == nil {
		t.Errorf("without permission for VolumeAttachments: %v", got)
	}
	if got, err := Attached(t.Context(), informers, refused, node, keep); err == nil {
		t.Errorf("without permission for claims: %v", got)
	}
	unknown, err := cache.New(nobody, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	runUntilDone(t, unknown.Start)
	testcluster.Eventually(t, time.Minute, func() error {
		_, err := Attached(t.Context(), unknown, cluster.Get(t).Client(), node, keep)
		if notStarted := new(cache.ErrCacheNotStarted); err == nil || errors.As(err, &notStarted) {
			return errors.Join(errors.New("a cache that cannot list answers"), err)
		}
		return nil
	})
}

func TestTrimVolumeAttachment(t *testing.T) {
	whole := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-1", UID: "uid", ResourceVersion: "7", Annotations: map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "someone"}}},
		Spec: storagev1.VolumeAttachmentSpec{Attacher: "ebs.csi.aws.com", NodeName: "node",
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pvc-1")}},
		Status: storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"devicePath": "/dev/xvdaa"}},
	}
	want := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-1", UID: "uid", ResourceVersion: "7"},
		Spec:       storagev1.VolumeAttachmentSpec{NodeName: "node", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("pvc-1")}},
	}
	for range 2 { // what is trimmed may be trimmed again
		trimmed, err := TrimVolumeAttachment(whole)
		if diff := cmp.Diff(any(want), trimmed); diff != "" || err != nil {
			t.Error(err, diff)
		}
		whole = want
	}
	if other, err := TrimVolumeAttachment("no attachment"); other != "no attachment" || err != nil {
		t.Errorf("something else became %v, %v", other, err)
	}
}
