// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nodetermination/operator/hack/testcluster"
)

var cluster testcluster.Shared

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(cluster.Main(m))
}

// traffic counts the requests that pass through it.
type traffic struct {
	next http.RoundTripper

	mu       sync.Mutex
	requests map[string]int // by pod for evictions and deletes, else by method and kind
	results  map[int]int    // of evictions and deletes, by status code
	inFlight map[string]int // evictions, by the pod's name up to the first hyphen, and "all"
	most     map[string]int
}

func (t *traffic) RoundTrip(request *http.Request) (*http.Response, error) {
	path := strings.Split(strings.TrimPrefix(request.URL.Path, "/api/v1/namespaces/"), "/")
	if len(path) < 3 || request.Method == http.MethodGet {
		t.count("other")
		return t.next.RoundTrip(request)
	}
	app, _, _ := strings.Cut(path[2], "-")
	t.count(path[2])
	t.addInFlight(app, 1)
	defer t.addInFlight(app, -1)
	response, err := t.next.RoundTrip(request)
	if err == nil {
		t.mu.Lock()
		t.results[response.StatusCode]++
		t.mu.Unlock()
	}
	return response, err
}

func (t *traffic) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests[what]++
}

func (t *traffic) addInFlight(app string, change int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range []string{app, "all"} {
		t.inFlight[key] += change
		t.most[key] = max(t.most[key], t.inFlight[key])
	}
}

// sent returns how many requests were sent to evict or delete pods.
func (t *traffic) sent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := 0
	for pod, n := range t.requests {
		if pod != "other" {
			sent += n
		}
	}
	return sent
}

// fixture is a small operator: watcher, executor, and a loop that does what a
// reconciler does for each node.
type fixture struct {
	*testing.T
	traffic  *traffic
	client   corev1client.CoreV1Interface
	watcher  *PodWatcher
	executor *Executor
	changes  chan string

	mu    sync.Mutex
	nodes map[string]Input // Pods, Blockers and Now are filled in
	plans map[string]Plan
}

func newFixture(t *testing.T, config *rest.Config) *fixture {
	t.Helper()
	r := &fixture{
		T: t, changes: make(chan string, 10_000),
		traffic: &traffic{requests: map[string]int{}, results: map[int]int{}, inFlight: map[string]int{}, most: map[string]int{}},
		nodes:   map[string]Input{}, plans: map[string]Plan{},
	}
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		r.traffic.next = next
		return r.traffic
	}
	var err error
	if r.client, err = NewClient(config, nil); err != nil {
		t.Fatal(err)
	}
	budgets, err := cache.New(cluster.Get(t).Config(), cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	runUntilDone(t, budgets.Start)
	r.watcher = NewPodWatcher(r.client, r.notify)
	r.executor = NewExecutor(ExecutorOptions{Client: r.client, Budgets: budgets, StillExists: r.watcher.Has, Notify: r.notify})
	runUntilDone(t, r.watcher.Start)
	runUntilDone(t, r.executor.Start)
	runUntilDone(t, r.reconcile)
	return r
}

func (r *fixture) notify(node string) { r.changes <- node }

// drain begins to drain a node, or goes on with another deadline or policy.
func (r *fixture) drain(node string, in Input) {
	if in.Started.IsZero() {
		in.Started = time.Now()
	}
	r.mu.Lock()
	r.nodes[node] = in
	r.mu.Unlock()
	r.watcher.Watch(node)
	r.notify(node)
}

func (r *fixture) reconcile(ctx context.Context) error {
	var timers []*time.Timer
	defer func() {
		for _, timer := range timers {
			timer.Stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case node := <-r.changes:
			r.mu.Lock()
			in := r.nodes[node]
			r.mu.Unlock()
			pods, synced := r.watcher.Pods(node)
			if !synced {
				continue
			}
			in.Pods, in.Blockers, in.Now = pods, r.executor.Blockers(node), time.Now()
			plan := NewPlan(in)
			r.executor.Set(node, plan.Actions)
			if !plan.NextLook.IsZero() {
				timers = append(timers, time.AfterFunc(time.Until(plan.NextLook), func() {
					select {
					case <-ctx.Done():
					case r.changes <- node:
					}
				}))
			}
			r.mu.Lock()
			r.plans[node] = plan
			r.mu.Unlock()
		}
	}
}

func (r *fixture) plan(node string) Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plans[node]
}

// until waits until the node's plan is as it should be.
func (r *fixture) until(what, node string, condition func(Plan) bool) Plan {
	r.Helper()
	var plan Plan
	testcluster.Eventually(r, time.Minute, func() error {
		if plan = r.plan(node); !condition(plan) {
			return fmt.Errorf("%s: node %s has %+v, watch error %w", what, node, plan, r.watcher.Err(node))
		}
		return nil
	})
	return plan
}

func (r *fixture) untilDone(node string) {
	r.Helper()
	r.until("drained", node, func(plan Plan) bool { return plan.Done })
}

func (r *fixture) untilBlocked(node, reason string) {
	r.Helper()
	r.until("blocked", node, func(plan Plan) bool {
		return plan.Counts.Blocked > 0 && plan.Counts.Blocked == plan.Counts.Remaining-plan.Counts.Waiting &&
			strings.Contains(plan.Blocked[0].Reason, reason)
	})
}

// named gives pods names that begin with their app, and a label of it.
func named(app string, change ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.GenerateName = app + "-"
		pod.Labels = map[string]string{"app": app}
		for _, f := range change {
			f(pod)
		}
	}
}

func createBudget(t testing.TB, namespace, name, app string, minAvailable int) *policyv1.PodDisruptionBudget {
	t.Helper()
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt(minAvailable)), Selector: matching("app", app)},
	}
	if err := cluster.Get(t).Client().Create(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	return budget
}

// untilCounted waits until the disruption controller has counted a budget's pods.
func untilCounted(t testing.TB, budget *policyv1.PodDisruptionBudget, healthy int) {
	t.Helper()
	testcluster.Eventually(t, time.Minute, func() error {
		if err := cluster.Get(t).Client().Get(t.Context(), client.ObjectKeyFromObject(budget), budget); err != nil {
			return err
		}
		if budget.Status.ObservedGeneration < budget.Generation || int(budget.Status.CurrentHealthy) != healthy {
			return fmt.Errorf("status of budget %s: %+v", budget.Name, budget.Status)
		}
		return nil
	})
}
