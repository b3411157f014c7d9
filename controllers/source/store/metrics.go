// SPDX-License-Identifier: Apache-2.0

package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var eventsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_events_total",
	Help: "Events stored in NodeTerminations, by kind and source.",
}, []string{"kind", "source"})

func init() {
	metrics.Registry.MustRegister(eventsTotal)
}
