// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// kinds are all kinds of event.
var kinds = []v1alpha1.EventKind{
	v1alpha1.SpotInterruption, v1alpha1.RebalanceRecommendation, v1alpha1.ScheduledMaintenance,
	v1alpha1.AutoScalingTermination, v1alpha1.InstanceStateChange, v1alpha1.CapacityReservationInterruption,
}

func TestTaintKey(t *testing.T) {
	for kind, want := range map[v1alpha1.EventKind]string{
		v1alpha1.SpotInterruption:                "nodetermination.dev/spot-interruption",
		v1alpha1.RebalanceRecommendation:         "nodetermination.dev/rebalance-recommendation",
		v1alpha1.ScheduledMaintenance:            "nodetermination.dev/scheduled-maintenance",
		v1alpha1.AutoScalingTermination:          "nodetermination.dev/auto-scaling-termination",
		v1alpha1.InstanceStateChange:             "nodetermination.dev/instance-state-change",
		v1alpha1.CapacityReservationInterruption: "nodetermination.dev/capacity-reservation-interruption",
	} {
		if got := v1alpha1.TaintKey(kind); got != want {
			t.Errorf("TaintKey(%s) = %s, want %s", kind, got, want)
		}
	}
	for _, kind := range kinds {
		if problems := validation.IsQualifiedName(v1alpha1.TaintKey(kind)); len(problems) > 0 {
			t.Errorf("TaintKey(%s) is no taint's key: %s", kind, problems)
		}
	}
}

func TestEventFieldManager(t *testing.T) {
	if got, want := v1alpha1.EventFieldManager("a"), "nto-a"; got != want {
		t.Errorf("EventFieldManager(a) = %s, want %s", got, want)
	}
	// The API server takes field managers of up to 128 characters, and the CRD ids of up to 64.
	if got := len(v1alpha1.EventFieldManager(strings.Repeat("a", 64))); got > 128 {
		t.Errorf("the field manager of the longest id has %d characters", got)
	}
}

func TestNTHTaintKey(t *testing.T) {
	for kind, want := range map[v1alpha1.EventKind]string{
		v1alpha1.SpotInterruption: "aws-node-termination-handler/spot-itn", v1alpha1.InstanceStateChange: "aws-node-termination-handler/spot-itn",
		v1alpha1.ScheduledMaintenance:    "aws-node-termination-handler/scheduled-maintenance",
		v1alpha1.AutoScalingTermination:  "aws-node-termination-handler/asg-lifecycle-termination",
		v1alpha1.RebalanceRecommendation: "aws-node-termination-handler/rebalance-recommendation",
		v1alpha1.Manual:                  "nodetermination.dev/manual",
	} {
		if got := v1alpha1.NTHTaintKey(kind); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}
