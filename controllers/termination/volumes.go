// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// maxVolumes is how many attached volumes a message names.
const maxVolumes = 5

// volumesAttached says which volumes of the pods that are gone are still attached to the
// node, which has these pods now, so that the hook is not to be completed yet; empty
// if it is.
func (r *Reconciler) volumesAttached(ctx context.Context, s *scope, hook *v1alpha1.HookStatus, pods []drain.Pod) string {
	if !s.policy.Spec.Drain.WaitsForVolumes() || !s.now.Before(hook.Deadline.Time) {
		return ""
	}
	volumes, err := r.attached(ctx, s, pods)
	switch {
	case err != nil:
		return fmt.Sprintf("it is not known which volumes are still attached: %v", err)
	case len(volumes) == 0:
		return ""
	}
	message := fmt.Sprintf("%d volumes are still attached: %s", len(volumes), strings.Join(volumes[:min(len(volumes), maxVolumes)], ", "))
	if len(volumes) > maxVolumes {
		message += ", …"
	}
	return message
}

// attached returns the volumes attached to the node that no pod which stays there uses.
func (r *Reconciler) attached(ctx context.Context, s *scope, pods []drain.Pod) ([]string, error) {
	staying := drain.PodsToKeep(pods, s.policy.Spec.Drain)
	return drain.Attached(ctx, r.Client, r.Live, s.node.Name, staying)
}
