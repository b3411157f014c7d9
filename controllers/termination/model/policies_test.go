// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func restartManager(w *world, _ *machine, r *rand.Rand) {
	w.downUntil = w.now.Add(pick(r, []time.Duration{0, 10 * time.Second, time.Minute, 10 * time.Minute}))
	w.at(w.downUntil, "the manager starts", w.restart)
	if w.downUntil.Equal(w.now) {
		w.happen()
	}
}

func restartWatcher(w *world, m *machine, r *rand.Rand) {
	delete(w.watchers, m.id)
	w.scheduleRead(m, time.Duration(r.IntN(30))*time.Second)
}

// addPolicy makes a policy that selects every worker.
func (w *world) addPolicy(name string) *v1alpha1.NodeTerminationPolicy {
	policy := v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"role": "worker"}}
	w.api.create(&policy)
	w.api.policies = append(w.api.policies, policy)
	w.policiesSince = w.now
	return &w.api.policies[len(w.api.policies)-1]
}

func addPolicy(w *world, _ *machine, r *rand.Rand) {
	if len(w.api.policies) > 2 {
		return
	}
	w.made++
	policy := w.addPolicy(fmt.Sprintf("policy-%c-%d", 'a'+rune(r.IntN(26)), w.made))
	policy.Spec.Priority = ptr.To(int32(r.IntN(2)))
	if r.IntN(2) == 0 {
		policy.Spec.Mode = v1alpha1.ModeDryRun
	}
}

// anyPolicy returns one of the policies; nil if there is none.
func (w *world) anyPolicy(r *rand.Rand) *v1alpha1.NodeTerminationPolicy {
	if len(w.api.policies) == 0 {
		return nil
	}
	return &w.api.policies[r.IntN(len(w.api.policies))]
}

func editPolicy(w *world, _ *machine, r *rand.Rand) {
	policy := w.anyPolicy(r)
	if policy == nil {
		return
	}
	kind := pick(r, []v1alpha1.EventKind{v1alpha1.RebalanceRecommendation, v1alpha1.SpotInterruption, v1alpha1.ScheduledMaintenance, v1alpha1.InstanceStateChange})
	rule := v1alpha1.EventRule{Kind: kind, Action: pick(r, []v1alpha1.EventAction{v1alpha1.ActionCordonAndDrain, v1alpha1.ActionCordonAndDrain, v1alpha1.ActionCordon, v1alpha1.ActionIgnore})}
	if kind == v1alpha1.ScheduledMaintenance {
		rule.StartBeforeSeconds = ptr.To(int32(7200))
	}
	policy.Spec.Events = []v1alpha1.EventRule{rule}
	w.policyChanged(policy)
}

// policyChanged writes a policy.
func (w *world) policyChanged(policy *v1alpha1.NodeTerminationPolicy) {
	policy.Generation++
	w.api.write(policy)
	w.policiesSince = w.now
	for _, m := range w.machines {
		w.wake[m.id] = w.now
	}
}

func renamePolicy(w *world, _ *machine, r *rand.Rand) {
	if policy := w.anyPolicy(r); policy != nil {
		w.made++
		policy.Name = fmt.Sprintf("policy-%c-%d", 'a'+rune(r.IntN(26)), w.made)
		w.api.create(policy)
		w.policyChanged(policy)
	}
}

func dryRun(w *world, _ *machine, r *rand.Rand) {
	policy := w.anyPolicy(r)
	if policy == nil {
		return
	}
	if policy.Spec.Mode == v1alpha1.ModeDryRun {
		policy.Spec.Mode = v1alpha1.ModeEnforce
	} else {
		policy.Spec.Mode = v1alpha1.ModeDryRun
	}
	w.policyChanged(policy)
}

func deletePolicy(w *world, _ *machine, r *rand.Rand) {
	if len(w.api.policies) > 0 {
		i := r.IntN(len(w.api.policies))
		w.api.policies = append(w.api.policies[:i:i], w.api.policies[i+1:]...)
		w.api.version++
		w.policiesSince = w.now
	}
}
