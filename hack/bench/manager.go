// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// What client-go logs about the lease.
const (
	standsBy = "Attempting to acquire leader lease"
	leads    = "Successfully acquired lease"
)

// manager is a running manager, as it is built and with the rights and flags that it is installed with.
type manager struct {
	*operator.Process

	pprof    string // the address of its profiles, empty for none
	profiles string // the directory for them

	mu     sync.Mutex
	logged map[string]bool // standsBy, leads
}

// startManager starts a manager, with arguments besides those that it is installed with, and waits until it
// logs that it stands by, or leads.
func (l *lab) startManager(ctx context.Context, until string, args ...string) (*manager, error) {
	dir := filepath.Join(l.dir, l.name())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	profiled, address, err := l.pprofArgs()
	if err != nil {
		return nil, err
	}
	m := &manager{pprof: address, profiles: l.profiles, logged: map[string]bool{}}
	m.Process, err = operator.Start(ctx, operator.Options{
		Binary: l.binary, Kubeconfig: l.kubeconfig, Dir: dir, Env: l.aws.Env(), Args: append(profiled, args...), OnLine: m.note,
	})
	if err != nil {
		return nil, err
	}
	if err := m.until(ctx, until); err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}

func (m *manager) note(line string) {
	for _, text := range []string{standsBy, leads} {
		if strings.Contains(line, text) {
			m.mu.Lock()
			m.logged[text] = true
			m.mu.Unlock()
		}
	}
}

// until waits for what client-go logs about the lease.
func (m *manager) until(ctx context.Context, text string) error {
	return await(ctx, 10*time.Millisecond, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.logged[text] {
			return fmt.Errorf("the manager has not logged %q:\n%s", text, m.LogTail(20))
		}
		return nil
	})
}

// policy is a policy with a queue of its own that the manager polls.
type policy struct {
	lab   *lab
	queue string // its URL
	*v1alpha1.NodeTerminationPolicy
}

// newPolicy creates a policy that governs the nodes of a fleet, and waits until the manager knows them
// and the queue is up.
func (l *lab) newPolicy(ctx context.Context, f *fleet, change func(*v1alpha1.NodeTerminationPolicySpec)) (*policy, error) {
	queue, err := l.aws.CreateQueue(f.name, nil)
	if err != nil {
		return nil, err
	}
	p := &policy{lab: l, queue: queue, NodeTerminationPolicy: &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: f.name}}}
	p.Spec = v1alpha1.NodeTerminationPolicySpec{
		NodeSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{fleetLabel: v1alpha1.LabelValue(f.name)}},
		Sources:      []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: queue}}},
	}
	if change != nil {
		change(&p.Spec)
	}
	if err := l.admin.Create(ctx, p.NodeTerminationPolicy); err != nil {
		return nil, err
	}
	return p, await(ctx, 100*time.Millisecond, func() error {
		if err := l.admin.Get(ctx, client.ObjectKeyFromObject(p), p.NodeTerminationPolicy); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("policy %s is not ready: %+v", p.Name, p.Status.Conditions)
		}
		if n := ptr.Deref(p.Status.Nodes, 0); int(n) != len(f.nodes) {
			return fmt.Errorf("policy %s governs %d nodes, not %d", p.Name, n, len(f.nodes))
		}
		return nil
	})
}

// send sends a message about an instance.
func (p *policy) send(kind, instance string) error {
	_, err := p.lab.aws.Send(p.queue, awssim.Notice{Kind: kind, InstanceIDs: []string{instance}})
	return err
}

// interrupt sends the notices that the fleet's spot instances are interrupted.
func (p *policy) interrupt(f *fleet) error {
	for i := range f.nodes {
		if err := p.send(awssim.SpotInterruption, f.nodes[i].instance); err != nil {
			return err
		}
	}
	return nil
}

// untilState waits until all NodeTerminations of the fleet, and there are as many as nodes, are in a state.
func (p *policy) untilState(ctx context.Context, f *fleet, state string) error {
	return await(ctx, 200*time.Millisecond, func() error {
		var list v1alpha1.NodeTerminationList
		if err := p.lab.admin.List(ctx, &list); err != nil {
			return err
		}
		left := len(f.nodes)
		for i := range list.Items {
			ready := meta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady)
			if ready != nil && ready.Reason == state && f.has(list.Items[i].Spec.NodeName) {
				left--
			}
		}
		if left > 0 {
			return fmt.Errorf("%d of %d NodeTerminations are not %s", left, len(f.nodes), state)
		}
		return nil
	})
}

// remove deletes the policy, its queue and the fleet's NodeTerminations.
func (p *policy) remove(ctx context.Context, f *fleet) error {
	err := each(ctx, len(f.nodes), creators, func(ctx context.Context, i int) error {
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: f.nodes[i].instance}}
		return client.IgnoreNotFound(p.lab.admin.Delete(ctx, nt))
	})
	return errors.Join(err, p.lab.admin.Delete(ctx, p.NodeTerminationPolicy), p.lab.aws.DeleteQueue(p.queue))
}
