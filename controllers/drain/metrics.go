// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// requestsTotal counts requests that evict or delete pods. Its results are the
// values of outcome.
var requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_evictions_total",
	Help: "Requests to evict or delete a pod, by result: evicted, deleted, gone, blocked, budget_lagging, namespace_terminating, throttled, unreachable, timeout, conflict, refused or error.",
}, []string{"result"})

// cutShortTotal counts the pods that a deadline has cut short. Its reasons
// are cutByBudget and those after it.
var cutShortTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_pods_cut_short_total",
	Help: "Pods that were evicted or deleted with less than they are entitled to because of a deadline, by why: budget (deleted past a disruption budget), refused (deleted although the API server refused their eviction for another reason) or grace (a shorter grace period than their own or the policy's).",
}, []string{"why"})

func init() {
	metrics.Registry.MustRegister(requestsTotal, cutShortTotal)
	// All begin at zero, so that a rate includes the first one.
	for _, result := range []outcome{
		evicted, deleted, gone, blocked, lagging, namespaceTerminating, throttled, unreachable, timeout, conflict, refused, failed,
	} {
		requestsTotal.WithLabelValues(string(result))
	}
	for _, why := range []string{cutByBudget, cutByRefusal, cutByGrace} {
		cutShortTotal.WithLabelValues(why)
	}
}

// count counts a request by its answer, and its pod if that is cut short.
func count(action *Action, sent time.Time, result outcome) {
	requestsTotal.WithLabelValues(string(result)).Inc()
	if why := action.CutShort(sent); why != "" && (result == evicted || result == deleted) {
		cutShortTotal.WithLabelValues(why).Inc()
	}
}
