// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// podFilter divides pods into those to evict and those to keep.
type podFilter struct {
	skip              skipRules
	honorsAnnotations bool
}

// newPodFilter returns the filter of a policy.
func newPodFilter(drain *v1alpha1.DrainSpec) podFilter {
	return podFilter{skip: newSkipRules(drain.SkipRules()), honorsAnnotations: drain.HonorsPodAnnotations()}
}

// keeps reports whether a pod may stay although it is running.
func (f *podFilter) keeps(pod *Pod) bool {
	return pod.Mirror || pod.DaemonSet || (f.honorsAnnotations && pod.Preferences.anyOf(PreferSkip)) || f.skip.match(pod)
}

// PodsToEvict returns the pods that have to leave the node, by name, without the preferences
// that the policy does not honor.
func PodsToEvict(pods []Pod, drain *v1alpha1.DrainSpec) []Pod {
	filter := newPodFilter(drain)
	evict := make([]Pod, 0, len(pods))
	for i := range pods {
		if pods[i].Finished || filter.keeps(&pods[i]) {
			continue
		}
		evict = append(evict, pods[i])
		if !filter.honorsAnnotations {
			evict[len(evict)-1].Preferences = 0
		}
	}
	slices.SortFunc(evict, byName)
	return evict
}

// PodsToKeep returns the pods that go on running on a node that is drained: DaemonSet
// and mirror pods, and those that the policy or their annotation skips.
func PodsToKeep(pods []Pod, drain *v1alpha1.DrainSpec) []Pod {
	filter := newPodFilter(drain)
	var kept []Pod
	for i := range pods {
		if !pods[i].Finished && filter.keeps(&pods[i]) {
			kept = append(kept, pods[i])
		}
	}
	return kept
}

// KeptBecause returns why a pod is one of PodsToKeep; empty if it is not.
func KeptBecause(pod *Pod, drain *v1alpha1.DrainSpec) string {
	filter := newPodFilter(drain)
	switch {
	case !filter.keeps(pod):
		return ""
	case pod.Mirror:
		return "mirror pod: the kubelet runs it"
	case pod.DaemonSet:
		return "pod of a DaemonSet"
	case filter.honorsAnnotations && pod.Preferences.anyOf(PreferSkip):
		return "skipped by its annotation " + v1alpha1.AnnotationDrain + `: "skip"`
	default:
		return "skipped by spec.drain.skip"
	}
}

// skipRule is a policy's rule for pods that stay on the node.
type skipRule struct {
	namespaces []string
	selector   labels.Selector
}

type skipRules []skipRule

// newSkipRules parses the rules' selectors. A rule whose selector cannot be read skips
// nothing: pods that nobody meant to skip would stay until the instance takes them down, and
// the policy's status says what is wrong with it. The API server refuses it, so that it can
// only come from before it did.
func newSkipRules(rules []v1alpha1.PodRule) skipRules {
	var skip skipRules
	for _, rule := range rules {
		if selector, err := rule.PodSelector.Selector(); err == nil {
			skip = append(skip, skipRule{namespaces: rule.Namespaces, selector: selector})
		}
	}
	return skip
}

// match reports whether one of the rules selects the pod. An empty rule selects none:
// it is refused by the API server, and could only come from before it was.
func (s skipRules) match(pod *Pod) bool {
	return slices.ContainsFunc(s, func(rule skipRule) bool {
		if len(rule.namespaces) == 0 && rule.selector.Empty() {
			return false
		}
		return (len(rule.namespaces) == 0 || slices.Contains(rule.namespaces, pod.Namespace)) &&
			rule.selector.Matches(labels.Set(pod.Labels))
	})
}
