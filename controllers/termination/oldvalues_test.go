// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestRenameOldValues(t *testing.T) {
	status := v1alpha1.NodeTerminationStatus{
		PodOutcomes:    []v1alpha1.PodOutcome{{Name: "a", Outcome: "Left"}, {Name: "b", Outcome: v1alpha1.PodCutShort}},
		LifecycleHooks: []v1alpha1.HookStatus{{Name: "a", State: "Left"}, {Name: "b", State: v1alpha1.HookEnded}},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionLifecycleHookCompleted, Reason: "Left"},
			{Type: v1alpha1.ConditionReady, Reason: "Left"},
		},
	}
	renameOldValues(&status)
	want := v1alpha1.NodeTerminationStatus{
		PodOutcomes:    []v1alpha1.PodOutcome{{Name: "a", Outcome: v1alpha1.PodRemaining}, {Name: "b", Outcome: v1alpha1.PodCutShort}},
		LifecycleHooks: []v1alpha1.HookStatus{{Name: "a", State: v1alpha1.HookIgnored}, {Name: "b", State: v1alpha1.HookEnded}},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionLifecycleHookCompleted, Reason: v1alpha1.ReasonHookIgnored},
			{Type: v1alpha1.ConditionReady, Reason: "Left"},
		},
	}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Error(diff)
	}
}
