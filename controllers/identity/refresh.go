// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// gatherFor is how long nodes are gathered for one question.
const gatherFor = 100 * time.Millisecond

// askBackoff is when EC2 is asked again that has not answered, or knows no instance: after a second, twice as
// long every time, up to a minute.
var askBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Steps: math.MaxInt32, Cap: time.Minute}

// NeedLeaderElection tells the manager that each replica asks: one that takes over has to know already of which
// node an instance is that does not run any more.
func (f *Finder) NeedLeaderElection() bool { return false }

// Start follows nodes and policies and asks EC2 until ctx ends. Its error is why they cannot be followed.
func (f *Finder) Start(ctx context.Context) error {
	unwatchNodes, err := f.watch(ctx, &corev1.Node{})
	if err != nil {
		return err
	}
	defer unwatchNodes()
	unwatchPolicies, err := f.watch(ctx, &v1alpha1.NodeTerminationPolicy{})
	if err != nil {
		return err
	}
	defer unwatchPolicies()
	for f.touch(); ; {
		retry := f.refresh(ctx)
		timer := f.Clock.NewTimer(gatherFor) // also between two questions, whatever changes
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		if !f.await(ctx, retry) {
			return nil
		}
	}
}

// await waits until something has changed, or a time that may be zero; false once ctx has ended.
func (f *Finder) await(ctx context.Context, retry time.Time) bool {
	var due <-chan time.Time
	if !retry.IsZero() {
		timer := f.Clock.NewTimer(retry.Sub(f.Clock.Now()))
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-f.wake:
	case <-due:
	}
	return true
}

// watch calls touch when an object of a kind changes, until unwatch is called.
func (f *Finder) watch(ctx context.Context, kind client.Object) (unwatch func(), err error) {
	informer, err := f.Informers.GetInformer(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { f.objectChanged(nil, object) },
		UpdateFunc: f.objectChanged,
		DeleteFunc: func(object any) { f.objectChanged(nil, object) },
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
	}
	return func() { _ = informer.RemoveEventHandler(handler) }, nil // fails only for a handler of another informer
}

// objectChanged has everything looked at again if a change matters: heartbeats do not, nor nodes with a providerID.
func (f *Finder) objectChanged(before, after any) {
	node, isNode := after.(*corev1.Node)
	if !isNode {
		f.touch()
		return
	}
	old, _ := before.(*corev1.Node)
	if !ec2node.LacksProviderID(node) && (old == nil || !ec2node.LacksProviderID(old)) {
		return
	}
	if old != nil && sameIdentity(old, node) {
		return
	}
	var lost string
	if old != nil && machineOf(old) != machineOf(node) {
		lost = f.of(old).instanceID
	}
	f.touch()
	f.notify(lost)
}

// sameIdentity reports whether two versions of a Node do not differ in what its instance is found by.
func sameIdentity(a, b *corev1.Node) bool {
	_, unknownA := ec2node.UnknownSince(a)
	_, unknownB := ec2node.UnknownSince(b)
	return a.UID == b.UID && machineOf(a) == machineOf(b) && a.Spec.ProviderID == b.Spec.ProviderID && unknownA == unknownB &&
		equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Status.Addresses, b.Status.Addresses)
}

// touch notes that something has changed.
func (f *Finder) touch() {
	f.mu.Lock()
	f.dirty = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// refresh looks at all nodes and policies and asks EC2 about the nodes of which nothing is known. It returns when to do
// so again though nothing changes; zero for never.
func (f *Finder) refresh(ctx context.Context) (retry time.Time) {
	f.mu.Lock()
	f.dirty = false
	f.mu.Unlock()
	candidates, wanted, err := f.candidates(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.Log.Error(err, "Cannot look for nodes without a providerID")
		}
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
		return f.Clock.Now().Add(askBackoff.Duration)
	}
	due, before := f.prepare(candidates, wanted)
	if len(due) > 0 {
		running, err := f.AWS.RunningInstances(ctx, "", namesOf(due))
		if ctx.Err() != nil {
			return time.Time{}
		}
		f.learn(candidates, due, running, err)
	}
	f.tell(before)
	return f.nextRetry()
}

// candidates returns the nodes without a providerID that a policy with nodeIdentity PrivateDNSName governs; wanted
// reports whether there is such a policy.
func (f *Finder) candidates(ctx context.Context) (candidates []candidate, wanted bool, err error) {
	var policies v1alpha1.NodeTerminationPolicyList
	if err := f.Cache.List(ctx, &policies); err != nil {
		return nil, false, fmt.Errorf("cannot list policies: %w", err)
	}
	if !slices.ContainsFunc(policies.Items, func(p v1alpha1.NodeTerminationPolicy) bool { return p.Spec.IdentifiesByName() }) {
		return nil, false, nil
	}
	var nodes corev1.NodeList
	if err := f.Cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, true, fmt.Errorf("cannot list nodes: %w", err)
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if !ec2node.LacksProviderID(node) {
			continue
		}
		if policy := ec2node.Governing(policies.Items, node); policy != nil && policy.Spec.IdentifiesByName() {
			candidates = append(candidates, candidateOf(node, policy.Spec.InstanceTag))
		}
	}
	return candidates, true, nil
}

// prepare forgets what does not count any more, and returns the nodes that EC2 is to be asked about now. before is what
// was known.
func (f *Finder) prepare(candidates []candidate, wanted bool) (due []candidate, before map[string]known) {
	now := f.Clock.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	before = f.snapshot()
	present := sets.New[string]()
	for _, c := range candidates {
		name, is := c.node.Name, machineOf(c.node)
		present.Insert(name)
		k := f.known[name]
		if k == nil || k.machine != is {
			k = &known{machine: is, backoff: askBackoff}
			f.known[name] = k
		}
		if !k.matched && !now.Before(k.retry) {
			due = append(due, c)
		}
	}
	for name := range f.known {
		if !present.Has(name) {
			delete(f.known, name)
		}
	}
	f.looked, f.wanted = true, wanted
	f.index()
	return due, before
}

// index notes the nodes of the instances that are known. f.mu is held.
func (f *Finder) index() {
	clear(f.nodes)
	for name, k := range f.known {
		if k.instanceID == "" {
			continue
		}
		if other, taken := f.nodes[k.instanceID]; !taken || k.matched && !f.known[other].matched {
			f.nodes[k.instanceID] = name
		}
	}
}

// learn takes note of EC2's answer, or why there is none. It counts for the nodes that were asked about, and for those
// that were thought to run on an instance which it names.
func (f *Finder) learn(candidates, due []candidate, running []awsapi.RunningInstance, err error) {
	now := f.Clock.Now()
	asked := sets.New[string]()
	for _, c := range due {
		asked.Insert(c.node.Name)
	}
	named := sets.New[string]()
	for i := range running {
		named.Insert(running[i].ID)
	}
	answers := match(candidates, running)
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, k := range f.known {
		if !asked.Has(name) && !named.Has(k.instanceID) {
			continue
		}
		if err != nil {
			k.err, k.retry = err, now.Add(k.backoff.Step())
			continue
		}
		k.answered, k.err, k.why = true, nil, answers[name].why
		switch found := answers[name].instance; {
		case found != nil:
			k.instanceID, k.zone, k.matched = found.ID, found.Zone, true
		case k.matched: // now that another node has its name, too
			k.instanceID, k.zone, k.matched, k.backoff = "", "", false, askBackoff
			fallthrough
		default:
			k.retry = now.Add(k.backoff.Step())
		}
	}
	f.index()
}

// snapshot returns a copy of what is known. f.mu is held.
func (f *Finder) snapshot() map[string]known {
	copied := map[string]known{}
	for name, k := range f.known {
		copied[name] = *k
	}
	return copied
}

// tell logs and notifies about what has come to be known of nodes, and what is not known any more.
func (f *Finder) tell(before map[string]known) {
	f.mu.Lock()
	after := f.snapshot()
	f.mu.Unlock()
	changed := false
	for name := range after {
		was, is := before[name], after[name]
		f.log(name, &was, &is)
		if was.instanceID != is.instanceID {
			f.notify(was.instanceID, is.instanceID)
		}
		changed = changed || was.instanceID != is.instanceID || was.why != is.why || was.answered != is.answered || (was.err == nil) != (is.err == nil)
	}
	for name := range before {
		if _, still := after[name]; !still {
			changed = true
			f.notify(before[name].instanceID)
		}
	}
	if !changed {
		return
	}
	select {
	case f.changed <- crevent.GenericEvent{}:
	default:
	}
}

// notify notifies about instances; an empty ID is none.
func (f *Finder) notify(instanceIDs ...string) {
	for _, id := range instanceIDs {
		if id != "" {
			f.Notify(id)
		}
	}
}

// log logs what has come to be known of a node, once.
func (f *Finder) log(node string, was, is *known) {
	switch log := f.Log.WithValues("node", node); {
	case is.instanceID != "" && is.instanceID != was.instanceID:
		log.Info("Node without a providerID runs on an instance, as EC2 says", "instance", is.instanceID)
	case is.instanceID == "" && is.why != "" && is.why != was.why:
		log.Info("It is not known which instance a node without a providerID runs on; nothing is done about it", "reason", is.why)
	case is.err != nil && was.err == nil:
		log.Info("EC2 does not say which instance a node without a providerID runs on; nothing is done about it until it does", "error", is.err.Error())
	}
}

// nextRetry returns when EC2 is to be asked again; zero for never.
func (f *Finder) nextRetry() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var next time.Time
	for _, k := range f.known {
		if !k.matched && (next.IsZero() || k.retry.Before(next)) {
			next = k.retry
		}
	}
	return next
}
