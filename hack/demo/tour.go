// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

// stop is one of a tour: commands about one thing.
type stop struct {
	about    string
	commands []string
}

// guide prints a tour of what still runs: commands to be pasted, in this order, into another terminal.
func (s *story) guide() {
	s.heading("Everything stays up until Ctrl-C. A small tour, for another terminal:")
	s.printf("  export KUBECONFIG=%s\n", s.kubeconfig)
	for _, dir := range []string{filepath.Join(s.root, "bin"), filepath.Dir(s.kubectlPath)} {
		s.printf("  export PATH=%s:$PATH\n", dir)
	}
	for _, stop := range s.tour() {
		s.printf("\n")
		for _, line := range wrap(stop.about, width-4) {
			s.printf("  %s\n", s.in(faint, "# "+line))
		}
		for _, command := range stop.commands {
			s.printf("  %s\n", strings.ReplaceAll(command, "\n", "\n  "))
		}
	}
}

// tour returns the stops of the tour.
func (s *story) tour() []stop {
	most, database := s.hosts()
	mostID, _ := ec2node.InstanceID(most)
	databaseID, _ := ec2node.InstanceID(database)
	return []stop{
		{"Every termination in a sentence, and all that is known of one. The policy, and whether its sources are up.", []string{
			"kubectl get nt -o wide", "kubectl describe nt " + s.instance, "kubectl describe ntp",
		}},
		{"A dry run: what would a drain of this node do? Nothing is done.", []string{
			mode("DryRun"), drain(most, "rehearsal"), wait(mostID, "create"), message(mostID), stopDrain(most), mode("Enforce"),
		}},
		{"A game day: drain a node by an annotation, look, and take it back.", []string{
			drain(most, "game-day"), wait(mostID, "condition=Drained"), message(mostID),
			"kubectl get pods -n " + namespace + " -o wide", stopDrain(most),
		}},
		{"A blocked pod: its budget allows no eviction. Then it does.", []string{
			budget(0), drain(database, "blocked-pod"), wait(databaseID, "create"), wait(databaseID, "jsonpath='{.status.blocked}'"), message(databaseID),
			budget(1), wait(databaseID, "condition=Drained"), message(databaseID), stopDrain(database),
		}},
		{"The numbers of the dashboard that are not zero, as Prometheus would read them.", []string{
			shell("kubectl create clusterrolebinding reader", "--serviceaccount default:default", "--clusterrole node-termination-metrics-reader"),
			shell("kubectl get --raw /metrics", "--server https://"+s.metrics, "--insecure-skip-tls-verify",
				"--token $(kubectl create token default)", `| grep ^node_termination_ | grep -v 'bucket\| 0$'`),
		}},
		{"More events of AWS: a spot interruption, a rebalance recommendation, a maintenance in two hours. awssim help lists every other.", []string{
			s.sendCommand(awssim.SpotInterruption, databaseID),
			s.sendCommand(awssim.RebalanceRecommendation, mostID),
			s.sendCommand(awssim.Health, mostID),
		}},
		{"Cancel a termination: what was done to its node is undone.", []string{"kubectl delete nt " + s.instance}},
		{"What the operator and the watcher have logged.", []string{"tail -n 20 " + s.manager.Log(), "tail -n 20 " + s.watcher.Log()}},
	}
}

// hosts returns, of the nodes that were not interrupted, the one with the most databases and of the others
// the one with the most pods.
func (s *story) hosts() (most, database *corev1.Node) {
	var nodes []*corev1.Node
	for i := range s.nodes {
		if s.nodes[i].Name != s.node.Name && !s.nodes[i].Spec.Unschedulable {
			nodes = append(nodes, &s.nodes[i])
		}
	}
	database = slices.MaxFunc(nodes, func(a, b *corev1.Node) int { return s.running(a.Name)["db"] - s.running(b.Name)["db"] })
	pods := map[string]int{}
	for _, pod := range s.pods {
		pods[pod.Spec.NodeName]++
	}
	pods[database.Name] = 0
	most = slices.MaxFunc(nodes, func(a, b *corev1.Node) int { return pods[a.Name] - pods[b.Name] })
	return most, database
}

// mode returns the command that changes the mode of the policy.
func mode(mode string) string {
	return shell("kubectl patch ntp", policyName, "--type=merge", `-p '{"spec":{"mode":"`+mode+`"}}'`)
}

// budget returns the command that changes how many databases may be away.
func budget(maxUnavailable int) string {
	return shell("kubectl patch pdb db -n", namespace, "--type=merge", fmt.Sprintf(`-p '{"spec":{"maxUnavailable":%d}}'`, maxUnavailable))
}

// drain returns the command that has a node drained.
func drain(node *corev1.Node, why string) string {
	return shell("kubectl annotate node", node.Name, "nodetermination.dev/drain="+why)
}

// stopDrain returns the command that takes that back.
func stopDrain(node *corev1.Node) string {
	return shell("kubectl annotate node", node.Name, "nodetermination.dev/drain-")
}

// wait returns the command that waits for something about a termination.
func wait(instance, something string) string {
	return shell("kubectl wait --timeout=60s", "--for="+something, "nt/"+instance)
}

// message returns the command that prints a termination's state in a sentence.
func message(instance string) string {
	return shell("kubectl get nt", instance, `-o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'`)
}
