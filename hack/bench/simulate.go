// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/hack/operator"
)

const (
	simulatedPods = 30 // on each node
	// podsOfBudget share a budget, where there are any.
	podsOfBudget = 10
)

// simulatedWidths are how many evictions in flight the executor is compared with.
var simulatedWidths = []int{8, 16, 32, 64, 128, drain.DefaultMaxInFlight}

// simulation is one burst of nodes at one API server.
type simulation struct {
	Nodes   int  `json:"nodes"`
	Pods    int  `json:"podsPerNode"`
	Budgets bool `json:"budgets,omitempty"`
	Cores   int  `json:"cores"`
	Network int  `json:"networkMillis"`
	// Width is how many evictions are in flight, zero as many as the executor finds.
	Width int `json:"width,omitempty"`

	Last     float64 `json:"lastEvictionSeconds"`
	InFlight int     `json:"medianInFlight"` // in the second half
	Lowest   int     `json:"p5InFlight"`
	Highest  int     `json:"p95InFlight"`
	Requests float64 `json:"requestsPerPod"`
	// Late is the share of pods that were sent after one with a later deadline.
	Late   float64 `json:"outOfOrder"`
	Cordon float64 `json:"p95CordonSeconds"`
	// Heap is what is allocated when all pods wait.
	Heap       int64 `json:"heapBytes"`
	Goroutines int   `json:"mostGoroutines"`
}

// simulateRun is everything that is simulated.
type simulateRun struct {
	// Found and Best are with as many in flight as the executor finds and as is best, by API server.
	Found []simulation `json:"found"`
	Best  []simulation `json:"best"`
	// Large are bursts of many nodes.
	Large []simulation `json:"large"`
}

// simulatedNodesEnv and simulationEnv tell the test TestSimulation what to simulate and which file to write.
const (
	simulatedNodesEnv = "BENCH_SIMULATED_NODES"
	simulationEnv     = "BENCH_SIMULATION"
)

// measureSimulate runs the simulations as a test: only tests have a time of their own, see testing/synctest.
func measureSimulate(ctx context.Context, l *lab, o *options, r *results) error {
	root, err := operator.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, "simulation.json")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=0", "-run=^TestSimulation$", "./hack/bench")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), simulatedNodesEnv+"="+strconv.Itoa(o.simulated), simulationEnv+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r.Simulate = &simulateRun{}
	return json.Unmarshal(content, r.Simulate)
}

func simulateTables(r *results) []table {
	if r.Simulate == nil {
		return nil
	}
	tune := table{
		title: fmt.Sprintf("Simulated bursts of %d nodes × %d pods, no budgets: the last eviction, and how many are in flight in the second half", r.Simulate.Found[0].Nodes, simulatedPods),
		head:  []string{"API server", "best of " + fmt.Sprint(simulatedWidths), "found", "ratio, at most 1.15", "in flight, p5 / median / p95", "a cordon meanwhile, p95"},
	}
	for i := range r.Simulate.Found {
		found, best := &r.Simulate.Found[i], &r.Simulate.Best[i]
		tune.rows = append(tune.rows, []string{
			fmt.Sprintf("%d cores, %d ms away", found.Cores, found.Network),
			fmt.Sprintf("%s with %d", seconds(best.Last), best.Width), seconds(found.Last), fmt.Sprintf("%.2f", found.Last/best.Last),
			fmt.Sprintf("%d / %d / %d", found.Lowest, found.InFlight, found.Highest), seconds(found.Cordon),
		})
	}
	large := table{
		title: "Simulated bursts of many nodes, 5 ms away",
		head:  []string{"nodes × pods", "API server", "last eviction", "requests per pod", "out of order", "in flight, median", "heap, all waiting", "goroutines"},
	}
	for i := range r.Simulate.Large {
		s := &r.Simulate.Large[i]
		what := fmt.Sprintf("%d × %d", s.Nodes, s.Pods)
		if s.Budgets {
			what += fmt.Sprintf(", a budget each %d", podsOfBudget)
		}
		large.rows = append(large.rows, []string{
			what, fmt.Sprintf("%d cores", s.Cores), seconds(s.Last), fmt.Sprintf("%.2f", s.Requests), fmt.Sprintf("%.2f %%", 100*s.Late),
			fmt.Sprint(s.InFlight), megabytes(s.Heap), fmt.Sprint(s.Goroutines),
		})
	}
	return []table{tune, large}
}
