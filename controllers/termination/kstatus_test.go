// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// kstatus returns what Flux, and other tools built on cli-utils, make of the conditions.
// https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
func kstatus(nt *v1alpha1.NodeTermination) string {
	holds := func(kind string) bool { return meta.IsStatusConditionTrue(nt.Status.Conditions, kind) }
	switch {
	case nt.Status.ObservedGeneration != nt.Generation, holds(v1alpha1.ConditionReconciling):
		return "InProgress"
	case holds(v1alpha1.ConditionStalled):
		return "Failed"
	case holds(v1alpha1.ConditionReady):
		return "Current"
	}
	return "nothing"
}

func TestConditionsFollowKstatus(t *testing.T) {
	want := map[string]string{
		v1alpha1.StateReceived: "InProgress", v1alpha1.StateScheduled: "InProgress", v1alpha1.StateWaiting: "InProgress",
		v1alpha1.StateHeld: "InProgress", v1alpha1.StateDraining: "InProgress", v1alpha1.StateCompleting: "InProgress",
		v1alpha1.StateCordoned: "Current", v1alpha1.StateIgnored: "Current", v1alpha1.StateDryRun: "Current",
		v1alpha1.StateCompleted: "Current", v1alpha1.StateCancelled: "Current",
		v1alpha1.StateFailed: "Failed", v1alpha1.StateSuspended: "Failed", v1alpha1.StateNoPolicy: "Failed",
		v1alpha1.StatePolicyGone: "Failed", v1alpha1.StateRefused: "Failed",
	}
	if len(want) != len(readinessOf) {
		t.Errorf("%d states, want %d", len(readinessOf), len(want))
	}
	for state := range readinessOf {
		t.Run(state, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}}
			s.nt.Generation = 3
			s.setState(state, "a sentence")
			(&Reconciler{}).summarize(t.Context(), s)
			if got := kstatus(s.nt); got != want[state] {
				t.Errorf("%s, want %s", got, want[state])
			}
			s.err = errors.New("the API server is away")
			(&Reconciler{}).summarize(t.Context(), s)
			if got := kstatus(s.nt); got != "InProgress" {
				t.Errorf("%s with an error, want InProgress", got)
			}
			holds := 0
			for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				if meta.IsStatusConditionTrue(s.nt.Status.Conditions, kind) {
					holds++
				}
			}
			if holds != 1 {
				t.Errorf("%d of the conditions hold, want one: %+v", holds, s.nt.Status.Conditions)
			}
		})
	}
}
