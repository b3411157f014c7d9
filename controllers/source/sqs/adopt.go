// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// hookLife is how long a group waits at a hook at the most.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
const hookLife = 48 * time.Hour

// adopters are the policies that have a hook completed at which none of their nodes
// waits. If there are none although a policy adopts it, left says why.
func (a audience) adopters(hook v1alpha1.LifecycleHook) (adopting []*v1alpha1.NodeTerminationPolicy, left string) {
	for _, policy := range a.policies {
		spec := &policy.Spec
		switch {
		case !spec.LifecycleHook.Adopts(hook.AutoScalingGroupName, hook.Name):
		case spec.DryRun():
			left = fmt.Sprintf("policy %s is in mode DryRun, and would complete it otherwise", policy.Name)
		case spec.LifecycleHook.Ignores(hook.Name):
			left = fmt.Sprintf("policy %s both adopts it and ignores hooks of its name: take it out of ignore", policy.Name)
		default:
			adopting = append(adopting, policy)
		}
	}
	if len(adopting) > 0 {
		left = ""
	}
	return adopting, left
}

// tagsOf are the EC2 tags of which an instance must have one for a hook that these
// policies adopt to be completed; none if it need not.
func tagsOf(adopting []*v1alpha1.NodeTerminationPolicy) []string {
	var tags []string
	for _, policy := range adopting {
		if policy.Spec.InstanceTag == "" {
			return nil
		}
		tags = append(tags, policy.Spec.InstanceTag)
	}
	return tags
}

// judgeLaunch says what becomes of a message of that age about a launch hook.
func judgeLaunch(adopts bool, age time.Duration) outcome {
	switch {
	case !adopts:
		return passed
	case age >= hookLife:
		return discarded
	}
	return waiting
}

// storeLaunch finds what becomes of a message about a launch hook, of which nothing
// is stored: it is given back until the hook is completed, if a policy adopts it.
func (c *consumer) storeLaunch(m *message, readers audience, age time.Duration, err error) {
	c.health.event()
	log := c.log.WithValues("instance", m.launch.InstanceID, "messageID", m.id,
		"autoScalingGroup", m.launch.Hook.AutoScalingGroupName, "hook", m.launch.Hook.Name)
	if err != nil {
		m.outcome = failed
		log.V(1).Info("launch hook could not be looked at", "error", err.Error())
		return
	}
	adopting, left := readers.adopters(m.launch.Hook)
	m.outcome = judgeLaunch(len(adopting) > 0, age)
	switch {
	case m.outcome == waiting:
		m.adopt(m.launch.InstanceID, &m.launch.Hook, true)
		if m.receives == 1 {
			log.Info("launch hook is adopted: it is completed once the instance's node is Ready", "destination", m.launch.Hook.Destination)
		}
	case left != "":
		log.Info("lifecycle hook is left alone", "why", left)
	default:
		log.V(1).Info("launch hook passed over", "outcome", m.outcome.String())
	}
}

// adopt has a hook completed that the message is about.
func (m *message) adopt(instanceID string, hook *v1alpha1.LifecycleHook, launching bool) {
	m.adopted = &adopted{instanceID: instanceID, hook: *hook, launching: launching, sent: m.sent, handle: m.handle}
}

// adoptUnjoined has the termination hook of an instance without a node completed, if
// that is what becomes of its fact, or says why it is left alone although a policy adopts it.
func (c *consumer) adoptUnjoined(m *message, fact event.Fact, readers audience, result outcome) {
	hook := fact.Event.LifecycleHook
	if result == waiting {
		m.adopt(fact.InstanceID, hook, false)
		return
	}
	if _, left := readers.adopters(*hook); left != "" && c.told.first(m.id, c.opts.Clock.Now()) {
		c.log.Info("lifecycle hook is left alone", "why", left, "instance", fact.InstanceID, "messageID", m.id,
			"autoScalingGroup", hook.AutoScalingGroupName, "hook", hook.Name)
	}
}
