// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var messagesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_queue_messages_total",
	Help: "Messages taken from SQS queues, each time they are, by what became of them: " +
		"stored, known (received before), passed, not_governed, stale, nothing_to_end and discarded ones are deleted, " +
		"waiting (adopted lifecycle hook), retained (unknown instance), other_cluster (an instance of another cluster), not_governed_yet (node younger than five minutes), " +
		"failed and full (too many events) ones given back, " +
		"unreadable ones left alone.",
}, []string{"outcome"})

var lagSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "node_termination_queue_lag_seconds",
	Help:    "Time from the sending of an SQS message, its SentTimestamp, to the storing of all that it says.",
	Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900},
})

var unreadEntitiesTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "node_termination_queue_unreadable_entities_total",
	Help: "Entities of SQS messages that cannot be read, in messages that say something about other instances, which is stored.",
})

func init() {
	metrics.Registry.MustRegister(messagesTotal, lagSeconds, unreadEntitiesTotal)
	for o := skipped; o <= unreadable; o++ {
		messagesTotal.WithLabelValues(o.String()) // zero from the start, so that a rate sees the first one
	}
}
