// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// urgent is how near a hard deadline has to be for a drain not to wait for others.
	urgent = 5 * time.Minute
	// paceLook is when a waiting drain is looked at again, should nobody wake it.
	paceLook = 10 * time.Second
)

// schedule is the phase that decides whether the drain may begin: its time has come,
// and not too many nodes are being drained.
func (r *Reconciler) schedule(ctx context.Context, s *scope) (bool, error) {
	if s.finished() || s.node == nil || s.decision.action != v1alpha1.ActionCordonAndDrain || s.now.Before(s.decision.drainAt) {
		return false, nil
	}
	if s.podsGone() {
		s.begins = true
		return false, nil
	}
	waits, err := r.admit(ctx, s)
	s.begins, s.waits = waits == "", waits
	return err != nil, err
}

// admit lets the drain begin if the policy's budget allows, else it says what it waits for.
func (r *Reconciler) admit(ctx context.Context, s *scope) (waits string, err error) {
	if _, limited := s.policy.Spec.Drain.MaxNodes(1); !limited {
		return "", nil
	}
	here := s.domain()
	r.pace.mu.Lock()
	defer r.pace.mu.Unlock()
	delete(r.pace.waiting, s.nt.Name)
	if s.was(v1alpha1.StateDraining) || r.isUrgent(s) {
		r.pace.enter(s.nt.Name, s.node.Name, here)
		return "", nil
	}
	if r.pace.draining[s.nt.Name].domain == here {
		return "", nil
	}
	limit, err := r.limit(ctx, s, here)
	if err != nil {
		return "", err
	}
	busy, err := r.busy(ctx, s, here)
	if err != nil {
		return "", err
	}
	if len(busy) < limit {
		r.pace.enter(s.nt.Name, s.node.Name, here)
		return "", nil
	}
	r.pace.wait(s.nt.Name, here)
	s.lookAgain(s.now.Add(paceLook))
	// Which ones is not said: it changes with each of them, for all that wait.
	return fmt.Sprintf("%d of at most %d nodes of policy %s%s are being drained", len(busy), limit, s.policy.Name, here.where()), nil
}

// isUrgent is whether there is no time to wait for others: the instance is taken
// within five minutes, or within what the drain may take.
func (r *Reconciler) isUrgent(s *scope) bool {
	if s.decision.deadline.IsZero() {
		return false
	}
	until := s.decision.deadline.Add(-max(urgent, s.policy.Spec.Drain.Timeout()))
	if s.now.Before(until) {
		s.lookAgain(until)
		return false
	}
	return true
}

// domain is the nodes that a budget counts together: those of a policy, or of one
// value of a label.
type domain struct {
	policy     types.UID
	key, value string
}

func (s *scope) domain() domain {
	d := domain{policy: s.policy.UID}
	if budget := s.policy.Spec.Drain.Budget; budget.TopologyKey != "" {
		d.key, d.value = budget.TopologyKey, s.node.Labels[budget.TopologyKey]
	}
	return d
}

func (d domain) where() string {
	if d.key == "" {
		return ""
	}
	return fmt.Sprintf(" with %s=%s", d.key, d.value)
}

func (d domain) has(node *corev1.Node) bool {
	return d.key == "" || node.Labels[d.key] == d.value
}

// limit is how many of the nodes in a domain may be drained at one time.
func (r *Reconciler) limit(ctx context.Context, s *scope, here domain) (int, error) {
	if s.policy.Spec.Drain.Budget.MaxNodes.Type == intstr.Int {
		limit, _ := s.policy.Spec.Drain.MaxNodes(0)
		return limit, nil
	}
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("cannot list nodes: %w", err)
	}
	governed := 0
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if _, ec2 := ec2node.InstanceID(node); !ec2 || !here.has(node) {
			continue
		}
		if policy := ec2node.Governing(s.policies, node); policy != nil && policy.UID == here.policy {
			governed++
		}
	}
	limit, _ := s.policy.Spec.Drain.MaxNodes(governed)
	return limit, nil
}

// busy are the nodes of a domain that are being drained, other than the
// termination's own: those that say so, and those that were let in just now.
func (r *Reconciler) busy(ctx context.Context, s *scope, here domain) ([]string, error) {
	var list v1alpha1.NodeTerminationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list NodeTerminations: %w", err)
	}
	busy := r.pace.in(here)
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name == s.nt.Name || r.pace.left[other.Name] || stateIn(&other.Status) != v1alpha1.StateDraining ||
			other.Status.PolicyRef == nil || other.Status.PolicyRef.UID != here.policy {
			continue
		}
		node := &corev1.Node{}
		if r.Client.Get(ctx, types.NamespacedName{Name: other.Spec.NodeName}, node) == nil && here.has(node) && !slices.Contains(busy, node.Name) {
			busy = append(busy, node.Name)
		}
	}
	slices.Sort(busy)
	return busy, nil
}

// pace is who drains and who waits for it, as far as it is not in the API server
// yet. The zero value is empty.
type pace struct {
	mu       sync.Mutex
	draining map[string]admitted
	waiting  map[string]domain
	// left are those that drained, whatever the cache still says of them.
	left map[string]bool
}

// admitted is a drain that was let in.
type admitted struct {
	node   string
	domain domain
}

func (p *pace) enter(name, node string, here domain) {
	if p.draining == nil {
		p.draining, p.left = map[string]admitted{}, map[string]bool{}
	}
	p.draining[name] = admitted{node, here}
	delete(p.left, name)
}

func (p *pace) wait(name string, here domain) {
	if p.waiting == nil {
		p.waiting = map[string]domain{}
	}
	p.waiting[name] = here
}

func (p *pace) in(here domain) []string {
	var nodes []string
	for _, drain := range p.draining {
		if drain.domain == here {
			nodes = append(nodes, drain.node)
		}
	}
	return nodes
}

// forget forgets a termination that neither drains nor waits. It returns the one that
// may have its place, empty if none waits for that.
func (p *pace) forget(name string) (next string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, name)
	left, was := p.draining[name]
	if !was {
		return ""
	}
	delete(p.draining, name)
	p.left[name] = true
	for waiting, here := range p.waiting {
		if here == left.domain && (next == "" || waiting < next) {
			next = waiting
		}
	}
	delete(p.waiting, next) // it waits again if it finds no room
	return next
}

// deleted is forget for one that is no more.
func (p *pace) deleted(name string) (next string) {
	next = p.forget(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.left, name)
	return next
}
