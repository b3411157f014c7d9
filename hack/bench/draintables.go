// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// floorOf returns the mean of the two measurements of the floor.
func (run *drainRun) floorOf(last func(*floor) float64) float64 {
	return (last(&run.Before) + last(&run.After)) / 2
}

func lastCordon(f *floor) float64   { return f.Cordoned.Max }
func lastEviction(f *floor) float64 { return f.Evicted.Max }
func lastGone(f *floor) float64     { return f.Gone.Max }

// drainTables returns tables with a column for each number of nodes.
func drainTables(r *results) []table {
	if len(r.Drain) == 0 {
		return nil
	}
	t := table{title: "Nodes interrupted at once, each with so many pods: p50 / p95 / last from the first message on", head: []string{""}}
	for i := range r.Drain {
		t.head = append(t.head, r.Drain[i].setting())
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
		{"best floor, before", "", func(run *drainRun) string {
			return fmt.Sprintf("%s with %d in flight", run.Before.Evicted, run.Before.Width)
		}},
		{"floor, after", "", func(run *drainRun) string { return run.After.Evicted.String() }},
		{"last eviction, times the floor", "at most 1.15", func(run *drainRun) string {
			return fmt.Sprintf("%.2f", run.Operator.Evicted.Max/run.floorOf(lastEviction))
		}},
		{"ms a pod, last eviction", "", func(run *drainRun) string { return run.perPod(run.Operator.Evicted.Max) }},
		{"pods gone", "", func(run *drainRun) string { return run.Operator.Gone.String() }},
		{"best floor, before", "", func(run *drainRun) string { return run.Before.Gone.String() }},
		{"last pod gone, times the floor", "at most 1.15", func(run *drainRun) string {
			return fmt.Sprintf("%.2f", run.Operator.Gone.Max/run.floorOf(lastGone))
		}},
		{"requests per evicted pod", "at most 1.25", func(run *drainRun) string { return fmt.Sprintf("%.2f", run.Operator.PerPod) }},
		{"of the floor", "", func(run *drainRun) string { return fmt.Sprintf("%.2f", (run.Before.PerPod+run.After.PerPod)/2) }},
		{"manager's CPU", "", func(run *drainRun) string { return seconds(run.Operator.CPU) }},
		{"manager's CPU, a pod", "at most 0.6 ms", func(run *drainRun) string { return run.perPod(run.Operator.CPU) }},
		{"manager's peak memory, anonymous", "at most 40 MB", func(run *drainRun) string { return megabytes(run.Operator.Anonymous) }},
		{"manager's peak memory, resident", "", func(run *drainRun) string { return megabytes(run.Operator.Memory) }},
	} {
		cells := []string{row.what}
		for i := range r.Drain {
			cells = append(cells, row.cell(&r.Drain[i]))
		}
		t.rows = append(t.rows, append(cells, row.wanted))
	}
	tables := []table{t, floorTable(r)}
	if h := handlerTable(r); len(h.rows) > 0 {
		tables = append(tables, h)
	}
	return append(tables, requestTable(r))
}

// setting returns what distinguishes a run from others.
func (run *drainRun) setting() string {
	text := fmt.Sprintf("%d × %d", run.Nodes, run.PodsPerNode)
	if run.PodsPerBudget > 0 {
		text += fmt.Sprintf(", a budget each %d", run.PodsPerBudget)
	}
	if run.APIServerCPUs > 0 {
		text += fmt.Sprintf(", API server with %d CPUs", run.APIServerCPUs)
	}
	if run.Latency > 0 {
		text += fmt.Sprintf(", %d ms away", run.Latency)
	}
	return text
}

// perPod returns seconds as milliseconds a pod.
func (run *drainRun) perPod(s float64) string {
	return fmt.Sprintf("%.1f ms", 1000*s/float64(run.Nodes*run.PodsPerNode))
}

// floorTable shows the floor by how many evictions are in flight.
func floorTable(r *results) table {
	t := table{title: "The floor by evictions in flight: last cordon / last eviction / last pod gone, in ms a pod", head: []string{"nodes × pods"}}
	for i := range r.Drain {
		run := &r.Drain[i]
		row := []string{run.setting()}
		for j := range run.Floors {
			f := &run.Floors[j]
			row = append(row, fmt.Sprintf("%d: %s / %s / %s", f.Width, seconds(f.Cordoned.Max), run.perPod(f.Evicted.Max), run.perPod(f.Gone.Max)))
		}
		t.rows = append(t.rows, row)
		for len(t.head) < len(row) {
			t.head = append(t.head, "in flight")
		}
	}
	return t
}

// handlerTable shows another handler beside the operator.
func handlerTable(r *results) table {
	t := table{title: "Another handler beside the operator", head: []string{"nodes × pods", "", "last cordon", "last eviction", "last pod gone", "requests per pod", "CPU a pod", "peak memory, anonymous", "resident"}}
	for i := range r.Drain {
		run := &r.Drain[i]
		if run.Handler == nil {
			continue
		}
		for _, of := range []struct {
			who  string
			what *operatorDrain
		}{{"operator", &run.Operator}, {"handler", run.Handler}} {
			t.rows = append(t.rows, []string{
				run.setting(), of.who, seconds(of.what.Cordoned.Max), run.perPod(of.what.Evicted.Max), run.perPod(of.what.Gone.Max),
				fmt.Sprintf("%.2f", of.what.PerPod), run.perPod(of.what.CPU), megabytes(of.what.Anonymous), megabytes(of.what.Memory),
			})
		}
	}
	return t
}

// requestTable counts the operator's requests by kind.
func requestTable(r *results) table {
	t := table{title: "The operator's requests while it drained", head: []string{"request"}}
	total := map[string]int{}
	for i := range r.Drain {
		t.head = append(t.head, r.Drain[i].setting())
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
