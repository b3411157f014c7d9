// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// Drains that are blocked at one time, and for how long they may be.
const (
	blockedNodes   = 10
	blockedPods    = 30
	blockedTimeout = 2 * time.Hour
)

// blockedRun is what so many drains use a minute of which a budget allows no eviction.
type blockedRun struct {
	Nodes       int `json:"nodes"`
	PodsPerNode int `json:"podsPerNode"`
	atRest
}

func measureBlocked(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	f, err := l.newFleet(ctx, l.name(), blockedNodes, blockedPods, inBudgets(blockedPods))
	if err != nil {
		return err
	}
	if err := f.createBudgets(ctx, blockedPods, blockedPods); err != nil {
		return err
	}
	m, err := l.startManager(ctx, leads)
	if err != nil {
		return err
	}
	p, err := l.newPolicy(ctx, f, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To(int32(blockedTimeout.Seconds()))}
	})
	if err != nil {
		return errors.Join(err, m.Stop())
	}
	for _, n := range f.nodes {
		if err := p.send(awssim.RebalanceRecommendation, n.instance); err != nil {
			return errors.Join(err, m.Stop())
		}
	}
	if err := p.untilState(ctx, f, v1alpha1.StateDraining); err != nil {
		return fmt.Errorf("%w\nThe end of the manager's log:\n%s", errors.Join(err, m.Stop()), m.LogTail(20))
	}
	result := blockedRun{Nodes: blockedNodes, PodsPerNode: blockedPods}
	if result.atRest, err = m.rest(ctx, l, o.length); err != nil {
		return errors.Join(err, m.Stop())
	}
	r.Blocked = &result
	return errors.Join(m.Stop(), p.remove(ctx, f), f.remove(ctx))
}

func blockedTables(r *results) []table {
	if r.Blocked == nil {
		return nil
	}
	t := restTable(fmt.Sprintf("%d drains of %d pods each that a budget blocks, a minute", r.Blocked.Nodes, r.Blocked.PodsPerNode), "")
	return []table{t.with("", &r.Blocked.atRest)}
}
