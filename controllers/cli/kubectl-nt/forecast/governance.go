// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"cmp"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/leader"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// governance is which policy governs a node, and what comes of it.
type governance struct {
	instanceID string
	policy     *v1alpha1.NodeTerminationPolicy
	// drains: its pods are evicted.
	drains bool
	// reason is why they are not, or under which condition they are.
	reason string
}

// mode returns the mode of the policy.
func (g *governance) mode() v1alpha1.Mode {
	return cmp.Or(g.policy.Spec.Mode, v1alpha1.ModeEnforce)
}

// governanceOf returns what governs a node of a snapshot when a SpotInterruption is received. forced governs
// it whatever it selects, and also a node that is no EC2 instance; nil: the policies of the snapshot decide.
func governanceOf(s *snapshot, n *node, forced *v1alpha1.NodeTerminationPolicy) governance {
	const kind = v1alpha1.SpotInterruption
	instanceID, ours := ec2node.InstanceID(n.Node)
	g := governance{instanceID: instanceID, policy: forced}
	switch {
	case forced != nil:
	case !ours && !identifiedByEC2(s, n):
		g.reason = "its providerID names no EC2 instance, or EKS Auto Mode runs it: nothing is done; --policy shows what a policy would do"
		return g
	default:
		g.policy = ec2node.Governing(s.policies, n.Node)
	}
	if g.policy == nil {
		g.reason = "no NodeTerminationPolicy selects it: nothing is done"
		return g
	}
	spec := &g.policy.Spec
	switch action := spec.ActionFor(kind); {
	case spec.Suspended():
		g.reason = "policy " + g.policy.Name + " is suspended: nothing is done"
	case action == v1alpha1.ActionIgnore:
		g.reason = fmt.Sprintf("policy %s ignores %s: nothing is done", g.policy.Name, kind)
	case action == v1alpha1.ActionCordon:
		g.reason = fmt.Sprintf("policy %s only cordons for %s: its pods are left alone", g.policy.Name, kind)
	default:
		g.drains = true
		g.reason = g.condition()
	}
	return g
}

// identifiedByEC2 reports whether EC2 is asked for the instance of a node, which has no providerID.
func identifiedByEC2(s *snapshot, n *node) bool {
	policy := ec2node.Governing(s.policies, n.Node)
	return policy != nil && policy.Spec.IdentifiesByName() && ec2node.LacksProviderID(n.Node)
}

// condition returns under which condition the pods are evicted; empty: under none.
func (g *governance) condition() string {
	switch spec := &g.policy.Spec; {
	case spec.DryRun():
		return "policy " + g.policy.Name + " is in mode DryRun: as if it were Enforce"
	case spec.IdentifiesByName() && g.instanceID == "":
		return "only if EC2 knows its instance by name or address (nodeIdentity)"
	case spec.InstanceTag != "":
		return "only if its instance has the tag " + spec.InstanceTag
	}
	return ""
}

// isOwn reports whether a pod is one of the manager's, in whichever namespace.
func isOwn(pod drain.Pod) bool {
	replica := leader.Replica{Pod: types.NamespacedName{Namespace: pod.Namespace}}
	return replica.IsReplica(pod.Namespace, pod.Labels)
}

// limits returns where a forecast can err.
func limits(s *snapshot, r *request) []string {
	list := []string{
		"pods are assumed to take all of their grace period to shut down, and their replacements " + r.readyAfter.String() + " to be ready (--ready-after)",
		"evictions by others at the same time are not known",
	}
	affinity := false
	for _, n := range r.nodes {
		for _, p := range n.pods {
			affinity = affinity || p.fit.HasAffinity
		}
	}
	if affinity {
		list = append(list, "whether a pod fits elsewhere: affinity, topology spread constraints and preemption are not looked at")
	}
	const soon = 5 * time.Minute
	if r.notice > soon && r.together {
		list = append(list, "spec.drain.budget is not looked at: with so long a notice some of the drains may wait for others")
	}
	return append(list, s.gaps...)
}
