// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// requestsTotal counts what became of the requests that tell pods to go. Its
// results are the values of outcome.
var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_evictions_total",
	Help: "Requests to evict or delete a pod, by result: evicted, deleted, gone, blocked, budget_lagging, namespace_terminating, throttled, unreachable, timeout, conflict, refused or error.",
}, []string{"result"})

func init() {
	metrics.Registry.MustRegister(requestsTotal)
}
