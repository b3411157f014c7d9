// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/webhook"
)

// checked is a webhook that was checked, and what was found. To check it takes
// milliseconds, and policies are reconciled often.
type checked struct {
	webhook *webhook.Resolved
	err     error
}

// checkWebhooks returns what is wrong with the first of the policy's webhooks that
// cannot be used: something it refers to is not there, or its template is wrong.
func (r *Reconciler) checkWebhooks(ctx context.Context, policy *v1alpha1.NodeTerminationPolicy) error {
	before := r.checked[policy.UID]
	after := map[string]checked{}
	var first error
	for i := range policy.Spec.Webhooks {
		hook := &policy.Spec.Webhooks[i]
		resolved, err := r.Webhooks.Resolve(ctx, hook)
		if err == nil {
			known, found := before[hook.Name]
			if !found || !reflect.DeepEqual(known.webhook, resolved) {
				known = checked{resolved, resolved.Check(ctx)}
			}
			after[hook.Name], err = known, known.err
		}
		if err != nil && first == nil {
			first = fmt.Errorf("webhook %s: %w", hook.Name, err)
		}
	}
	if r.checked == nil {
		r.checked = map[types.UID]map[string]checked{}
	}
	r.checked[policy.UID] = after
	return first
}

// forgetChecks drops what was found about policies that are gone.
func (r *Reconciler) forgetChecks(policies []v1alpha1.NodeTerminationPolicy) {
	there := map[types.UID]bool{}
	for i := range policies {
		there[policies[i].UID] = true
	}
	for uid := range r.checked {
		if !there[uid] {
			delete(r.checked, uid)
		}
	}
}
