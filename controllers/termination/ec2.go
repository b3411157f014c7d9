// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// tagsAge is for how long an instance's tags are believed.
	tagsAge = 10 * time.Minute
	// stateAge is for how long an instance's state is.
	stateAge = 30 * time.Second
	// ec2Look is when EC2 is asked again that did not answer.
	ec2Look = 5 * time.Second
)

// requireTag is the phase that leaves instances alone that lack the policy's tag. While
// EC2 has not answered nothing is done, and once something was done it is not asked any more.
func (r *Reconciler) requireTag(_ context.Context, s *scope) (bool, error) {
	if s.policy == nil || s.policy.Spec.InstanceTag == "" || s.node == nil || s.nt.Status.StartTime != nil || len(s.active()) == 0 {
		return false, nil
	}
	tag := s.policy.Spec.InstanceTag
	instance, known, err := r.Cloud.Instance(s.region(), s.nt.Spec.InstanceID, tagsAge)
	switch {
	case !known:
		message := fmt.Sprintf("EC2 is asked whether the instance has the tag %s of policy %s; nothing is done before it answers", tag, s.policy.Name)
		s.forbids = message
		if err != nil {
			message += ": " + err.Error()
		}
		s.settle(v1alpha1.StateWaiting, message)
		s.lookAgain(s.now.Add(ec2Look))
		return true, nil
	case !slices.Contains(instance.TagKeys, tag):
		s.forbids = fmt.Sprintf("the instance does not have the tag %s of policy %s", tag, s.policy.Name)
		s.decision = decision{action: v1alpha1.ActionIgnore, cause: s.decision.cause, ignores: s.forbids}
		s.nt.Status.Deadline = nil
		s.lookAgain(s.now.Add(tagsAge)) // it may be given the tag yet
	}
	return false, nil
}

// instanceStopped is whether EC2 says that the instance has stopped, or does not
// know it any more. It is asked only about nodes that do not answer, where the
// policy wants to know.
func (r *Reconciler) instanceStopped(s *scope) bool {
	for _, e := range s.active() {
		if e.Kind == v1alpha1.InstanceStateChange && stoppedStates[e.InstanceAction] {
			return true
		}
	}
	if _, ready := ec2node.ReadySince(s.node); ready || !s.policy.Spec.DeclaresOutOfService() {
		return false
	}
	return r.stoppedInEC2(s)
}

// stoppedInEC2 is the same in EC2's own words of now: what a queue says may be old news.
func (r *Reconciler) stoppedInEC2(s *scope) bool {
	s.lookAgain(s.now.Add(stateAge))
	instance, known, _ := r.Cloud.Instance(s.region(), s.nt.Spec.InstanceID, stateAge)
	return known && (!instance.Found || stoppedStates[instance.State])
}

// stoppedStates are those of an instance on which nothing runs any more.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
var stoppedStates = map[string]bool{"stopped": true, "terminated": true}
