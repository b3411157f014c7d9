// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// What the cache does not have of a Node stays: a kubelet, a network plugin or a storage driver needs it.
func TestNodePatchKeepsAnnotations(t *testing.T) {
	applied := map[string]string{v1alpha1.AnnotationApplied: "{}"}
	both := map[string]string{v1alpha1.AnnotationApplied: "{}", v1alpha1.AnnotationDrain: "why"}
	for name, tt := range map[string]struct {
		before, after map[string]string
		want          string
	}{
		"the last one of ours goes": {applied, nil, `{"metadata":{"annotations":{"nodetermination.dev/applied":null}}}`},
		"an empty map is left":      {applied, map[string]string{}, `{"metadata":{"annotations":{"nodetermination.dev/applied":null}}}`},
		"the other stays":           {both, map[string]string{v1alpha1.AnnotationDrain: "why"}, `{"metadata":{"annotations":{"nodetermination.dev/applied":null}}}`},
		"the first one comes":       {nil, applied, `{"metadata":{"annotations":{"nodetermination.dev/applied":"{}"}}}`},
		"none is changed":           {applied, applied, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			before := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Annotations: tt.before}}
			after := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Annotations: tt.after}}
			got, err := nodePatch{client.MergeFrom(before)}.Data(after)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}
