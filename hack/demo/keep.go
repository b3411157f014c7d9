// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

// invite prints what to inspect and what to send next.
func (s *story) invite() {
	s.heading("Everything stays up until Ctrl-C. In another terminal:")
	s.printf("  export KUBECONFIG=%s\n", s.kubeconfig)
	s.printf("  export PATH=%s:%s:$PATH\n", filepath.Dir(s.kubectlPath), filepath.Join(s.root, "bin"))
	next := s.others()
	for _, c := range []struct{ about, command string }{
		{"the state of every termination, in a sentence", "kubectl get nt -o wide --watch"},
		{"everything about this one", "kubectl describe nt " + s.instance},
		{"the policy, and whether its queue is up", "kubectl describe ntp"},
		{"what runs where", "kubectl get pods -n " + namespace + " -o wide"},
		{"what the operator and the watcher do", "tail -f " + s.manager.Log() + " " + s.watcher.Log()},
		{"another spot interruption: cordon and drain", s.sendCommand(awssim.SpotInterruption, next[0])},
		{"a rebalance recommendation: cordon, as the policy says", s.sendCommand(awssim.RebalanceRecommendation, next[1])},
		{"a maintenance in two hours: less than a day, so drain", s.sendCommand(awssim.Health, next[2])},
		{"every other kind of message, and what else awssim does", "awssim help"},
		{"cancel one: what was done to the node is undone", "kubectl delete nt " + s.instance},
	} {
		s.printf("\n  %s\n  %s\n", s.in(faint, "# "+c.about), strings.ReplaceAll(c.command, "\n", "\n  "))
	}
}

// others returns the instances that were not interrupted, those with the most pods first.
func (s *story) others() []string {
	var nodes []*corev1.Node
	for i := range s.nodes {
		if s.nodes[i].Name != s.node.Name && !s.nodes[i].Spec.Unschedulable {
			nodes = append(nodes, &s.nodes[i])
		}
	}
	pods := map[string]int{}
	for _, pod := range s.pods {
		pods[pod.Spec.NodeName]++
	}
	slices.SortStableFunc(nodes, func(a, b *corev1.Node) int { return pods[b.Name] - pods[a.Name] })
	var instances []string
	for _, node := range nodes {
		id, _ := ec2node.InstanceID(node)
		instances = append(instances, id)
	}
	return instances
}
