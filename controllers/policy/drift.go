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

// revertDrift removes what others have added to the pods of a policy's DaemonSet, such as
// a node selector: server-side apply leaves it, as nobody else's fields are touched by it.
func (r *Reconciler) revertDrift(ctx context.Context, snap *snapshot, desired *appsac.DaemonSetApplyConfiguration) error {
	i := slices.IndexFunc(snap.daemonSets, func(ds appsv1.DaemonSet) bool { return ds.Name == *desired.Name })
	if i < 0 || !changedByOthers(&snap.daemonSets[i]) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec/template/spec", "value": desired.Spec.Template.Spec}})
	if err != nil {
		return err
	}
	err = r.Client.Patch(ctx, snap.daemonSets[i].DeepCopy(), client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(v1alpha1.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot remove what others have added to DaemonSet %s: %w", *desired.Name, err)
	}
	return nil
}

// changedByOthers reports whether somebody else has set fields of the pods' spec. Their
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
