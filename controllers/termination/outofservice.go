// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// stateAge is for how long an instance's state is believed.
const stateAge = 30 * time.Second

// stoppedStates are those of an instance on which nothing runs any more.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
var stoppedStates = map[string]bool{"stopped": true, "terminated": true}

// returnToService reverts that a node is out of service once it answers,
// whatever else stands: its pods would be killed and their volumes detached in use.
func (r *Reconciler) returnToService(ctx context.Context, s *scope) (verdict, error) {
	if s.node == nil {
		return proceed, nil
	}
	if _, answers := ec2node.ReadySince(s.node); !answers {
		return proceed, nil
	}
	err := r.changeNode(ctx, s.node, func(node *corev1.Node) bool { return ec2node.ReturnToService(node, s.nt.Spec.InstanceID) })
	if client.IgnoreNotFound(err) != nil {
		return ended, fmt.Errorf("cannot take the taint %s off node %s: %w", ec2node.OutOfServiceTaint.Key, s.node.Name, err)
	}
	return proceed, nil
}

// outOfService reports whether the node is to be declared out of service.
func (r *Reconciler) outOfService(s *scope) bool {
	return r.dead(s) && s.policy.Spec.DeclaresOutOfService() && r.stoppedInEC2(s)
}

// dead reports whether the instance has stopped, or EC2 does not know it any more, and the
// node's kubelet does not answer. EC2 is asked only where the policy wants to know.
func (r *Reconciler) dead(s *scope) bool {
	if _, answers := ec2node.ReadySince(s.node); answers {
		return false
	}
	for _, e := range s.active() {
		if !s.unconfirmed && e.Kind == v1alpha1.InstanceStateChange && stoppedStates[e.InstanceAction] {
			return true
		}
	}
	return s.policy.Spec.DeclaresOutOfService() && r.stoppedInEC2(s)
}

// stoppedInEC2 reports the same in EC2's own words of now: what a queue says may be old news.
// That EC2 does not find an instance counts only if it has described it before.
func (r *Reconciler) stoppedInEC2(s *scope) bool {
	s.lookAgain(s.now.Add(stateAge))
	instance, known, err := r.describeInstance(s, stateAge)
	switch {
	case err != nil:
		r.logUnknown(s, err.Error())
	case known && s.mayBeForeign(instance):
		r.logUnknown(s, unknownToEC2)
	}
	return known && (stoppedStates[instance.State] || !instance.Found && !s.mayBeForeign(instance))
}

// logUnknown says once in the log why it is not known whether the instance has stopped.
func (r *Reconciler) logUnknown(s *scope, reason string) {
	if r.Local.get(s.nt.Name).unknownState != reason {
		r.Local.update(s.nt.Name, func(known *localRecord) { known.unknownState = reason })
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("It is not known whether the instance has stopped, so that its node is not declared out of service", "reason", reason)
	}
}
