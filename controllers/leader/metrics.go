// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var leading = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "node_termination_leader",
	Help: "Whether this replica is the one that acts: 1 or 0.",
})

func init() {
	metrics.Registry.MustRegister(leading)
}

// NeedLeaderElection returns true: Start is called once this replica leads.
func (r *Replica) NeedLeaderElection() bool {
	return true
}

// Start reports in a metric that this replica leads, until ctx is done.
func (r *Replica) Start(ctx context.Context) error {
	leading.Set(1)
	<-ctx.Done()
	leading.Set(0)
	return nil
}
