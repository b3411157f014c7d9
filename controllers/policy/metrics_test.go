// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// up returns the gauge of a policy's source; false: there is none.
func up(t *testing.T, policy, source string) (value float64, found bool) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); family.GetName() == "node_termination_source_up" &&
				labels[0].GetValue() == policy && labels[1].GetValue() == source {
				return metric.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

func TestSourceUpGoesWithItsPolicy(t *testing.T) {
	newNodes(t, 1)
	policy := applyIMDS(t, "gauge")
	untilSource(t, policy, watchersReady(1))
	eventually(t, func() error {
		if value, found := up(t, policy.Name, "metadata"); !found || value != 1 {
			return fmt.Errorf("the source is up: %v, found %t", value, found)
		}
		return nil
	})
	if got := testutil.CollectAndCount(&gauges, "node_termination_policy_nodes"); got == 0 {
		t.Error("the nodes that policies govern are not counted")
	}
	change(t, policy, func() { policy.Spec.Sources[0].Name = "other" })
	eventually(t, func() error {
		if _, found := up(t, policy.Name, "metadata"); found {
			return fmt.Errorf("a source that is gone is still reported")
		}
		if _, found := up(t, policy.Name, "other"); !found {
			return fmt.Errorf("a source is not reported")
		}
		return nil
	})
	if err := admin(t).Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, found := up(t, policy.Name, "other"); found {
			return fmt.Errorf("a policy that is gone is still reported")
		}
		return nil
	})
}
