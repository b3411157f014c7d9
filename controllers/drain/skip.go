// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// podFilter divides pods into those to evict and those to keep.
type podFilter struct {
	skip              skipRules
	honorsAnnotations bool
}

// newPodFilter returns the filter of a policy. It fails if the policy's skip rules cannot be read.
func newPodFilter(drain *v1alpha1.DrainSpec) (podFilter, error) {
	skip, err := newSkipRules(drain.SkipRules())
	return podFilter{skip: skip, honorsAnnotations: drain.HonorsPodAnnotations()}, err
}

// keeps reports whether a pod may stay although it is running.
func (f *podFilter) keeps(pod *Pod) bool {
	return pod.Mirror || pod.DaemonSet || (f.honorsAnnotations && pod.Preferences.anyOf(PreferSkip)) || f.skip.match(pod)
}

// PodsToEvict returns the pods that have to leave the node, by name, without the preferences
// that the policy does not honor. It fails if the policy's skip rules cannot be read.
func PodsToEvict(pods []Pod, drain *v1alpha1.DrainSpec) ([]Pod, error) {
	filter, err := newPodFilter(drain)
	if err != nil {
		return nil, err
	}
	var evict []Pod
	for _, pod := range pods {
		if pod.Finished || filter.keeps(&pod) {
			continue
		}
		if !filter.honorsAnnotations {
			pod.Preferences = 0
		}
		evict = append(evict, pod)
	}
	slices.SortFunc(evict, byName)
	return evict, nil
}

// PodsToKeep returns the pods that go on running on a node that is drained: DaemonSet
// and mirror pods, and those that the policy or their annotation skips. It fails
// only if the policy's skip rules cannot be read.
func PodsToKeep(pods []Pod, drain *v1alpha1.DrainSpec) ([]Pod, error) {
	filter, err := newPodFilter(drain)
	if err != nil {
		return nil, err
	}
	var kept []Pod
	for i := range pods {
		if !pods[i].Finished && filter.keeps(&pods[i]) {
			kept = append(kept, pods[i])
		}
	}
	return kept, nil
}

// skipRule is a policy's rule for pods that stay on the node.
type skipRule struct {
	namespaces []string
	selector   labels.Selector
}

type skipRules []skipRule

// newSkipRules parses the rules' selectors. It fails if one cannot be read.
func newSkipRules(rules []v1alpha1.PodRule) (skipRules, error) {
	skip := make(skipRules, len(rules))
	for i, rule := range rules {
		selector, err := rule.PodSelector.Selector()
		if err != nil {
			return nil, fmt.Errorf("drain.skip[%d].podSelector: %w", i, err)
		}
		skip[i] = skipRule{namespaces: rule.Namespaces, selector: selector}
	}
	return skip, nil
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
