// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// terminations are counted each time that they are asked for.
var terminations census

func init() {
	metrics.Registry.MustRegister(&terminations)
}

// census tells of the NodeTerminations that there are, from the cache of the
// replica that leads: nothing is asked for and nothing drifts.
type census struct {
	from atomic.Pointer[population]
}

// of says what to count from now on.
func (c *census) of(cache client.Reader, clock clock.PassiveClock, elected <-chan struct{}) {
	c.from.Store(&population{cache, clock, elected})
}

// population is what a census counts.
type population struct {
	client  client.Reader
	clock   clock.PassiveClock
	elected <-chan struct{}
}

var (
	statesDesc = prometheus.NewDesc("node_termination_terminations",
		"NodeTerminations that there are, by state. Those that have ended are kept for a while. Only the leader tells.", []string{"state"}, nil)
	overdueDesc = prometheus.NewDesc("node_termination_drains_overdue",
		"NodeTerminations that have not ended although their deadline has passed and pods are still there. Only the leader tells.", nil, nil)
	blockedDesc = prometheus.NewDesc("node_termination_blocked_pods",
		"Pods that have to go and that cannot be evicted now, because of a disruption budget or an annotation. Only the leader tells.", nil, nil)
	failingDesc = prometheus.NewDesc("node_termination_lifecycle_hooks_failing",
		"Lifecycle hooks that wait, and whose last call to Auto Scaling failed, or that could not be found. Only the leader tells.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *census) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{statesDesc, overdueDesc, blockedDesc, failingDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *census) Collect(to chan<- prometheus.Metric) {
	from := c.from.Load()
	if from == nil {
		return
	}
	select {
	case <-from.elected:
	default:
		return
	}
	var list v1alpha1.NodeTerminationList
	if err := from.client.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		to <- prometheus.NewInvalidMetric(statesDesc, err)
		return
	}
	states := map[string]int{}
	var overdue, blocked, failing int
	for i := range list.Items {
		status := &list.Items[i].Status
		states[cmp.Or(stateIn(status), v1alpha1.StateReceived)]++
		if status.CompletionTime == nil && status.Deadline != nil && status.Pods != nil &&
			ptr.Deref(status.Pods.Remaining, 0) > 0 && from.clock.Now().After(status.Deadline.Time) {
			overdue++
		}
		if status.CompletionTime == nil && status.Pods != nil {
			blocked += int(ptr.Deref(status.Pods.Blocked, 0))
		}
		failing += failingHooks(status, from.clock.Now())
	}
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for state := range outlooks {
		gauge(statesDesc, states[state], state)
	}
	gauge(overdueDesc, overdue)
	gauge(blockedDesc, blocked)
	gauge(failingDesc, failing)
}

// failingHooks are the hooks that wait and whose last call failed. One that could not
// be found is one of them, as long as it may be found.
func failingHooks(status *v1alpha1.NodeTerminationStatus, now time.Time) int {
	failing := 0
	for i := range status.LifecycleHooks {
		if hook := &status.LifecycleHooks[i]; hook.State == v1alpha1.HookWaiting && ptr.Deref(hook.Failures, 0) > 0 {
			failing++
		}
	}
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
	if len(status.LifecycleHooks) == 0 && condition != nil && condition.Reason == v1alpha1.ReasonHookFailing &&
		now.Before(condition.LastTransitionTime.Add(findHooksFor)) {
		failing++
	}
	return failing
}
