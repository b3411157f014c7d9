// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// gauges have what the status of every policy said at the last reconcile. Policies that are
// gone are not in it.
var gauges policyGauges

func init() {
	metrics.Registry.MustRegister(&gauges)
}

var sourceUpDesc = prometheus.NewDesc("node_termination_source_up",
	"Whether a policy's source is up: 1 or 0, as the policy's status says. Only the leader reports it.", []string{"policy", "source"}, nil)

var nodesDesc = prometheus.NewDesc("node_termination_policy_nodes",
	"Nodes that a policy governs. Only the leader reports it.", []string{"policy"}, nil)

// policyGauges are gauges of which all values change at one moment, so that no
// scrape finds half of them.
type policyGauges struct {
	values atomic.Pointer[[]prometheus.Metric]
}

// set replaces all values by what the policies' statuses say.
func (g *policyGauges) set(policies []v1alpha1.NodeTerminationPolicy) {
	var values []prometheus.Metric
	for i := range policies {
		nodes := float64(ptr.Deref(policies[i].Status.Nodes, 0))
		values = append(values, prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, nodes, policies[i].Name))
		for _, source := range policies[i].Status.Sources {
			up := 0.0
			if *source.Ready {
				up = 1
			}
			values = append(values, prometheus.MustNewConstMetric(sourceUpDesc, prometheus.GaugeValue, up, policies[i].Name, source.Name))
		}
	}
	g.values.Store(&values)
}

// Describe implements prometheus.Collector.
func (g *policyGauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- sourceUpDesc
	descs <- nodesDesc
}

// Collect implements prometheus.Collector.
func (g *policyGauges) Collect(to chan<- prometheus.Metric) {
	if values := g.values.Load(); values != nil {
		for _, value := range *values {
			to <- value
		}
	}
}
