// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// budget is what has to be known of a PodDisruptionBudget. It only saves
// requests that would be refused: what counts is the API server's answer.
type budget struct {
	namespace, name string
	uid             types.UID
	generation      int64
	selector        labels.Selector
	evictUnready    bool // unhealthyPodEvictionPolicy is AlwaysAllow
	status          policyv1.PodDisruptionBudgetStatus
}

// budgets are all disruption budgets, by namespace and name.
type budgets map[string]map[string]*budget

// set stores a budget as it is now. It returns it, and whether it may have
// begun or ceased to select pods.
func (b budgets) set(pdb *policyv1.PodDisruptionBudget) (*budget, bool) {
	known := b[pdb.Namespace][pdb.Name]
	if known == nil {
		known = &budget{namespace: pdb.Namespace, name: pdb.Name}
		if b[pdb.Namespace] == nil {
			b[pdb.Namespace] = map[string]*budget{}
		}
		b[pdb.Namespace][pdb.Name] = known
	}
	known.status = pdb.Status
	known.status.DisruptedPods = nil
	if known.selector != nil && known.uid == pdb.UID && known.generation == pdb.Generation {
		return known, false
	}
	// policy/v1: a nil selector selects no pod, an empty one every pod. The API
	// server passes over budgets with a selector that it cannot read.
	selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if err != nil {
		selector = labels.Nothing()
	}
	known.uid, known.generation, known.selector = pdb.UID, pdb.Generation, selector
	policy := pdb.Spec.UnhealthyPodEvictionPolicy
	known.evictUnready = policy != nil && *policy == policyv1.AlwaysAllow
	return known, true
}

// remove forgets a budget and returns it, nil if it was not known.
func (b budgets) remove(namespace, name string) *budget {
	known := b[namespace][name]
	delete(b[namespace], name)
	if len(b[namespace]) == 0 {
		delete(b, namespace)
	}
	return known
}

// selecting returns the budgets that select a pod, by name.
func (b budgets) selecting(pod *Pod) []*budget {
	var budgets []*budget
	for _, budget := range b[pod.Namespace] {
		if budget.selector.Matches(labels.Set(pod.Labels)) {
			budgets = append(budgets, budget)
		}
	}
	slices.SortFunc(budgets, func(a, b *budget) int { return strings.Compare(a.name, b.name) })
	return budgets
}

// observed reports whether the status is about the spec; until then every eviction is refused.
func (b *budget) observed() bool {
	return b.status.ObservedGeneration >= b.generation
}

// blockReason returns why the API server would refuse to evict a pod that is ready, or
// one that is not; empty if it might not.
func (b *budget) blockReason(ready bool) string {
	status := &b.status
	switch {
	case !b.observed() || status.DisruptionsAllowed > 0:
		return ""
	case !ready && (b.evictUnready || (status.CurrentHealthy >= status.DesiredHealthy && status.DesiredHealthy > 0)):
		return ""
	}
	condition := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	if condition != nil && condition.Reason == policyv1.SyncFailedReason {
		return fmt.Sprintf("%s: cannot be computed: %s", b, condition.Message)
	}
	return fmt.Sprintf("%s: needs %d healthy pods and has %d currently", b, status.DesiredHealthy, status.CurrentHealthy)
}

// String returns how reasons name the budget.
func (b *budget) String() string {
	return "budget " + b.namespace + "/" + b.name
}
