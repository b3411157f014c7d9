// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apply applies objects as Argo CD does with ServerSideApply=true, and waits until their kinds are served.
func apply(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	_, err := tryKubectl(t, cluster.Get(t).Kubeconfig(), document(t, objects),
		"apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "--filename=-")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if object.GetKind() == "CustomResourceDefinition" {
			kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd", object.GetName())
		}
	}
}

// checkSynced checks that Argo CD would show none of the objects as OutOfSync, with server-side diff and without.
func checkSynced(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	diff, err := tryKubectl(t, cluster.Get(t).Kubeconfig(), document(t, objects),
		"diff", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "--filename=-")
	if err != nil {
		t.Errorf("kubectl diff --server-side: %v\n%s", err, diff)
	}
	for _, object := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
			t.Error(err)
			continue
		}
		predicted, err := predict(object, live)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(live.Object, predicted); diff != "" {
			t.Errorf("%s %s is OutOfSync: write what the API server defaults or changes in it (-live +predicted):\n%s", object.GetKind(), object.GetName(), diff)
		}
	}
}

// predict returns what Argo CD's own diff expects to have after a sync, and compares with what there is: it makes a
// strategic merge patch for the kinds that Kubernetes has built in, and for all others a JSON merge patch, which
// replaces lists as a whole.
// https://argo-cd.readthedocs.io/en/stable/user-guide/diff-strategies/
func predict(desired, live *unstructured.Unstructured) (predicted map[string]any, err error) {
	want, err := json.Marshal(desired)
	if err != nil {
		return nil, err
	}
	have, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	typed, err := clientgoscheme.Scheme.New(desired.GroupVersionKind())
	var result []byte
	switch {
	case runtime.IsNotRegisteredError(err):
		result, err = mergeJSON(want, have)
	case err == nil:
		result, err = mergeStrategically(want, have, typed)
	}
	if err != nil {
		return nil, err
	}
	// As live was decoded: with whole numbers as such.
	err = utiljson.Unmarshal(result, &predicted)
	return predicted, err
}

func mergeJSON(want, have []byte) ([]byte, error) {
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(want, want, have)
	if err != nil {
		return nil, err
	}
	return jsonpatch.MergePatch(have, patch)
}

func mergeStrategically(want, have []byte, typed runtime.Object) ([]byte, error) {
	schema, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(want, want, have, schema, true)
	if err != nil {
		return nil, err
	}
	return strategicpatch.StrategicMergePatchUsingLookupPatchMeta(have, patch, schema)
}

// gone reports whether none of the objects is there any more.
func gone(t *testing.T, objects []*unstructured.Unstructured) bool {
	t.Helper()
	for _, object := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), live)
		if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
			t.Fatal(err)
		}
		if err == nil {
			return false
		}
	}
	return true
}
