// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/source/sqs"
	"github.com/nodetermination/operator/controllers/webhook"
)

const aRole = "arn:aws:iam::210987654321:role/drain"

// roles answers for AWS, and notes which roles are assumed.
type roles struct {
	mu      sync.Mutex
	err     error
	assumed []awsapi.Account
}

func (r *roles) AssumeRole(_ context.Context, at awsapi.Account) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assumed = append(r.assumed, at)
	return r.err
}

// A role that cannot be assumed is a condition of the policy, and is tried again soon.
func TestRoleIsACondition(t *testing.T) {
	denied := awsapi.Explain(awsapi.AssumeRole, awsapi.Account{Region: "eu-west-1", RoleARN: aRole}, errors.New("denied"))
	for name, test := range map[string]struct {
		err           error
		status, ready metav1.ConditionStatus
		reason        string
		message       string
		next          time.Duration
	}{
		"assumed": {nil, metav1.ConditionTrue, metav1.ConditionTrue, v1alpha1.ReasonRoleAssumed, "role " + aRole + " is assumed", roleCheckEvery},
		"refused": {denied, metav1.ConditionFalse, metav1.ConditionFalse, v1alpha1.ReasonSourceError, denied.Error(), roleRetryEvery},
		"busy":    {awsapi.ErrBusy, metav1.ConditionUnknown, metav1.ConditionTrue, v1alpha1.ReasonStarting, "the role was not assumed yet", 0},
	} {
		t.Run(name, func(t *testing.T) {
			clock, aws := clocktesting.NewFakeClock(time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)), &roles{err: test.err}
			r := &Reconciler{
				Queues:   sqs.NewConsumers(sqs.Options{NewAdopter: func(sqs.AdoptedQueue) sqs.Adopter { return nil }}),
				Webhooks: &webhook.Resolver{}, Clock: clock, AWS: aws,
			}
			policies := []v1alpha1.NodeTerminationPolicy{newPolicy("a", 0, ""), newPolicy("b", 1, "")}
			policies[0].Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{RoleARN: aRole}
			policies[0].Spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}}
			snap := snapshotOf(policies)
			snap.regions[policies[0].UID] = "eu-west-1"
			next := r.checkRoles(t.Context(), snap)
			if want := clock.Now().Add(test.next); test.next > 0 && !next.Equal(want) {
				t.Errorf("next at %s, want %s", next, want)
			}
			r.checkRoles(t.Context(), snap)
			if want := (awsapi.Account{Region: "eu-west-1", RoleARN: aRole}); aws.assumed[0] != want || test.next > 0 && len(aws.assumed) != 1 {
				t.Errorf("assumed %+v, want %+v once", aws.assumed, want)
			}
			condition := r.roleAssumed(&policies[0], snap)
			if condition.Status != test.status || condition.Reason != test.reason || !strings.HasPrefix(condition.Message, test.message) {
				t.Errorf("condition %+v", condition)
			}
			clock.Step(test.next)
			aws.err = nil
			r.checkRoles(t.Context(), snap)
			if condition := r.roleAssumed(&policies[0], snap); condition.Status != metav1.ConditionTrue {
				t.Errorf("later: %+v", condition)
			}
			if condition := r.roleAssumed(&policies[1], snap); condition != nil {
				t.Errorf("a policy without a role has %+v", condition)
			}
		})
	}
}

// A refused role makes a policy not Ready; one without a role loses the condition.
func TestRefusedRoleIsNotReady(t *testing.T) {
	r := &Reconciler{
		Queues:   sqs.NewConsumers(sqs.Options{NewAdopter: func(sqs.AdoptedQueue) sqs.Adopter { return nil }}),
		Webhooks: &webhook.Resolver{}, Clock: clocktesting.NewFakeClock(time.Now()), AWS: &roles{err: errors.New("cannot assume role")},
	}
	policies := []v1alpha1.NodeTerminationPolicy{newPolicy("a", 0, "")}
	policies[0].Spec.Sources = nil
	policies[0].Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{RoleARN: aRole}
	node := newNode("n")
	node.Spec.ProviderID = "aws:///cn-north-1a/i-0abc1234def567890"
	snap := snapshotOf(policies, node)
	if got := snap.account(&policies[0]).Region; got != "cn-north-1" {
		t.Errorf("region %q, want the node's", got)
	}
	r.checkRoles(t.Context(), snap)
	r.describe(t.Context(), &policies[0], snap)
	ready := meta.FindStatusCondition(policies[0].Status.Conditions, v1alpha1.ConditionReady)
	if ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonSourceError || ready.Message != "cannot assume role" {
		t.Errorf("ready %+v", ready)
	}
	policies[0].Spec.LifecycleHook = nil
	r.describe(t.Context(), &policies[0], snap)
	if condition := meta.FindStatusCondition(policies[0].Status.Conditions, v1alpha1.ConditionRoleAssumed); condition != nil {
		t.Errorf("without a role: %+v", condition)
	}
}
