// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// drainRun is one number of nodes interrupted at once.
type drainRun struct {
	Nodes         int           `json:"nodes"`
	PodsPerNode   int           `json:"podsPerNode"`
	PodsPerBudget int           `json:"podsPerBudget,omitempty"`
	Before        floor         `json:"floorBefore"`
	Operator      operatorDrain `json:"operator"`
	After         floor         `json:"floorAfter"`
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
}

// fleetOptions are what the fleets of one run have in common.
type fleetOptions struct{ nodes, podsPerNode, perBudget int }

// Pods on a node unless a flag says otherwise. Many nodes have fewer, or the control plane would be
// what is measured.
const (
	manyNodes      = 500
	podsOfMany     = 20
	podsOfFewNodes = 30
)

func measureDrain(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	r.Drain = nil
	for _, nodes := range o.nodes {
		of := fleetOptions{nodes: nodes, podsPerNode: o.pods, perBudget: o.perBudget}
		switch {
		case of.podsPerNode > 0:
		case nodes >= manyNodes:
			of.podsPerNode = podsOfMany
		default:
			of.podsPerNode = podsOfFewNodes
		}
		result, err := measureDrainOf(ctx, l, of)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", nodes, err)
		}
		r.Drain = append(r.Drain, result)
	}
	return nil
}

// measureDrainOf measures the operator between two measurements of the floor.
func measureDrainOf(ctx context.Context, l *lab, of fleetOptions) (run drainRun, err error) {
	run = drainRun{Nodes: of.nodes, PodsPerNode: of.podsPerNode, PodsPerBudget: of.perBudget}
	what := fmt.Sprintf("drain: %d nodes with %d pods each", of.nodes, of.podsPerNode)
	l.progress("%s, straight from a client", what)
	if run.Before, err = measureFloor(ctx, l, of); err != nil {
		return run, fmt.Errorf("the floor: %w", err)
	}
	l.progress("%s, by the operator", what)
	if run.Operator, err = measureOperator(ctx, l, of); err != nil {
		return run, fmt.Errorf("the operator: %w", err)
	}
	l.progress("%s, straight from a client again", what)
	if run.After, err = measureFloor(ctx, l, of); err != nil {
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
	result, err := drainBy(ctx, m, f)
	if err != nil {
		return result, fmt.Errorf("%w\nThe end of the manager's log:\n%s", errors.Join(err, m.Stop()), m.LogTail(20))
	}
	return result, errors.Join(m.Stop(), f.remove(ctx))
}

func drainBy(ctx context.Context, m *manager, f *fleet) (result operatorDrain, err error) {
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
	after, err := m.Usage()
	if err != nil {
		return result, err
	}
	if result.Requests, err = f.lab.audit.count(start, end); err != nil {
		return result, err
	}
	result.Completed = round(end.Sub(start).Seconds(), 1)
	result.PerPod = round(float64(sum(result.Requests, nil))/float64(len(f.pods)), 2)
	result.CPU = round((after.CPU - before.CPU).Seconds(), 2)
	result.Memory = after.MaxMemory
	return result, p.remove(ctx, f)
}

// floorOf returns the mean of the two measurements of the floor.
func (run *drainRun) floorOf(last func(*floor) float64) float64 {
	return (last(&run.Before) + last(&run.After)) / 2
}

func lastCordon(f *floor) float64   { return f.Cordoned.Max }
func lastEviction(f *floor) float64 { return f.Evicted.Max }

// drainTables returns tables with a column for each number of nodes.
func drainTables(r *results) []table {
	if len(r.Drain) == 0 {
		return nil
	}
	t := table{title: "Nodes interrupted at once, each with so many pods: p50 / p95 / last from the first message on", head: []string{""}}
	for i := range r.Drain {
		head := fmt.Sprintf("%d × %d", r.Drain[i].Nodes, r.Drain[i].PodsPerNode)
		if n := r.Drain[i].PodsPerBudget; n > 0 {
			head += fmt.Sprintf(", a budget each %d", n)
		}
		t.head = append(t.head, head)
	}
	t.head = append(t.head, "wanted at 50 × 30")
	for _, row := range []struct {
		what, wanted string
		cell         func(run *drainRun) string
	}{
		{"nodes cordoned", "last within 1.50 s", func(run *drainRun) string { return run.Operator.Cordoned.String() }},
		{"floor, before", "", func(run *drainRun) string { return run.Before.Cordoned.String() }},
		{"floor, after", "", func(run *drainRun) string { return run.After.Cordoned.String() }},
		{"last cordon, times the floor", "", func(run *drainRun) string {
			return fmt.Sprintf("%.2f", run.Operator.Cordoned.Max/run.floorOf(lastCordon))
		}},
		{"pods evicted", "", func(run *drainRun) string { return run.Operator.Evicted.String() }},
		{"floor, before", "", func(run *drainRun) string { return run.Before.Evicted.String() }},
		{"floor, after", "", func(run *drainRun) string { return run.After.Evicted.String() }},
		{"last eviction, times the floor", "at most 1.15", func(run *drainRun) string {
			return fmt.Sprintf("%.2f", run.Operator.Evicted.Max/run.floorOf(lastEviction))
		}},
		{"pods gone", "", func(run *drainRun) string { return run.Operator.Gone.String() }},
		{"requests per evicted pod", "at most 1.20", func(run *drainRun) string { return fmt.Sprintf("%.2f", run.Operator.PerPod) }},
		{"of the floor", "", func(run *drainRun) string { return fmt.Sprintf("%.2f", (run.Before.PerPod+run.After.PerPod)/2) }},
		{"manager's CPU", "at most 5 s", func(run *drainRun) string { return seconds(run.Operator.CPU) }},
		{"manager's peak memory", "at most 80 MB", func(run *drainRun) string { return megabytes(run.Operator.Memory) }},
	} {
		cells := []string{row.what}
		for i := range r.Drain {
			cells = append(cells, row.cell(&r.Drain[i]))
		}
		t.rows = append(t.rows, append(cells, row.wanted))
	}
	return []table{t, requestTable(r)}
}

// requestTable counts the operator's requests by kind.
func requestTable(r *results) table {
	t := table{title: "The operator's requests while it drained", head: []string{"request"}}
	total := map[string]int{}
	for i := range r.Drain {
		t.head = append(t.head, fmt.Sprintf("%d × %d", r.Drain[i].Nodes, r.Drain[i].PodsPerNode))
		for kind, n := range r.Drain[i].Operator.Requests {
			total[kind] += n
		}
	}
	for _, kind := range mostFirst(total) {
		cells := []string{kind}
		for i := range r.Drain {
			cells = append(cells, fmt.Sprint(r.Drain[i].Operator.Requests[kind]))
		}
		t.rows = append(t.rows, cells)
	}
	return t
}
