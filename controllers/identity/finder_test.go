// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// fakeEC2 has running instances, or an error.
type fakeEC2 struct {
	running []awsapi.RunningInstance
	err     error
	asked   []awsapi.Names
}

func (e *fakeEC2) RunningInstances(_ context.Context, _ string, names awsapi.Names) ([]awsapi.RunningInstance, error) {
	e.asked = append(e.asked, names)
	return e.running, e.err
}

// fixture is a Finder, the cluster that it reads and the EC2 that it asks.
type fixture struct {
	*Finder
	t        *testing.T
	kube     client.Client
	ec2      *fakeEC2
	clock    *clocktesting.FakeClock
	notified []string
}

// newFixture returns a fixture with a policy with nodeIdentity PrivateDNSName, for all nodes.
func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{t: t, ec2: &fakeEC2{}, clock: clocktesting.NewFakeClock(epoch)}
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
	policy.Spec.NodeIdentity = v1alpha1.NodeIdentityPrivateDNSName
	f.kube = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&corev1.Node{}).
		WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).
		WithObjects(append(objects, policy)...).Build()
	f.Finder = New(Options{
		Cache: f.kube, AWS: f.ec2, Log: logr.Discard(), Clock: f.clock, Notify: func(id string) { f.notified = append(f.notified, id) },
	})
	return f
}

// node returns a Node as it is now.
func (f *fixture) node(name string) *corev1.Node {
	f.t.Helper()
	node := &corev1.Node{}
	if err := f.kube.Get(f.t.Context(), client.ObjectKey{Name: name}, node); err != nil {
		f.t.Fatal(err)
	}
	return node
}

// boot has a Node report another boot, and another machine unless that is empty.
func (f *fixture) boot(name, bootID, systemUUID string) {
	f.t.Helper()
	node := f.node(name)
	old := node.DeepCopy()
	node.Status.NodeInfo.BootID = bootID
	if systemUUID != "" {
		node.Status.NodeInfo.SystemUUID = systemUUID
	}
	if err := f.kube.Status().Update(f.t.Context(), node); err != nil {
		f.t.Fatal(err)
	}
	f.objectChanged(old, f.node(name))
}

// look has the Finder look once, and checks of which instance a node is and of which node an instance.
func (f *fixture) look(when, name, want string) {
	f.t.Helper()
	f.refresh(f.t.Context())
	f.check(when, name, want)
}

func (f *fixture) check(when, name, want string) {
	f.t.Helper()
	if id, ok := f.InstanceID(f.node(name)); id != want || ok != (want != "") {
		f.t.Errorf("%s: node %s runs on %q, want %q", when, name, id, want)
	}
	for _, id := range []string{first, second} {
		node, err := f.ByInstance(f.t.Context(), f.kube, id)
		if err != nil {
			f.t.Fatal(err)
		}
		if (node != nil && node.Name == name) != (id == want) {
			f.t.Errorf("%s: instance %s has node %v", when, id, node)
		}
	}
}

// TestReuse has another instance take over a Node with its name and address.
func TestReuse(t *testing.T) {
	f := newFixture(t, nodeWith("ip-10-0-3-7", "InternalIP=10.0.3.7"))
	if f.Pending() == nil {
		t.Error("before the first look all is known")
	}
	f.ec2.running = []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}
	f.look("at first", "ip-10-0-3-7", first)
	if err := f.Pending(); err != nil {
		t.Error(err)
	}
	if zone := f.Zone(f.node("ip-10-0-3-7")); zone != "us-east-1a" {
		t.Errorf("zone %q", zone)
	}
	f.ec2.running = nil // it is terminated
	f.look("while it is terminated", "ip-10-0-3-7", first)
	f.ec2.running = []awsapi.RunningInstance{instanceAt(second, "10.0.3.7")}
	f.look("before the new kubelet reports", "ip-10-0-3-7", first)
	if asked := len(f.ec2.asked); asked != 1 {
		t.Errorf("EC2 was asked %d times, want once", asked)
	}
	f.notified = nil
	f.boot("ip-10-0-3-7", "boot-2", "ec2-2")
	f.check("when the new kubelet reports", "ip-10-0-3-7", "")
	if len(f.notified) != 1 || f.notified[0] != first || f.Pending() == nil {
		t.Errorf("notified of %v, pending: %v", f.notified, f.Pending())
	}
	if why, pending := f.Unidentified(f.node("ip-10-0-3-7")); why == "" || !pending {
		t.Errorf("%q, pending: %t", why, pending)
	}
	f.look("when EC2 has answered", "ip-10-0-3-7", second)
	if err := f.Pending(); err != nil {
		t.Error(err)
	}
}

// TestReboot: EC2 is asked anew, and answers the same.
func TestReboot(t *testing.T) {
	f := newFixture(t, nodeWith("a", "InternalIP=10.0.3.7"))
	f.ec2.running = []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}
	f.look("at first", "a", first)
	f.boot("a", "boot-2", "")
	f.ec2.err = errors.New("EC2 is away")
	f.look("while EC2 does not answer", "a", "")
	if err := f.Pending(); err == nil || !strings.Contains(err.Error(), "EC2 is away") {
		t.Errorf("pending: %v", err)
	}
	if why, pending := f.Unidentified(f.node("a")); !pending || !strings.Contains(why, "EC2 is away") {
		t.Errorf("%q, pending: %t", why, pending)
	}
	f.ec2.err = nil
	f.look("at once", "a", "")
	f.clock.Step(time.Second)
	f.look("after a second", "a", first)
}

// TestAskedAgain: an instance that EC2 does not know yet is asked for again, ever more seldom.
func TestAskedAgain(t *testing.T) {
	f := newFixture(t, nodeWith("a", "InternalIP=10.0.3.7"))
	f.look("at first", "a", "")
	if why, pending := f.Unidentified(f.node("a")); pending || !strings.Contains(why, "no running instance") {
		t.Errorf("%q, pending: %t", why, pending)
	}
	if err := f.Pending(); err != nil {
		t.Errorf("pending though EC2 has answered: %v", err)
	}
	var waited time.Duration
	for range 10 {
		retry := f.refresh(t.Context())
		waited = retry.Sub(f.clock.Now())
		f.clock.SetTime(retry)
	}
	if asked := len(f.ec2.asked); asked != 10 || waited != time.Minute {
		t.Errorf("asked %d times, and last waits %s", asked, waited)
	}
	f.ec2.running = []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}
	f.look("once EC2 knows it", "a", first)
	if retry := f.refresh(t.Context()); !retry.IsZero() || len(f.ec2.asked) != 11 {
		t.Errorf("asked %d times, again at %s", len(f.ec2.asked), retry)
	}
}

// TestAnotherNodeWithItsAddress: exactly one node of an instance, or none.
func TestAnotherNodeWithItsAddress(t *testing.T) {
	f := newFixture(t, nodeWith("a", "InternalIP=10.0.3.7"))
	f.ec2.running = []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}
	f.look("alone", "a", first)
	if err := f.kube.Create(t.Context(), nodeWith("b", "InternalIP=10.0.3.7")); err != nil {
		t.Fatal(err)
	}
	f.look("with another", "a", "")
	f.check("the other", "b", "")
	if why, _ := f.Unidentified(f.node("a")); !strings.Contains(why, "several nodes: a, b") {
		t.Errorf("why: %q", why)
	}
	if err := f.kube.Delete(t.Context(), f.node("b")); err != nil {
		t.Fatal(err)
	}
	f.clock.Step(time.Minute)
	f.look("alone again", "a", first)
}

// TestPolicies: EC2 is asked only about the nodes of policies that want it.
func TestPolicies(t *testing.T) {
	ours, others := nodeWith("a", "InternalIP=10.0.3.7"), nodeWith("b", "InternalIP=10.0.3.8")
	others.Labels = map[string]string{"pool": "others"}
	named := nodeWith("c", "InternalIP=10.0.3.9")
	named.Spec.ProviderID = "aws:///us-east-1a/" + second
	byProviderID := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "others"}}
	byProviderID.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": "others"}}
	byProviderID.Spec.Priority = new(int32(1))
	f := newFixture(t, ours, others, named, byProviderID)
	f.ec2.running = []awsapi.RunningInstance{instanceAt(first, "10.0.3.7"), instanceAt("i-00000000", "10.0.3.8")}
	f.refresh(t.Context())
	if id, _ := f.InstanceID(f.node("a")); id != first {
		t.Errorf("its node runs on %q", id)
	}
	if id, _ := f.InstanceID(f.node("b")); id != "" {
		t.Errorf("the other policy's node runs on %q", id)
	}
	if why, pending := f.Unidentified(f.node("b")); why != "" || pending {
		t.Errorf("the other policy's node: %q, %t", why, pending)
	}
	if node, err := f.ByInstance(t.Context(), f.kube, second); err != nil || node == nil || node.Name != "c" {
		t.Errorf("by its providerID: %v, %v", node, err)
	}
	if got := strings.Join(f.ec2.asked[0].IPv4, " "); got != "10.0.3.7" {
		t.Errorf("EC2 was asked about %s", got)
	}
	all := &v1alpha1.NodeTerminationPolicy{}
	if err := f.kube.Get(t.Context(), client.ObjectKey{Name: "all"}, all); err != nil {
		t.Fatal(err)
	}
	all.Spec.NodeIdentity = ""
	if err := f.kube.Update(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	f.objectChanged(nil, all)
	f.refresh(t.Context())
	if id, _ := f.InstanceID(f.node("a")); id != "" || f.Pending() != nil {
		t.Errorf("without such a policy the node runs on %q, pending: %v", id, f.Pending())
	}
}

// TestClaims: a watcher's word is enough, unless EC2 says otherwise or another watcher has said so before.
func TestClaims(t *testing.T) {
	const third = "i-00000000000000003"
	f := newFixture(t, nodeWith("a", "InternalIP=10.0.3.7"), nodeWith("b", "InternalIP=10.0.3.8"))
	claim := func(node, id string) string {
		switch accepted, refuted := f.Claim(f.node(node), id); {
		case accepted:
			return "accepted"
		case refuted:
			return "refuted"
		}
		return "open"
	}
	expect := func(when, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	expect("before the node was looked at", claim("a", first), "open")
	f.ec2.err = errors.New("EC2 is away")
	f.refresh(t.Context())
	expect("while EC2 is away", claim("a", first), "accepted")
	f.check("by its watcher", "a", first)
	expect("once more", claim("a", first), "accepted")
	expect("another instance of the node", claim("a", second), "refuted")
	expect("another node of the instance", claim("b", first), "refuted")
	f.ec2.err = nil
	f.clock.Step(time.Minute)
	f.look("when EC2 knows no instance", "a", first)
	f.ec2.running = []awsapi.RunningInstance{instanceAt(second, "10.0.3.8")}
	f.clock.Step(time.Minute)
	f.look("when EC2 has named the other node's", "b", second)
	expect("what EC2 denies", claim("b", third), "refuted")
	f.boot("a", "boot-2", "")
	expect("of another boot that was not looked at", claim("a", first), "open")
	var none *Finder
	if accepted, refuted := none.Claim(f.node("a"), first); accepted || refuted {
		t.Error("a nil Finder has an opinion")
	}
}

// TestStolenClaim: what EC2 says later replaces what a watcher has said.
func TestStolenClaim(t *testing.T) {
	f := newFixture(t, nodeWith("a", "InternalIP=10.0.3.7"))
	f.ec2.err = errors.New("EC2 is away")
	f.refresh(t.Context())
	f.Claim(f.node("a"), second)
	f.ec2.err, f.ec2.running = nil, []awsapi.RunningInstance{instanceAt(first, "10.0.3.7")}
	f.clock.Step(time.Minute)
	f.notified = nil
	f.look("when EC2 answers", "a", first)
	if got := strings.Join(f.notified, " "); got != second+" "+first {
		t.Errorf("notified of %s", got)
	}
}

// TestNil: without a Finder nodes are found by their providerID.
func TestNil(t *testing.T) {
	node := nodeWith("a")
	node.Spec.ProviderID = "aws:///us-east-1a/" + first
	kube := newFixture(t, node).kube
	var f *Finder
	if id, ok := f.InstanceID(node); id != first || !ok || f.Zone(node) != "us-east-1a" {
		t.Errorf("instance %q", id)
	}
	if got, err := f.ByInstance(t.Context(), kube, first); err != nil || got == nil || got.Name != "a" {
		t.Errorf("%v, %v", got, err)
	}
	if _, ok := f.InstanceID(nodeWith("b")); ok || f.Pending() != nil {
		t.Error("a node without a providerID is known, or pending")
	}
}
