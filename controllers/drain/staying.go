// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// leaver tells pods that have to go from those that may stay.
type leaver struct {
	skip   skipRules
	honors bool // what pods ask for
}

// newLeaver fails if the policy's skip rules cannot be read.
func newLeaver(drain *v1alpha1.DrainSpec) (leaver, error) {
	skip, err := newSkipRules(drain.SkipRules())
	return leaver{skip: skip, honors: drain.HonorsPodAnnotations()}, err
}

// stays is whether a pod may stay although it is running.
func (l *leaver) stays(pod *Pod) bool {
	return pod.Mirror || pod.DaemonSet || (l.honors && pod.Asks.anyOf(AsksSkip)) || l.skip.match(*pod)
}

// PodsToEvict returns the pods that have to go, by name, and ask for nothing that the
// policy does not honour. It fails if the policy's skip rules cannot be read.
func PodsToEvict(pods []Pod, drain *v1alpha1.DrainSpec) ([]Pod, error) {
	l, err := newLeaver(drain)
	if err != nil {
		return nil, err
	}
	var left []Pod
	for _, pod := range pods {
		if pod.Finished || l.stays(&pod) {
			continue
		}
		if !l.honors {
			pod.Asks = 0
		}
		left = append(left, pod)
	}
	slices.SortFunc(left, byName)
	return left, nil
}

// PodsToKeep returns the pods that go on running on a node that is drained: DaemonSet
// and mirror pods, and those that the policy or their annotation skips. It fails
// only if the policy's skip rules cannot be read.
func PodsToKeep(pods []Pod, drain *v1alpha1.DrainSpec) ([]Pod, error) {
	l, err := newLeaver(drain)
	if err != nil {
		return nil, err
	}
	var staying []Pod
	for i := range pods {
		if !pods[i].Finished && l.stays(&pods[i]) {
			staying = append(staying, pods[i])
		}
	}
	return staying, nil
}

// skipRule is a policy's rule for pods that stay on the node.
type skipRule struct {
	namespaces []string
	selector   labels.Selector
}

type skipRules []skipRule

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

// match is whether one of the rules takes the pod. An empty rule takes none:
// it is refused by the API server, and could only come from before it was.
func (s skipRules) match(pod Pod) bool {
	return slices.ContainsFunc(s, func(rule skipRule) bool {
		if len(rule.namespaces) == 0 && rule.selector.Empty() {
			return false
		}
		return (len(rule.namespaces) == 0 || slices.Contains(rule.namespaces, pod.Namespace)) &&
			rule.selector.Matches(labels.Set(pod.Labels))
	})
}
