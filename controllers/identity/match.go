// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// launchTolerance is how long after the last word of a kubelet its node is said not to answer, at most.
const launchTolerance = 5 * time.Minute

// candidate is a Node without a providerID, and by what EC2 may know its instance.
type candidate struct {
	node *corev1.Node
	// names are DNS names in small letters, addresses are IP addresses as netip writes them.
	names, addresses []string
	// tag is the instanceTag of the policy that governs the node; empty for none.
	tag string
}

// candidateOf returns a Node with its name and its InternalDNS, Hostname and InternalIP addresses. Some name
// nodes by their address. What is neither a DNS name nor an address is left out, as a kubelet can write anything
// there, and EC2 takes * for every name.
func candidateOf(node *corev1.Node, tag string) candidate {
	c := candidate{node: node, tag: tag}
	c.add(node.Name)
	for _, address := range node.Status.Addresses {
		switch address.Type {
		case corev1.NodeInternalDNS, corev1.NodeHostName, corev1.NodeInternalIP:
			c.add(address.Address)
		}
	}
	return c
}

// add adds a name or an address.
func (c *candidate) add(text string) {
	if address, err := netip.ParseAddr(text); err == nil {
		if text = address.Unmap().WithZone("").String(); !slices.Contains(c.addresses, text) {
			c.addresses = append(c.addresses, text)
		}
		return
	}
	text = strings.ToLower(text)
	if len(validation.IsDNS1123Subdomain(text)) == 0 && !slices.Contains(c.names, text) {
		c.names = append(c.names, text)
	}
}

// namesOf returns what to ask EC2 about.
func namesOf(candidates []candidate) awsapi.Names {
	var names awsapi.Names
	for _, c := range candidates {
		for _, name := range c.names {
			if !strings.Contains(name, ".") {
				name += ".*"
			}
			names.DNS = append(names.DNS, name)
		}
		for _, address := range c.addresses {
			if strings.Contains(address, ":") {
				names.IPv6 = append(names.IPv6, address)
			} else {
				names.IPv4 = append(names.IPv4, address)
			}
		}
	}
	for _, list := range []*[]string{&names.DNS, &names.IPv4, &names.IPv6} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return names
}

// runsOn reports whether EC2 knows the running instance by a name or address of the Node. A name without
// a domain is that of a host whatever its domain.
func (c *candidate) runsOn(instance *awsapi.RunningInstance) bool {
	if c.tag != "" && !instance.HasTag(c.tag) || c.isOlder(instance.LaunchTime) {
		return false
	}
	dns := strings.ToLower(instance.PrivateDNSName)
	host, _, _ := strings.Cut(dns, ".")
	named := dns != "" && slices.ContainsFunc(c.names, func(name string) bool { return name == dns || name == host })
	return named || slices.ContainsFunc(instance.Addresses, func(address string) bool { return slices.Contains(c.addresses, address) })
}

// isOlder reports whether the last that the Node's kubelet said may be from before the instance was launched: it is
// what an instance has left behind whose name or address was used again.
func (c *candidate) isOlder(launched time.Time) bool {
	since, unknown := ec2node.UnknownSince(c.node)
	return unknown && c.node.CreationTimestamp.Time.Before(launched) && since.Before(launched.Add(launchTolerance))
}

// answer is what EC2's answer means for a Node: its instance, or why none is known.
type answer struct {
	instance *awsapi.RunningInstance
	why      string
}

// match returns what EC2's answer means for each Node, by its name: the instance that EC2 knows by a name or
// address of the Node, if it is exactly one, and the Node exactly one for it.
func match(candidates []candidate, running []awsapi.RunningInstance) map[string]answer {
	instances := map[string][]*awsapi.RunningInstance{} // by a Node's name
	nodes := map[string][]*corev1.Node{}                // by an instance's ID
	for i := range candidates {
		c := &candidates[i]
		for j := range running {
			if instance := &running[j]; c.runsOn(instance) {
				instances[c.node.Name] = append(instances[c.node.Name], instance)
				nodes[instance.ID] = append(nodes[instance.ID], c.node)
			}
		}
	}
	answers := map[string]answer{}
	for i := range candidates {
		node := candidates[i].node
		answers[node.Name] = answerFor(&candidates[i], instances[node.Name], nodes)
	}
	return answers
}

// answerFor returns what is known of a Node that matches these instances, each of which matches some nodes.
func answerFor(c *candidate, instances []*awsapi.RunningInstance, nodes map[string][]*corev1.Node) answer {
	switch len(instances) {
	case 0:
		with := ""
		if c.tag != "" {
			with = " with the tag " + c.tag
		}
		return answer{why: fmt.Sprintf("EC2 knows no running instance%s by its names and addresses (%s)",
			with, strings.Join(slices.Concat(c.names, c.addresses), ", "))}
	case 1:
	default:
		return answer{why: fmt.Sprintf("EC2 knows several running instances by its names and addresses: %s, which instanceTag may tell apart",
			strings.Join(mapped(instances, func(i *awsapi.RunningInstance) string { return i.ID }), ", "))}
	}
	only := instances[0]
	switch winner := latest(nodes[only.ID]); {
	case winner == nil:
		return answer{why: fmt.Sprintf("EC2 knows instance %s by the names and addresses of several nodes: %s",
			only.ID, strings.Join(mapped(nodes[only.ID], func(n *corev1.Node) string { return n.Name }), ", "))}
	case winner != c.node:
		return answer{why: fmt.Sprintf("its instance %s has registered as node %s", only.ID, winner.Name)}
	}
	return answer{instance: only}
}

// latest returns the one of several Nodes with the name or address of an instance that runs on it: the only one
// whose kubelet reports, or of those of one machine, which has registered anew, the newest. Nil: nobody can tell.
func latest(nodes []*corev1.Node) *corev1.Node {
	if len(nodes) > 1 {
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(node *corev1.Node) bool {
			_, unknown := ec2node.UnknownSince(node)
			return unknown
		})
	}
	if len(nodes) == 0 {
		return nil
	}
	newest := nodes[0]
	for _, node := range nodes[1:] {
		if uuid := node.Status.NodeInfo.SystemUUID; uuid == "" || uuid != newest.Status.NodeInfo.SystemUUID {
			return nil
		}
		if ec2node.IsNewer(node, newest) {
			newest = node
		}
	}
	return newest
}

// mapped returns what f makes of each, at most the first five.
func mapped[T any](all []T, f func(T) string) []string {
	var texts []string
	for _, one := range all[:min(len(all), 5)] {
		texts = append(texts, f(one))
	}
	return texts
}
