// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/source/sqs"
)

const (
	// roleCheckEvery is how often a role is assumed that could be before, and roleRetryEvery one
	// that could not: whoever mends its trust policy waits for that.
	roleCheckEvery, roleRetryEvery = 10 * time.Minute, 30 * time.Second
)

// RoleAssumer assumes roles, as awsapi.Client does.
type RoleAssumer interface {
	// AssumeRole assumes an account's role, unless there are credentials of it already. Its error
	// is awsapi.ErrBusy or says what to do.
	AssumeRole(ctx context.Context, at awsapi.Account) error
}

// roleCheck has the error with which a role could not be assumed, nil if it could, and when that was tried; zero: never.
type roleCheck struct {
	err error
	at  time.Time
}

// due returns when the role is tried next.
func (c roleCheck) due() time.Time {
	if c.err != nil {
		return c.at.Add(roleRetryEvery)
	}
	return c.at.Add(roleCheckEvery)
}

// checkRoles assumes the roles of all policies, side by side, so that what is wrong with one is
// told before a hook waits for it. It returns when to come again; zero if there are no roles.
func (r *Reconciler) checkRoles(ctx context.Context, snap *snapshot) (next time.Time) {
	checks := map[awsapi.Account]roleCheck{}
	for i := range snap.policies {
		if account := snap.account(&snap.policies[i]); account.RoleARN != "" {
			checks[account] = r.roles[account]
		}
	}
	var mu sync.Mutex
	var checking sync.WaitGroup
	for account, known := range maps.Clone(checks) {
		if r.Clock.Now().Before(known.due()) {
			continue
		}
		checking.Go(func() {
			err := r.AWS.AssumeRole(ctx, account)
			if errors.Is(err, awsapi.ErrBusy) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			checks[account] = roleCheck{err, r.Clock.Now()}
		})
	}
	checking.Wait()
	r.roles = checks
	for _, check := range checks {
		if next.IsZero() || check.due().Before(next) {
			next = check.due()
		}
	}
	return next
}

// account returns that of a policy's groups and instances: in the region of one of its nodes,
// else of a queue.
func (snap *snapshot) account(policy *v1alpha1.NodeTerminationPolicy) awsapi.Account {
	region := snap.regions[policy.UID]
	for _, source := range policy.Spec.Sources {
		if source.SQS != nil {
			region = cmp.Or(region, sqs.QueueOf(source.SQS).Region)
		}
	}
	return awsapi.Account{Region: region, RoleARN: policy.Spec.LifecycleHook.Role()}
}

// roleAssumed returns the condition that says whether the policy's role can be assumed; nil if it
// has none.
func (r *Reconciler) roleAssumed(policy *v1alpha1.NodeTerminationPolicy, snap *snapshot) *metav1.Condition {
	account := snap.account(policy)
	if account.RoleARN == "" {
		return nil
	}
	condition := &metav1.Condition{
		Type: v1alpha1.ConditionRoleAssumed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRoleAssumed,
		Message: fmt.Sprintf("role %s is assumed for calls about hooks and instances", account.RoleARN),
	}
	check := r.roles[account]
	if check.at.IsZero() {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionUnknown, v1alpha1.ReasonStarting, "the role was not assumed yet"
	}
	if err := check.err; err != nil {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, v1alpha1.ReasonSourceError, err.Error()
		if explained, ok := errors.AsType[*awsapi.Error](err); ok {
			condition.Reason = explained.Reason()
		}
	}
	return condition
}
