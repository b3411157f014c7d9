// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// deliveryLimit is how long a message may take that is not lost.
const deliveryLimit = 30 * time.Second

// measureDelivery sends messages about nodes without pods, each when the NodeTermination of the last is
// seen.
func measureDelivery(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	f, err := l.newFleet(ctx, l.name(), o.messages, 0, nil)
	if err != nil {
		return err
	}
	m, err := l.startManager(ctx, leads)
	if err != nil {
		return err
	}
	took, err := deliver(ctx, f)
	if err != nil {
		return fmt.Errorf("%w\nThe end of the manager's log:\n%s", errors.Join(err, m.Stop()), m.LogTail(20))
	}
	r.Delivery = &took
	return errors.Join(m.Stop(), f.remove(ctx))
}

func deliver(ctx context.Context, f *fleet) (latency, error) {
	// Only a cordon, so that no drain is under way beside the next message.
	p, err := f.lab.newPolicy(ctx, f, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionCordon}}
	})
	if err != nil {
		return latency{}, err
	}
	changes, err := f.lab.admin.Watch(ctx, &v1alpha1.NodeTerminationList{})
	if err != nil {
		return latency{}, err
	}
	defer changes.Stop()
	took := make([]time.Duration, len(f.nodes))
	for i, n := range f.nodes {
		sent := time.Now()
		if err := p.send(awssim.SpotInterruption, n.instance); err != nil {
			return latency{}, err
		}
		if err := untilStored(ctx, changes, n.instance); err != nil {
			return latency{}, err
		}
		took[i] = time.Since(sent)
		if err := f.until(ctx, func(s *seen) error { return atLeast(i+1, len(s.cordoned), "nodes are cordoned") }); err != nil {
			return latency{}, err
		}
	}
	return latencyOf(took), p.remove(ctx, f)
}

// untilStored waits for a NodeTermination to be seen.
func untilStored(ctx context.Context, changes watch.Interface, name string) error {
	lost := time.NewTimer(deliveryLimit)
	defer lost.Stop()
	for {
		select {
		case change, ok := <-changes.ResultChan():
			if !ok {
				return errors.New("the watch of NodeTerminations ended")
			}
			if nt, ok := change.Object.(*v1alpha1.NodeTermination); ok && nt.Name == name {
				return nil
			}
		case <-lost.C:
			return fmt.Errorf("NodeTermination %s was not stored within %s", name, deliveryLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func deliveryTables(r *results) []table {
	if r.Delivery == nil {
		return nil
	}
	return []table{{
		title: "One message after the other", head: []string{"from sent to stored", "p50", "p95", "most"},
		rows: [][]string{{"", millisOf(r.Delivery.P50), millisOf(r.Delivery.P95), millisOf(r.Delivery.Max)}},
	}}
}

func millisOf(s float64) string { return fmt.Sprintf("%.0f ms", s*1000) }
