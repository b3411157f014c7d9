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

var straysDesc = prometheus.NewDesc("node_termination_tagged_instances_without_node",
	"Running instances with a policy's instanceTag that are no node of this cluster, as EC2 said within five minutes; 0 without an instanceTag. Only the leader reports it, and only what EC2 has answered.",
	[]string{"policy"}, nil)

// policyGauges are gauges of which all values change at one moment, so that no
// scrape finds half of them.
type policyGauges struct {
	values atomic.Pointer[[]prometheus.Metric]
	// tags are the policies' instanceTags by their names, strays the instances with a tag that are no node.
	tags   atomic.Pointer[map[string]string]
	strays atomic.Pointer[map[string]int]
}

// set replaces all values by what the policies' statuses say.
func (g *policyGauges) set(policies []v1alpha1.NodeTerminationPolicy) {
	var values []prometheus.Metric
	tags := map[string]string{}
	for i := range policies {
		tags[policies[i].Name] = policies[i].Spec.InstanceTag
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
	g.tags.Store(&tags)
}

// Describe implements prometheus.Collector.
func (g *policyGauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- sourceUpDesc
	descs <- nodesDesc
	descs <- straysDesc
}

// Collect implements prometheus.Collector.
func (g *policyGauges) Collect(to chan<- prometheus.Metric) {
	if values := g.values.Load(); values != nil {
		for _, value := range *values {
			to <- value
		}
	}
	g.collectStrays(to)
}

// collectStrays collects the instances that are no node, by policy.
func (g *policyGauges) collectStrays(to chan<- prometheus.Metric) {
	tags, strays := g.tags.Load(), g.strays.Load()
	if tags == nil {
		return
	}
	for policy, tag := range *tags {
		n, counted := 0, tag == ""
		if !counted && strays != nil {
			n, counted = (*strays)[tag]
		}
		if counted {
			to <- prometheus.MustNewConstMetric(straysDesc, prometheus.GaugeValue, float64(n), policy)
		}
	}
}
