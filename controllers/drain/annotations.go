// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"strings"
	"time"

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

// Asks is the set of what a pod asks for by its annotations.
type Asks uint8

// What a pod can ask for.
const (
	// AsksSkip is to be left on the node: nodetermination.dev/drain is "skip".
	AsksSkip Asks = 1 << iota
	// AsksLast is to go after the policy's waves: it is "last".
	AsksLast
	// AsksCompletion is to finish by itself: it is "wait-for-completion".
	AsksCompletion
	// AsksNoDisruption is not to be told to go: karpenter.sh/do-not-disrupt is "true".
	AsksNoDisruption
	// AsksNoEviction is the same: cluster-autoscaler.kubernetes.io/safe-to-evict is "false".
	AsksNoEviction
	// AsksUnknown is nothing that is understood: nodetermination.dev/drain has another value.
	AsksUnknown

	// asksToBeKept are the wishes that are granted until blocked pods are deleted.
	asksToBeKept = AsksCompletion | AsksNoDisruption | AsksNoEviction
)

// newAsks reads a pod's annotations.
func newAsks(annotations map[string]string) Asks {
	var asks Asks
	if value, found := annotations[v1alpha1.AnnotationDrain]; found {
		switch value {
		case "skip":
			asks |= AsksSkip
		case "last":
			asks |= AsksLast
		case "wait-for-completion":
			asks |= AsksCompletion
		default:
			asks |= AsksUnknown
		}
	}
	if annotations[doNotDisrupt] == "true" {
		asks |= AsksNoDisruption
	}
	if annotations[safeToEvict] == "false" {
		asks |= AsksNoEviction
	}
	return asks
}

// anyOf is whether it asks for one of these.
func (a Asks) anyOf(wishes Asks) bool {
	return a&wishes != 0
}

// keptBy says which annotations keep a pod.
func (a Asks) keptBy() string {
	var annotations []string
	for _, keeps := range []struct {
		wish       Asks
		annotation string
		value      string
	}{
		{AsksCompletion, v1alpha1.AnnotationDrain, "wait-for-completion"},
		{AsksNoDisruption, doNotDisrupt, "true"},
		{AsksNoEviction, safeToEvict, "false"},
	} {
		if a.anyOf(keeps.wish) {
			annotations = append(annotations, fmt.Sprintf("%s: %q", keeps.annotation, keeps.value))
		}
	}
	return "kept by its annotation " + strings.Join(annotations, " and ")
}

// kept is whether a pod that asks for it is not told to go yet. Where blocked
// pods are never deleted it never is; nothing is kept on a dead node.
func (in *Input) kept(pod *Pod) bool {
	if in.NodeDead || !pod.Asks.anyOf(asksToBeKept) {
		return false
	}
	from, ends := in.deletesFrom()
	return !ends || in.Now.Before(from)
}

// keptReason says why a pod is kept, and for how long.
func (in *Input) keptReason(pod *Pod) string {
	if until, ends := in.deletesFrom(); ends {
		return pod.Asks.keptBy() + " until " + until.UTC().Format(time.RFC3339)
	}
	return pod.Asks.keptBy()
}

// misspelt is added to the reason of a pod whose annotation is not understood:
// whoever wrote it meant to ask for something.
const misspelt = "; its annotation " + v1alpha1.AnnotationDrain + " is ignored: it has to be skip, last or wait-for-completion"
