// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// tagsAge is for how long an instance's tags are believed.
	tagsAge = 10 * time.Minute
	// tagRetry is when EC2 is asked again, at first, that did not answer.
	tagRetry = 5 * time.Second
)

// requireTag leaves instances alone that lack the policy's tag. While
// EC2 has not answered nothing is done, and once something was done it is not asked any more.
// Without a node there is something to do only where a group waits.
func (r *Reconciler) requireTag(_ context.Context, s *scope) (verdict, error) {
	if s.policy == nil || s.policy.Spec.InstanceTag == "" || s.nt.Status.StartTime != nil || len(s.active()) == 0 ||
		s.node == nil && !slices.ContainsFunc(s.active(), isGroups) {
		return proceed, nil
	}
	tag := s.policy.Spec.InstanceTag
	instance, known, err := r.describeInstance(s, tagsAge)
	if known && s.mayBeForeign(instance) {
		known, err = false, errors.New(unknownToEC2)
	}
	switch {
	case !known:
		message := fmt.Sprintf("EC2 is asked whether the instance has the tag %s of policy %s; nothing is done before it answers", tag, s.policy.Name)
		s.decision.forbidden = message
		if err != nil {
			message += ": " + err.Error()
		}
		s.setState(v1alpha1.StateWaiting, message)
		s.lookAgain(s.now.Add(backOff(s.now.Sub(s.received()), tagRetry)))
		return ended, nil
	case !instance.HasTag(tag):
		lacks := fmt.Sprintf("the instance does not have the tag %s of policy %s", tag, s.policy.Name)
		s.decision = decision{action: v1alpha1.ActionIgnore, cause: s.decision.cause, ignores: lacks, forbidden: lacks}
		s.nt.Status.Deadline = nil
		s.lookAgain(s.now.Add(tagsAge)) // it may be given the tag yet
	}
	return proceed, nil
}

// region returns the instance's; empty if it is not known.
func (s *scope) region() string {
	if s.nt.Status.Node != nil && s.nt.Status.Node.Zone != "" {
		return awsapi.RegionOf(s.nt.Status.Node.Zone)
	}
	if s.nt.Spec.Instance != nil {
		return s.nt.Spec.Instance.Region
	}
	return ""
}
