// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Annotations of other tools that keep a pod where it is.
const (
	// doNotDisrupt keeps a pod if it is "true".
	// https://karpenter.sh/docs/concepts/disruption/#pod-level-controls
	doNotDisrupt = "karpenter.sh/do-not-disrupt"
	// safeToEvict keeps a pod if it is "false".
	// https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
	safeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
)

// Preferences is the set of preferences that a pod states by its annotations.
type Preferences uint8

// The preferences that a pod can state.
const (
	// PreferSkip is to be left on the node: nodetermination.dev/drain is "skip".
	PreferSkip Preferences = 1 << iota
	// PreferLast is to be evicted after the policy's waves: it is "last".
	PreferLast
	// PreferCompletion is to finish by itself: it is "wait-for-completion".
	PreferCompletion
	// PreferNoDisruption is not to be evicted: karpenter.sh/do-not-disrupt is "true".
	PreferNoDisruption
	// PreferNoEviction is the same: cluster-autoscaler.kubernetes.io/safe-to-evict is "false".
	PreferNoEviction
	// PreferUnknown is nothing that is understood: nodetermination.dev/drain has another value.
	PreferUnknown

	// preferToStay are the preferences that keep a pod until blocked pods are deleted.
	preferToStay = PreferCompletion | PreferNoDisruption | PreferNoEviction
)

// newPreferences reads a pod's annotations.
func newPreferences(annotations map[string]string) Preferences {
	var preferences Preferences
	if value, found := annotations[v1alpha1.AnnotationDrain]; found {
		switch value {
		case "skip":
			preferences |= PreferSkip
		case "last":
			preferences |= PreferLast
		case "wait-for-completion":
			preferences |= PreferCompletion
		default:
			preferences |= PreferUnknown
		}
	}
	if annotations[doNotDisrupt] == "true" {
		preferences |= PreferNoDisruption
	}
	if annotations[safeToEvict] == "false" {
		preferences |= PreferNoEviction
	}
	return preferences
}

// anyOf reports whether one of the others is among the preferences.
func (p Preferences) anyOf(others Preferences) bool {
	return p&others != 0
}

// keptBy names the annotations that keep a pod.
func (p Preferences) keptBy() string {
	var annotations []string
	for _, keeps := range []struct {
		preference Preferences
		annotation string
		value      string
	}{
		{PreferCompletion, v1alpha1.AnnotationDrain, "wait-for-completion"},
		{PreferNoDisruption, doNotDisrupt, "true"},
		{PreferNoEviction, safeToEvict, "false"},
	} {
		if p.anyOf(keeps.preference) {
			annotations = append(annotations, fmt.Sprintf("%s: %q", keeps.annotation, keeps.value))
		}
	}
	return "kept by its annotation " + strings.Join(annotations, " and ")
}

// misspelt is added to the reason of a pod whose annotation is not understood:
// whoever wrote it meant to state a preference.
const misspelt = "; its annotation " + v1alpha1.AnnotationDrain + " is ignored: it has to be skip, last or wait-for-completion"
