// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// Adopters returns the policies that have a hook completed at which none of their nodes
// waits. If there are none although a policy adopts it, ignored says why.
func Adopters(policies []*v1alpha1.NodeTerminationPolicy, hook v1alpha1.LifecycleHook) (adopting []*v1alpha1.NodeTerminationPolicy, ignored string) {
	for _, policy := range policies {
		spec := &policy.Spec
		switch {
		case !spec.LifecycleHook.Adopts(hook.AutoScalingGroupName, hook.Name):
		case spec.DryRun():
			ignored = fmt.Sprintf("policy %s is in mode DryRun, and would complete it otherwise", policy.Name)
		case spec.LifecycleHook.Ignores(hook.Name):
			ignored = fmt.Sprintf("policy %s both adopts it and ignores hooks of its name: take it out of ignore", policy.Name)
		default:
			adopting = append(adopting, policy)
		}
	}
	if len(adopting) > 0 {
		ignored = ""
	}
	return adopting, ignored
}

// requiredTags returns the EC2 tags of which an instance must have one for a hook that
// these policies adopt to be completed; none if it need not.
func requiredTags(adopting []*v1alpha1.NodeTerminationPolicy) []string {
	var tags []string
	for _, policy := range adopting {
		if policy.Spec.InstanceTag == "" {
			return nil
		}
		tags = append(tags, policy.Spec.InstanceTag)
	}
	return tags
}

// adoptedStep is what to do about an adopted hook.
type adoptedStep int

const (
	// waitForNode: the instance's node is not Ready yet.
	waitForNode adoptedStep = iota
	// waitForTag: EC2 says that the instance is not this operator's. It may be given the tag yet.
	waitForTag
	// askEC2: EC2 has not said yet whether it is this operator's.
	askEC2
	// giveUp: it is not, or no longer, this operator's.
	giveUp
	// complete: the instance has no more to wait for.
	complete
)

// adoptedInput is what is known of an adopted hook.
type adoptedInput struct {
	hook event.AdoptedHook
	// adopting are the policies that adopt it now.
	adopting []*v1alpha1.NodeTerminationPolicy
	// instance is what EC2 said; nil if it has not answered, or was not asked as no tag is required.
	instance *awsapi.Instance
	// node is the instance's; nil if there is none.
	node *corev1.Node
}

// nextStep returns what to do about an adopted hook now. A launch hook is completed when
// the instance's node is Ready, or at once if the instance goes to a warm pool, where it may
// never become a node; a termination hook if the instance never became a node.
func nextStep(in adoptedInput) adoptedStep {
	if len(in.adopting) == 0 {
		return giveUp
	}
	if tags := requiredTags(in.adopting); len(tags) > 0 {
		switch {
		case in.instance == nil || !in.instance.Found: // one that was launched this moment is not known yet
			return askEC2
		case !slices.ContainsFunc(tags, in.instance.HasTag):
			return waitForTag
		}
	}
	switch {
	case !in.hook.Launching && in.node != nil:
		return giveUp
	case !in.hook.Launching, in.hook.Hook.Destination == event.WarmPool:
		return complete
	case in.node == nil:
		return waitForNode
	}
	if _, ready := ec2node.ReadySince(in.node); !ready {
		return waitForNode
	}
	return complete
}
