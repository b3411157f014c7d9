// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// expel takes away what others have added to the pods of a policy's DaemonSet, such as
// a node selector: applying it leaves that, as nobody else's fields are touched by it.
func (r *Reconciler) expel(ctx context.Context, v *view, wanted *appsac.DaemonSetApplyConfiguration) error {
	i := slices.IndexFunc(v.daemonSets, func(ds appsv1.DaemonSet) bool { return ds.Name == *wanted.Name })
	if i < 0 || !changedByOthers(&v.daemonSets[i]) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec/template/spec", "value": wanted.Spec.Template.Spec}})
	if err != nil {
		return err
	}
	err = r.Client.Patch(ctx, v.daemonSets[i].DeepCopy(), client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(v1alpha1.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot take away what others have added to DaemonSet %s: %w", *wanted.Name, err)
	}
	return nil
}

// changedByOthers is whether somebody else has set fields of the pods' spec. Their
// annotations are free: "kubectl rollout restart" sets one.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
func changedByOthers(ds *appsv1.DaemonSet) bool {
	return slices.ContainsFunc(ds.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		if entry.Manager == v1alpha1.FieldManager || entry.Subresource != "" || entry.FieldsV1 == nil {
			return false
		}
		var fields struct {
			Spec struct {
				Template struct {
					Spec map[string]any `json:"f:spec"`
				} `json:"f:template"`
			} `json:"f:spec"`
		}
		return json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil && len(fields.Spec.Template.Spec) > 0
	})
}
