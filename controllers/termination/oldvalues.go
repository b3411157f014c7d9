// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"github.com/nodetermination/operator/api/v1alpha1"
)

// oldValue is what earlier versions wrote for PodRemaining and for HookIgnored.
const oldValue = "Left"

// renameOldValues rewrites the values that earlier versions have stored in a status, so
// that nothing else has to know them.
func renameOldValues(status *v1alpha1.NodeTerminationStatus) {
	for i := range status.PodOutcomes {
		if outcome := &status.PodOutcomes[i].Outcome; *outcome == oldValue {
			*outcome = v1alpha1.PodRemaining
		}
	}
	for i := range status.LifecycleHooks {
		if state := &status.LifecycleHooks[i].State; *state == oldValue {
			*state = v1alpha1.HookIgnored
		}
	}
	for i := range status.Conditions {
		if condition := &status.Conditions[i]; condition.Type == v1alpha1.ConditionLifecycleHookCompleted && condition.Reason == oldValue {
			condition.Reason = v1alpha1.ReasonHookIgnored
		}
	}
}
