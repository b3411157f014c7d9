// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"encoding/json"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// nodePatch is a merge patch of a Node as the cache has it, without the annotations of others. Where nothing is left of those
// that it has, a merge patch would say that there are no annotations, and the API server would delete all.
type nodePatch struct{ client.Patch }

// Data returns the patch, which removes no annotation but ours.
func (p nodePatch) Data(node client.Object) ([]byte, error) {
	data, err := p.Patch.Data(node)
	if err != nil {
		return nil, err
	}
	var patch map[string]any
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	metadata, _ := patch["metadata"].(map[string]any)
	if annotations, found := metadata["annotations"]; !found || annotations != nil {
		return data, nil
	}
	metadata["annotations"] = map[string]any{v1alpha1.AnnotationApplied: nil}
	return json.Marshal(patch)
}
