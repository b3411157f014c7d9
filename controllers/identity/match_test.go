// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

var epoch = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

const (
	first  = "i-0abc1234def567890"
	second = "i-0fff1234def567890"
)

// nodeWith returns a Node without a providerID that has been Ready since the epoch, with addresses as type=address.
func nodeWith(name string, addresses ...string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid", CreationTimestamp: metav1.NewTime(epoch)},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{BootID: "boot-1", SystemUUID: "ec2-" + name},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch)}},
		},
	}
	for _, address := range addresses {
		kind, value, _ := strings.Cut(address, "=")
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: value})
	}
	return node
}

// instanceAt returns a running instance of us-east-1 that was launched an hour before the epoch.
func instanceAt(id, address string, tags ...string) awsapi.RunningInstance {
	return awsapi.RunningInstance{
		Instance: awsapi.Instance{Found: true, State: "running", Tags: tags}, ID: id, Zone: "us-east-1a", Addresses: []string{address},
		PrivateDNSName: "ip-" + strings.ReplaceAll(address, ".", "-") + ".ec2.internal", LaunchTime: epoch.Add(-time.Hour),
	}
}

// TestDistributions has Nodes as each distribution makes them on an instance at 10.0.3.7, of us-east-1 and of eu-west-1.
func TestDistributions(t *testing.T) {
	resourceName := instanceAt(first, "10.0.3.7")
	resourceName.PrivateDNSName = first + ".ec2.internal"
	europe := instanceAt(first, "10.0.3.7")
	europe.PrivateDNSName = "ip-10-0-3-7.eu-west-1.compute.internal"
	europeResource := europe
	europeResource.PrivateDNSName = first + ".eu-west-1.compute.internal"
	europeResource.Addresses = []string{"2600:1f13::7"}
	for name, test := range map[string]struct {
		node       *corev1.Node
		providerID string
		instance   awsapi.RunningInstance
		lacks      bool // a providerID, so that EC2 is asked
		names      awsapi.Names
	}{
		"EKS": {
			node:       nodeWith("ip-10-0-3-7.ec2.internal", "InternalIP=10.0.3.7", "ExternalIP=3.80.0.1", "InternalDNS=ip-10-0-3-7.ec2.internal", "Hostname=ip-10-0-3-7.ec2.internal"),
			providerID: "aws:///us-east-1a/" + first, instance: instanceAt(first, "10.0.3.7"),
		},
		"kubeadm without a cloud controller, of Ubuntu": {
			node: nodeWith("ip-10-0-3-7", "InternalIP=10.0.3.7", "Hostname=ip-10-0-3-7"), instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{DNS: []string{"ip-10-0-3-7.*"}, IPv4: []string{"10.0.3.7"}},
		},
		"kubeadm without a cloud controller, of Amazon Linux": {
			node: nodeWith("ip-10-0-3-7.eu-west-1.compute.internal", "InternalIP=10.0.3.7", "Hostname=ip-10-0-3-7.eu-west-1.compute.internal"), instance: europe, lacks: true,
			names: awsapi.Names{DNS: []string{"ip-10-0-3-7.eu-west-1.compute.internal"}, IPv4: []string{"10.0.3.7"}},
		},
		"kubeadm with resource names": {
			node: nodeWith(first+".ec2.internal", "Hostname="+first+".ec2.internal"), instance: resourceName, lacks: true,
			names: awsapi.Names{DNS: []string{first + ".ec2.internal"}},
		},
		"kubeadm with resource names, by IPv6 alone": {
			node: nodeWith(first, "InternalIP=2600:1F13:0::7", "Hostname="+first), instance: europeResource, lacks: true,
			names: awsapi.Names{DNS: []string{first + ".*"}, IPv6: []string{"2600:1f13::7"}},
		},
		"kubeadm with a name of one's own": {
			node: nodeWith("worker-1", "InternalIP=10.0.3.7", "Hostname=worker-1"), instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{DNS: []string{"worker-1.*"}, IPv4: []string{"10.0.3.7"}},
		},
		"k3s": {
			node: nodeWith("ip-10-0-3-7", "InternalIP=10.0.3.7", "Hostname=ip-10-0-3-7"), providerID: "k3s://ip-10-0-3-7", instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{DNS: []string{"ip-10-0-3-7.*"}, IPv4: []string{"10.0.3.7"}},
		},
		"k3s with a mesh's address, found by its name": {
			node:       nodeWith("ip-10-0-3-7-1a2b3c4d", "InternalIP=100.64.0.3", "InternalDNS=ip-10-0-3-7.ec2.internal", "Hostname=ip-10-0-3-7-1a2b3c4d"),
			providerID: "k3s://ip-10-0-3-7-1a2b3c4d", instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{DNS: []string{"ip-10-0-3-7-1a2b3c4d.*", "ip-10-0-3-7.ec2.internal"}, IPv4: []string{"100.64.0.3"}},
		},
		"RKE2": {
			node: nodeWith("ip-10-0-3-7.ec2.internal", "InternalIP=10.0.3.7", "Hostname=ip-10-0-3-7.ec2.internal"), providerID: "rke2://ip-10-0-3-7.ec2.internal", instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{DNS: []string{"ip-10-0-3-7.ec2.internal"}, IPv4: []string{"10.0.3.7"}},
		},
		"a node named by its address, as by Kubespray": {
			node: nodeWith("10.0.3.7", "InternalIP=10.0.3.7", "Hostname=10.0.3.7"), instance: instanceAt(first, "10.0.3.7"), lacks: true,
			names: awsapi.Names{IPv4: []string{"10.0.3.7"}},
		},
	} {
		test.node.Spec.ProviderID = test.providerID
		if lacks := ec2node.LacksProviderID(test.node); lacks != test.lacks {
			t.Errorf("%s: lacks a providerID: %t", name, lacks)
		}
		if id, _ := ec2node.InstanceID(test.node); (id == first) == test.lacks {
			t.Errorf("%s: instance %q by its providerID", name, id)
		}
		if !test.lacks {
			continue
		}
		candidates := []candidate{candidateOf(test.node, "")}
		if diff := cmp.Diff(test.names, namesOf(candidates)); diff != "" {
			t.Errorf("%s, EC2 is asked about (-want +got):\n%s", name, diff)
		}
		others := instanceAt(second, "10.0.3.70")
		if got := match(candidates, []awsapi.RunningInstance{others, test.instance})[test.node.Name]; got.instance == nil || got.instance.ID != first {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestMatch(t *testing.T) {
	candidates := func(nodes ...*corev1.Node) []candidate {
		var all []candidate
		for _, node := range nodes {
			all = append(all, candidateOf(node, node.Annotations["tag"]))
		}
		return all
	}
	changed := func(node *corev1.Node, change func(*corev1.Node)) *corev1.Node {
		change(node)
		return node
	}
	silent := func(since time.Duration) func(*corev1.Node) {
		return func(node *corev1.Node) {
			node.CreationTimestamp = metav1.NewTime(epoch.Add(-48 * time.Hour))
			node.Status.Conditions[0].Status = corev1.ConditionUnknown
			node.Status.Conditions[0].LastTransitionTime = metav1.NewTime(epoch.Add(since))
		}
	}
	tagged := func(tag string) func(*corev1.Node) {
		return func(node *corev1.Node) { node.Annotations = map[string]string{"tag": tag} }
	}
	sameMachine := func(age time.Duration) func(*corev1.Node) {
		return func(node *corev1.Node) {
			node.Status.NodeInfo.SystemUUID = "ec2-same"
			node.CreationTimestamp = metav1.NewTime(epoch.Add(-age))
		}
	}
	a := func() *corev1.Node { return nodeWith("a", "InternalIP=10.0.3.7") }
	b := func() *corev1.Node { return nodeWith("b", "InternalIP=10.0.3.7") }
	for name, test := range map[string]struct {
		candidates []candidate
		running    []awsapi.RunningInstance
		want       map[string]string // the ID, or a part of the reason
	}{
		"one": {candidates(a()), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": first}},
		"each its own": {
			candidates(a(), nodeWith("b", "InternalIP=10.0.3.8")), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt(second, "10.0.3.8")},
			map[string]string{"a": first, "b": second},
		},
		"none":                          {candidates(a()), nil, map[string]string{"a": "no running instance by its names and addresses (a, 10.0.3.7)"}},
		"none with the tag":             {candidates(changed(a(), tagged("k=v"))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7", "k=other")}, map[string]string{"a": "with the tag k=v"}},
		"two, of networks that overlap": {candidates(a()), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt(second, "10.0.3.7")}, map[string]string{"a": "several running instances by its names and addresses: " + first + ", " + second}},
		"two, of which one has the tag": {
			candidates(changed(a(), tagged("k=v"))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt(second, "10.0.3.7", "k=v")},
			map[string]string{"a": second},
		},
		"one by the name, another by the address": {
			candidates(nodeWith("ip-10-0-3-8.ec2.internal", "InternalIP=10.0.3.7")), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt(second, "10.0.3.8")},
			map[string]string{"ip-10-0-3-8.ec2.internal": "several running instances"},
		},
		"the name of another region": {
			candidates(nodeWith("ip-10-0-3-7.eu-west-1.compute.internal")), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")},
			map[string]string{"ip-10-0-3-7.eu-west-1.compute.internal": "no running instance"},
		},
		"in capital letters":             {candidates(nodeWith("x", "Hostname=IP-10-0-3-7.EC2.internal")), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"x": first}},
		"by an external address":         {candidates(nodeWith("x", "ExternalIP=10.0.3.7", "ExternalDNS=ip-10-0-3-7.ec2.internal")), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"x": "no running"}},
		"two nodes":                      {candidates(a(), b()), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": "of several nodes: a, b", "b": "of several nodes: a, b"}},
		"two nodes, one does not answer": {candidates(a(), changed(b(), silent(0))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": first, "b": "has registered as node a"}},
		"one that does not answer":       {candidates(changed(a(), silent(0))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": first}},
		"what an instance before left":   {candidates(changed(a(), silent(-time.Hour-time.Minute))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": "no running"}},
		"the same, launched at once":     {candidates(changed(a(), silent(-time.Hour+40*time.Second))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": "no running"}},
		"both nodes do not answer":       {candidates(changed(a(), silent(0)), changed(b(), silent(0))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": "several nodes", "b": "several nodes"}},
		"a machine that registered anew": {candidates(changed(a(), sameMachine(time.Hour)), changed(b(), sameMachine(0))), []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}, map[string]string{"a": "has registered as node b", "b": first}},
		"a node of two instances and another": {
			candidates(nodeWith("a", "InternalIP=10.0.3.7", "InternalIP=10.0.3.8"), nodeWith("b", "InternalIP=10.0.3.8")),
			[]awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt(second, "10.0.3.8")},
			map[string]string{"a": "several running instances", "b": "several nodes"},
		},
	} {
		got := match(test.candidates, test.running)
		for node, want := range test.want {
			switch is := got[node]; {
			case strings.HasPrefix(want, "i-"):
				if is.instance == nil || is.instance.ID != want || is.why != "" {
					t.Errorf("%s: node %s: %+v, want %s", name, node, is, want)
				}
			case is.instance != nil || !strings.Contains(is.why, want):
				t.Errorf("%s: node %s: %+v, want %q", name, node, is, want)
			}
		}
		ids := idsOf(got)
		slices.Reverse(test.candidates)
		slices.Reverse(test.running)
		if diff := cmp.Diff(ids, idsOf(match(test.candidates, test.running))); diff != "" {
			t.Errorf("%s, in another order (-want +got):\n%s", name, diff)
		}
	}
}

// idsOf returns the instances' IDs by the nodes' names, empty where none is known.
func idsOf(answers map[string]answer) map[string]string {
	ids := map[string]string{}
	for node, answer := range answers {
		ids[node] = ""
		if answer.instance != nil {
			ids[node] = answer.instance.ID
		}
	}
	return ids
}

// TestNamesAreLiteral: a kubelet writes its addresses, and EC2's filters take * for every name.
func TestNamesAreLiteral(t *testing.T) {
	c := candidateOf(nodeWith("a", "Hostname=*", "InternalDNS=ip-10-0-3-?.ec2.internal", "InternalIP=10.0.*.7", "Hostname=", "InternalIP=fe80::7%eth0", "InternalIP=::ffff:10.0.3.7", `Hostname=a\b`), "")
	want := awsapi.Names{DNS: []string{"a.*"}, IPv4: []string{"10.0.3.7"}, IPv6: []string{"fe80::7"}}
	if diff := cmp.Diff(want, namesOf([]candidate{c, c})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
