// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// expire deletes a termination that has ended, some time after its node is gone.
func (r *Reconciler) expire(ctx context.Context, s *scope) error {
	if !s.finished() || s.node != nil || s.attends() && len(s.waitingHooks()) > 0 || s.telling() {
		return nil
	}
	since := s.nt.Status.CompletionTime
	if known := s.nt.Status.Node; known != nil && known.GoneTime.After(since.Time) {
		since = known.GoneTime
	}
	var spec *v1alpha1.NodeTerminationPolicySpec
	if s.policy != nil {
		spec = &s.policy.Spec
	}
	if at := since.Add(spec.TTL()); s.now.Before(at) {
		s.lookAgain(at)
		return nil
	}
	err := r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete NodeTermination %s, which ended long ago: %w", s.nt.Name, err)
	}
	r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination deleted, as its node is long gone")
	return nil
}
