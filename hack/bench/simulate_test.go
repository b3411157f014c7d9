// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/nodetermination/operator/controllers/drain"
)

const (
	// tuningNodes are as many as tell how many evictions in flight are best.
	tuningNodes = 200
	// lookAfter is how long after a change of its pods a node is planned anew.
	lookAfter = 200 * time.Millisecond
	// cordonEvery is how often another node is cordoned meanwhile.
	cordonEvery = 500 * time.Millisecond
)

// TestSimulation has the planner, the executor and its queue drain nodes at a model of the API server. "bench
// simulate" runs it with many nodes and reads what it writes; else it is as little as tells that it works.
func TestSimulation(t *testing.T) {
	cores, networks := []int{2, 32}, []time.Duration{5 * time.Millisecond}
	nodes, path := 40, os.Getenv(simulationEnv)
	if path != "" {
		cores, networks = []int{1, 2, 8, 32}, []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond}
		var err error
		if nodes, err = strconv.Atoi(os.Getenv(simulatedNodesEnv)); err != nil {
			t.Fatal(err)
		}
	}
	run := &simulateRun{}
	for _, cores := range cores {
		for _, network := range networks {
			s := simulation{Nodes: min(nodes, tuningNodes), Pods: simulatedPods, Cores: cores, Network: int(network.Milliseconds())}
			found, best := s.run(t), simulation{Last: math.Inf(1)}
			for _, s.Width = range simulatedWidths {
				if fixed := s.run(t); fixed.Last < best.Last {
					best = fixed
				}
			}
			run.Found, run.Best = append(run.Found, found), append(run.Best, best)
			if path == "" && found.Last > max(1.15*best.Last, best.Last+0.3) {
				t.Errorf("%d cores, %s away: %.2f s, with %d in flight %.2f s", cores, network, found.Last, best.Width, best.Last)
			}
		}
	}
	for _, cores := range cores {
		for _, budgets := range []bool{false, true} {
			large := simulation{Nodes: nodes, Pods: simulatedPods, Cores: cores, Network: 5, Budgets: budgets}.run(t)
			run.Large = append(run.Large, large)
			if path == "" && large.Requests > 1.05 {
				t.Errorf("%d cores, budgets %t: %.2f requests per pod", cores, budgets, large.Requests)
			}
		}
	}
	if path == "" {
		return
	}
	content, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run simulates the burst in a time of its own.
func (s simulation) run(t *testing.T) simulation {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if err := s.simulate(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

// burst is the state of one simulation.
type burst struct {
	*simulation
	model    *apiModel
	executor *drain.Executor
	start    time.Time
	done     chan struct{}
	requests atomic.Int64

	mu    sync.Mutex
	nodes []burstNode
	left  int
	last  time.Time
	// sent are the deadlines of the pods in the order in which they were evicted.
	sent []time.Time
}

type burstNode struct {
	pods     []drain.Pod
	deadline time.Time
	planned  bool // it will be planned anew
}

func (s *simulation) simulate(ctx context.Context) error {
	b := &burst{simulation: s, model: newAPIModel(s.Cores, time.Duration(s.Network)*time.Millisecond), start: time.Now(), done: make(chan struct{})}
	if s.Budgets {
		b.model.budgetOf = budgetOfPod
	}
	pods, err := drain.NewClient(&rest.Config{Host: "http://model"}, &http.Client{Transport: b})
	if err != nil {
		return err
	}
	budgets := &modelBudgets{controllertest.NewFakeInformer()}
	budgets.Synced()
	base := heap()
	b.executor = drain.NewExecutor(drain.ExecutorOptions{
		Client: pods, Budgets: budgets, OnEvicted: b.onEvicted, MinInFlight: s.Width, MaxInFlight: s.Width,
	})
	b.fill()
	s.Heap = max(heap()-base, 0)

	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { err = b.executor.Start(ctx) })
	synctest.Wait()
	if s.Budgets {
		b.createBudgets(budgets)
	}
	running.Go(func() { b.cordon(ctx) })
	<-b.done
	cancel()
	running.Wait()
	b.sumUp()
	return err
}

// fill makes the nodes and plans all of them. Their deadlines differ, in no order.
func (b *burst) fill() {
	b.left = b.Nodes * b.Pods
	b.nodes = make([]burstNode, b.Nodes)
	for i := range b.nodes {
		n := &b.nodes[i]
		n.deadline = b.start.Add(time.Hour + time.Duration(i*7%10)*time.Minute)
		for j := range b.Pods {
			name := fmt.Sprintf("pod-%d-%d", i, j)
			n.pods = append(n.pods, drain.Pod{
				Namespace: namespaceOf(i), Name: name, UID: types.UID(name), Node: nodeName(i), Ready: true, GracePeriodSeconds: 30,
				Labels: map[string]string{budgetLabel: budgetOfPod(name)},
			})
		}
		b.plan(i)
	}
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// namespaceOf has neighboring nodes share a namespace.
func namespaceOf(i int) string { return fmt.Sprintf("namespace-%d", i/podsOfBudget) }

// budgetOfPod has pods of neighboring nodes share a budget, as those of a Deployment do.
func budgetOfPod(pod string) string {
	var i, j int
	_, _ = fmt.Sscanf(pod, "pod-%d-%d", &i, &j) // it made the name itself
	return fmt.Sprintf("budget-%d-%d", i/podsOfBudget, j)
}

// plan plans a node anew.
func (b *burst) plan(i int) {
	b.mu.Lock()
	n := &b.nodes[i]
	n.planned = false
	in := drain.Input{Pods: slices.Clone(n.pods), Deadline: n.deadline, Earliest: b.start, Started: b.start, Now: time.Now()}
	b.mu.Unlock()
	in.Blockers = b.executor.Blockers(nodeName(i))
	b.executor.Set(nodeName(i), drain.NewPlan(in).Actions)
}

// onEvicted removes a pod, and has its node planned anew as the watch of its pods would.
func (b *burst) onEvicted(owner string, action drain.Action) {
	var i int
	_, _ = fmt.Sscanf(owner, "node-%d", &i) // it made the name itself
	b.mu.Lock()
	defer b.mu.Unlock()
	n := &b.nodes[i]
	n.pods = slices.DeleteFunc(n.pods, func(p drain.Pod) bool { return p.UID == action.Pod.UID })
	b.sent = append(b.sent, n.deadline)
	b.last = time.Now()
	if b.left--; b.left == 0 {
		close(b.done)
	}
	if !n.planned {
		n.planned = true
		time.AfterFunc(lookAfter, func() { b.plan(i) })
	}
}

// RoundTrip counts requests on their way to the model.
func (b *burst) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodPost {
		b.requests.Add(1)
	}
	b.mu.Lock()
	b.Goroutines = max(b.Goroutines, runtime.NumGoroutine())
	b.mu.Unlock()
	return b.model.RoundTrip(request)
}

// cordon cordons another node from time to time and measures how long that takes.
func (b *burst) cordon(ctx context.Context) {
	var took []time.Duration
	for ctx.Err() == nil {
		begins := time.Now()
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://model/api/v1/nodes/node", http.NoBody)
		if err != nil {
			return
		}
		if answer, err := b.model.RoundTrip(request); err == nil {
			_ = answer.Body.Close()
			took = append(took, time.Since(begins))
		}
		_ = wait(ctx, cordonEvery)
	}
	slices.Sort(took)
	b.Cordon = quantile(took, 0.95)
}

func (b *burst) createBudgets(budgets *modelBudgets) {
	for i := 0; i < b.Nodes; i += podsOfBudget {
		for j := range b.Pods {
			name := budgetOfPod(fmt.Sprintf("pod-%d-%d", i, j))
			budgets.Add(&policyv1.PodDisruptionBudget{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(i), Name: name, UID: types.UID(name)},
				Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{budgetLabel: name}}},
				Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: podsOfBudget, CurrentHealthy: podsOfBudget},
			})
		}
	}
}

// sumUp derives the results.
func (b *burst) sumUp() {
	b.Last = round(b.last.Sub(b.start).Seconds(), 2)
	b.Requests = round(float64(b.requests.Load())/float64(b.Nodes*b.Pods), 3)
	later := slices.Clone(b.model.samples[len(b.model.samples)/2:])
	slices.Sort(later)
	at := func(share float64) int { return later[int(share*float64(len(later)-1))] }
	b.Lowest, b.InFlight, b.Highest = at(0.05), at(0.5), at(0.95)
	late := 0
	var latest time.Time
	for _, deadline := range b.sent {
		if deadline.Before(latest) {
			late++
		} else {
			latest = deadline
		}
	}
	b.Late = round(float64(late)/float64(len(b.sent)), 4)
}

// modelBudgets are the budgets that the executor watches.
type modelBudgets struct{ *controllertest.FakeInformer }

// GetInformer implements drain.ExecutorOptions.Budgets.
func (m *modelBudgets) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return m.FakeInformer, nil
}

// heap returns how much is allocated that is in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
