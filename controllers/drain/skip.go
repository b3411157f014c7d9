// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/nodetermination/operator/api/v1alpha1"
)

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
