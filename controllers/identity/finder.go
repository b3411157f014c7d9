// SPDX-License-Identifier: Apache-2.0

// Package identity finds the EC2 instance of a Node, and the Node of an instance: by the Node's providerID,
// and for policies with nodeIdentity PrivateDNSName also without one, as on clusters of kubeadm, k3s and RKE2
// that run without AWS's cloud controller.
//
// Private names and addresses are used again, and a kubelet takes over the Node object with its name. So EC2 is
// believed about instances that run only, and what it said of a Node counts for as long as the Node reports the same
// boot of the same machine: match.go decides, refresh.go asks. Nothing is written anywhere.
//
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// AWS asks EC2 about instances: an *awsapi.Client.
type AWS interface {
	RunningInstances(ctx context.Context, region string, names awsapi.Names) ([]awsapi.RunningInstance, error)
}

// Options of a Finder. All are required; of Log the zero value discards.
type Options struct {
	// Cache has the policies, and the nodes indexed by ec2node.InstanceIDIndex.
	Cache client.Reader
	// Informers are those of nodes and policies.
	Informers cache.Informers
	// AWS asks EC2.
	AWS AWS
	// Notify is called when a Node of an instance was found, or does not run on it any more. It must not block.
	Notify func(instanceID string)
	// Log gets a line for each Node whose instance is found, and for each of which it cannot be.
	Log logr.Logger
	// Clock decides when to ask again.
	Clock clock.Clock
}

// Finder finds the instances of Nodes and the Nodes of instances. Its methods may be called from any goroutine. A nil
// Finder knows those with a providerID only.
type Finder struct {
	Options
	wake    chan struct{} // holds an element while there is something to do
	changed chan crevent.GenericEvent

	mu sync.Mutex
	// looked: policies and nodes were looked at; dirty: they have changed since; wanted: a policy has
	// nodeIdentity PrivateDNSName.
	looked, dirty, wanted bool
	// known is what is known of the nodes without a providerID that such a policy governs, by their names.
	known map[string]*known
	// nodes are the names of the nodes of instances that are known.
	nodes map[string]string
}

// known is what is known of a Node without a providerID.
type known struct {
	// machine is what it is known of: another one, or another boot, is another matter.
	machine machine
	// instanceID is empty if it is not known; why says why, once EC2 has answered. zone may be empty.
	instanceID, zone, why string
	// matched: EC2 says that it is this instance. False: its watcher does, or nobody.
	matched bool
	// answered: EC2 has answered about this machine; err is why it last did not.
	answered bool
	err      error
	// retry is when EC2 is asked again that does not know the instance, or has not answered.
	retry   time.Time
	backoff wait.Backoff
}

// machine is one boot of a machine. Who reports neither is known by its Node object.
type machine struct {
	systemUUID, bootID string
	uid                types.UID
}

// machineOf returns what a Node says of its machine.
func machineOf(node *corev1.Node) machine {
	m := machine{systemUUID: node.Status.NodeInfo.SystemUUID, bootID: node.Status.NodeInfo.BootID}
	if m.bootID == "" {
		m.uid = node.UID
	}
	return m
}

// New returns a Finder, which asks nobody before its Start.
func New(opts Options) *Finder {
	return &Finder{
		Options: opts,
		wake:    make(chan struct{}, 1), changed: make(chan crevent.GenericEvent, 1),
		known: map[string]*known{}, nodes: map[string]string{},
	}
}

// Changed receives when something else has come to be known of some nodes, for source.Channel. It holds one
// event at most, which has no object.
func (f *Finder) Changed() <-chan crevent.GenericEvent { return f.changed }

// InstanceID returns the ID of the EC2 instance that a node runs on. It returns false for nodes that are
// not this operator's, and while it is not known.
func (f *Finder) InstanceID(node *corev1.Node) (string, bool) {
	if id, ok := ec2node.InstanceID(node); ok {
		return id, true
	}
	id := f.of(node).instanceID
	return id, id != ""
}

// Zone returns the availability zone of a node, empty if it is not known.
func (f *Finder) Zone(node *corev1.Node) string {
	if zone := ec2node.Zone(node); zone != "" {
		return zone
	}
	return f.of(node).zone
}

// of returns what is known of a Node without a providerID, the zero value if nothing is.
func (f *Finder) of(node *corev1.Node) known {
	if f == nil || !ec2node.LacksProviderID(node) {
		return known{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.known[node.Name]; k != nil && k.machine == machineOf(node) {
		return *k
	}
	return known{}
}

// ByInstance returns the Node of an instance as the cache has it, nil if none is known. One whose providerID
// names the instance comes first.
func (f *Finder) ByInstance(ctx context.Context, cache client.Reader, instanceID string) (*corev1.Node, error) {
	node, err := ec2node.ByInstance(ctx, cache, instanceID)
	if err != nil || node != nil || f == nil {
		return node, err
	}
	f.mu.Lock()
	name, found := f.nodes[instanceID]
	f.mu.Unlock()
	if !found {
		return nil, nil
	}
	node = &corev1.Node{}
	if err := cache.Get(ctx, types.NamespacedName{Name: name}, node); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if id, _ := f.InstanceID(node); id != instanceID {
		return nil, nil
	}
	return node, nil
}

// errNotAsked is that nodes have changed about which EC2 was not asked yet.
var errNotAsked = errors.New("EC2 is asked which instances the nodes without a providerID run on")

// Pending returns why an instance may be that of a Node without its being known: EC2 has not
// answered about each. It returns nil if EC2 has, or no policy asks for it.
func (f *Finder) Pending() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pending := !f.looked || f.wanted && f.dirty
	for name, k := range f.known {
		if k.answered || k.instanceID != "" {
			continue
		}
		if k.err != nil { // which says more
			return notAnswered(name, k.err)
		}
		pending = true
	}
	if pending {
		return errNotAsked
	}
	return nil
}

// Unidentified returns why the instance of a Node without a providerID is not known that a policy with nodeIdentity
// PrivateDNSName governs; empty if it is, or there is none such. pending: EC2 has not answered yet, so that nothing
// may be concluded.
func (f *Finder) Unidentified(node *corev1.Node) (why string, pending bool) {
	if f == nil || !ec2node.LacksProviderID(node) {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.known[node.Name]
	switch {
	case k == nil && f.looked && (!f.wanted || !f.dirty):
		return "", false
	case k == nil, k.machine != machineOf(node):
		return errNotAsked.Error(), true
	case k.instanceID != "":
		return "", false
	case !k.answered:
		return notAnswered(node.Name, k.err).Error(), true
	}
	return k.why, false
}

// notAnswered returns the error that EC2 has not answered about a node, and why.
func notAnswered(node string, err error) error {
	if err == nil {
		return errNotAsked
	}
	return fmt.Errorf("EC2 has not said which instance node %s runs on: %w", node, err)
}

// Claim takes note that the instance of a Node is known from elsewhere: from its watcher, which has read it in the
// metadata, or from what was written down before. It is not accepted of a Node that no policy with nodeIdentity
// PrivateDNSName governs, or of which more will be known soon; it is refuted if the Node or the
// instance is known to be another one's.
func (f *Finder) Claim(node *corev1.Node, instanceID string) (accepted, refuted bool) {
	if f == nil || !ec2node.LacksProviderID(node) {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.known[node.Name]
	if k == nil || k.machine != machineOf(node) {
		return false, false
	}
	other, taken := f.nodes[instanceID]
	if taken && other != node.Name || k.instanceID != "" && k.instanceID != instanceID {
		return false, true
	}
	k.instanceID = instanceID
	f.nodes[instanceID] = node.Name
	return true, false
}
