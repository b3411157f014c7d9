// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// drainRun is one number of nodes interrupted at once.
type drainRun struct {
	Nodes         int `json:"nodes"`
	PodsPerNode   int `json:"podsPerNode"`
	PodsPerBudget int `json:"podsPerBudget,omitempty"`
	// APIServerCPUs are the cores that the API server was held to, 0 for all, and Latency how far away it was.
	APIServerCPUs int `json:"apiServerCPUs,omitempty"`
	Latency       int `json:"latencyMillis,omitempty"`
	// Floors are with different numbers in flight. Before is the one with the earliest last eviction, and
	// After the same once more.
	Floors   []floor        `json:"floors"`
	Before   floor          `json:"floorBefore"`
	Operator operatorDrain  `json:"operator"`
	Handler  *operatorDrain `json:"handler,omitempty"`
	After    floor          `json:"floorAfter"`
}

// sameSetting reports whether two runs differ only in what was measured.
func (run *drainRun) sameSetting(other *drainRun) bool {
	return run.Nodes == other.Nodes && run.PodsPerNode == other.PodsPerNode && run.PodsPerBudget == other.PodsPerBudget &&
		run.APIServerCPUs == other.APIServerCPUs && run.Latency == other.Latency
}

// drainTimes is when an observer saw the nodes cordoned and the pods evicted and gone, from the
// first message, or request of the floor, on.
type drainTimes struct {
	Cordoned latency `json:"cordoned"`
	Evicted  latency `json:"evicted"`
	Gone     latency `json:"gone"`
}

// operatorDrain is what the operator did, and used until every NodeTermination was Completed.
type operatorDrain struct {
	drainTimes
	Completed float64        `json:"completedSeconds"`
	Requests  map[string]int `json:"requests"` // by kind, leases and all
	PerPod    float64        `json:"requestsPerPod"`
	CPU       float64        `json:"cpuSeconds"`
	Memory    int64          `json:"peakMemoryBytes"`
	Anonymous int64          `json:"peakAnonymousBytes,omitempty"`
}

// fleetOptions are what the fleets of one run have in common.
type fleetOptions struct{ nodes, podsPerNode, perBudget int }

// String names a profile.
func (o fleetOptions) String() string {
	return fmt.Sprintf("%dx%d-%d-in-a-budget", o.nodes, o.podsPerNode, o.perBudget)
}

// Pods on a node unless a flag says otherwise. Many nodes have fewer, or the control plane would be
// what is measured.
const (
	manyNodes      = 500
	podsOfMany     = 20
	fewNodes       = 20
	podsOfFew      = 25
	podsOfFewNodes = 30
)

// podsFor returns how many pods are on each of so many nodes.
func podsFor(nodes int) int {
	switch {
	case nodes >= manyNodes:
		return podsOfMany
	case nodes == fewNodes:
		return podsOfFew
	}
	return podsOfFewNodes
}

func measureDrain(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	for _, perBudget := range o.perBudget {
		for _, nodes := range o.nodes {
			of := fleetOptions{nodes: nodes, podsPerNode: cmp.Or(o.pods, podsFor(nodes)), perBudget: perBudget}
			result, err := measureDrainOf(ctx, l, of, o)
			if err != nil {
				return fmt.Errorf("%d nodes: %w", nodes, err)
			}
			r.Drain = slices.DeleteFunc(r.Drain, func(run drainRun) bool { return run.sameSetting(&result) })
			r.Drain = append(r.Drain, result)
		}
	}
	return nil
}

// measureDrainOf measures the operator between measurements of the floor.
func measureDrainOf(ctx context.Context, l *lab, of fleetOptions, o *options) (run drainRun, err error) {
	run = drainRun{
		Nodes: of.nodes, PodsPerNode: of.podsPerNode, PodsPerBudget: of.perBudget,
		APIServerCPUs: l.apiServerCPUs, Latency: int(l.latency.Milliseconds()),
	}
	what := fmt.Sprintf("drain: %d nodes with %d pods each, %d in a budget", of.nodes, of.podsPerNode, of.perBudget)
	for _, width := range o.widths {
		l.progress("%s, straight from a client, %d in flight", what, width)
		floor, err := measureFloor(ctx, l, of, width)
		if err != nil {
			return run, fmt.Errorf("the floor with %d in flight: %w", width, err)
		}
		run.Floors = append(run.Floors, floor)
	}
	run.Before = slices.MinFunc(run.Floors, func(a, b floor) int { return cmp.Compare(a.Evicted.Max, b.Evicted.Max) })
	l.progress("%s, by the operator", what)
	if run.Operator, err = measureOperator(ctx, l, of); err != nil {
		return run, fmt.Errorf("the operator: %w", err)
	}
	if o.handlerCommand != "" {
		l.progress("%s, by the other handler", what)
		other, err := measureHandler(ctx, l, of, o)
		if err != nil {
			return run, fmt.Errorf("the handler: %w", err)
		}
		run.Handler = &other
	}
	l.progress("%s, straight from a client again, %d in flight", what, run.Before.Width)
	if run.After, err = measureFloor(ctx, l, of, run.Before.Width); err != nil {
		return run, fmt.Errorf("the floor: %w", err)
	}
	return run, nil
}

// prepare makes a fleet and lets the control plane come to rest.
func (l *lab) prepare(ctx context.Context, of fleetOptions) (*fleet, error) {
	f, err := l.newFleet(ctx, l.name(), of.nodes, of.podsPerNode, inBudgets(of.perBudget))
	if err != nil {
		return nil, err
	}
	if err := f.createBudgets(ctx, of.perBudget, 0); err != nil {
		return nil, err
	}
	if err := f.settle(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// untilDrained waits until all of the fleet's pods are gone and returns when what happened.
func (f *fleet) untilDrained(ctx context.Context, start time.Time) (drainTimes, error) {
	var d drainTimes
	err := f.until(ctx, func(s *seen) error {
		err := errors.Join(
			atLeast(len(f.nodes), len(s.cordoned), "nodes are cordoned"),
			atLeast(len(f.pods), len(s.evicted), "pods are evicted"),
			atLeast(len(f.pods), len(s.gone), "pods are gone"),
		)
		if err == nil {
			d = drainTimes{since(start, s.cordoned), since(start, s.evicted), since(start, s.gone)}
		}
		return err
	})
	return d, err
}

// measureOperator interrupts a fleet's nodes, all at once, under a manager that has just been started.
func measureOperator(ctx context.Context, l *lab, of fleetOptions) (operatorDrain, error) {
	f, err := l.prepare(ctx, of)
	if err != nil {
		return operatorDrain{}, err
	}
	m, err := l.startManager(ctx, leads)
	if err != nil {
		return operatorDrain{}, err
	}
	result, err := drainBy(ctx, m, f, of)
	if err != nil {
		return result, fmt.Errorf("%w\nThe end of the manager's log:\n%s", errors.Join(err, m.Stop()), m.LogTail(20))
	}
	return result, errors.Join(m.Stop(), f.remove(ctx))
}

func drainBy(ctx context.Context, m *manager, f *fleet, of fleetOptions) (result operatorDrain, err error) {
	p, err := f.lab.newPolicy(ctx, f, nil)
	if err != nil {
		return result, err
	}
	if err := f.settle(ctx); err != nil {
		return result, err
	}
	before, err := m.Usage()
	if err != nil {
		return result, err
	}
	profiled, anonymous := m.profile(ctx, of), watchAnonymous(m.PID())
	start := time.Now()
	if err := p.interrupt(f); err != nil {
		return result, err
	}
	if result.drainTimes, err = f.untilDrained(ctx, start); err != nil {
		return result, err
	}
	if err := p.untilState(ctx, f, v1alpha1.StateCompleted); err != nil {
		return result, err
	}
	end := time.Now()
	result.Anonymous = anonymous()
	after, err := m.Usage()
	if err != nil {
		return result, err
	}
	if err := result.note(f, managerUser, start, end, before, after); err != nil {
		return result, err
	}
	return result, errors.Join(profiled(), p.remove(ctx, f))
}

// note notes what a user's process requested and used between two moments.
func (d *operatorDrain) note(f *fleet, user string, start, end time.Time, before, after operator.Usage) (err error) {
	if d.Requests, err = f.lab.audit.count(user, start, end); err != nil {
		return err
	}
	d.Completed = round(end.Sub(start).Seconds(), 1)
	d.PerPod = round(float64(sum(d.Requests, nil))/float64(len(f.pods)), 2)
	d.CPU = round((after.CPU - before.CPU).Seconds(), 2)
	d.Memory = after.MaxMemory
	return nil
}
