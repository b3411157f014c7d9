// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// sourcesUp has every source of every policy at the last reconcile. Policies that are
// gone are not in it.
var sourcesUp sourceGauge

func init() {
	metrics.Registry.MustRegister(&sourcesUp)
}

var sourceUpDesc = prometheus.NewDesc("node_termination_source_up",
	"Whether a policy's source is up: 1 or 0, as the policy's status says. Only the leader reports it.", []string{"policy", "source"}, nil)

// sourceGauge is a gauge of which all values change at one moment, so that no
// scrape finds half of them.
type sourceGauge struct {
	values atomic.Pointer[[]prometheus.Metric]
}

// set replaces all values by what the policies' statuses say.
func (g *sourceGauge) set(policies []v1alpha1.NodeTerminationPolicy) {
	var values []prometheus.Metric
	for i := range policies {
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
func (g *sourceGauge) Describe(descs chan<- *prometheus.Desc) {
	descs <- sourceUpDesc
}

// Collect implements prometheus.Collector.
func (g *sourceGauge) Collect(to chan<- prometheus.Metric) {
	if values := g.values.Load(); values != nil {
		for _, value := range *values {
			to <- value
		}
	}
}
