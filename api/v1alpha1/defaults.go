// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	"k8s.io/utils/ptr"
)

// What holds where a policy leaves a field out. Defaults live here and not in
// the CRD, so that a policy reads back as it was written.
const (
	defaultDrainTimeout      = 120 * time.Second
	defaultBlockedBefore     = 30 * time.Second
	defaultLastWaveReserve   = 30 * time.Second
	defaultRebalanceUncordon = time.Hour
	defaultStartBefore       = 24 * time.Hour
	defaultPollInterval      = 2 * time.Second
	// systemPriority is where the priorities reserved for Kubernetes' own pods begin.
	// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
	systemPriority = 2_000_000_000
)

func seconds(value *int32, unset time.Duration) time.Duration {
	if value == nil {
		return unset
	}
	return time.Duration(*value) * time.Second
}

func (s *NodeTerminationPolicySpec) rule(kind EventKind) *EventRule {
	for i := range s.Events {
		if s.Events[i].Kind == kind {
			return &s.Events[i]
		}
	}
	return nil
}

// ActionFor is what the policy does about a kind of event.
func (s *NodeTerminationPolicySpec) ActionFor(kind EventKind) EventAction {
	if rule := s.rule(kind); rule != nil {
		return rule.Action
	}
	if kind == RebalanceRecommendation {
		return ActionCordon
	}
	return ActionCordonAndDrain
}

// UncordonAfter is how long after an event of this kind a cordon without a
// drain is lifted; false means never.
func (s *NodeTerminationPolicySpec) UncordonAfter(kind EventKind) (time.Duration, bool) {
	rule := s.rule(kind)
	if rule != nil && rule.UncordonAfterSeconds != nil {
		return seconds(rule.UncordonAfterSeconds, 0), true
	}
	return defaultRebalanceUncordon, kind == RebalanceRecommendation
}

// StartBefore is how long before its notBefore a maintenance's drain begins.
func (s *NodeTerminationPolicySpec) StartBefore(kind EventKind) time.Duration {
	if rule := s.rule(kind); rule != nil {
		return seconds(rule.StartBeforeSeconds, defaultStartBefore)
	}
	return defaultStartBefore
}

// PollInterval is how often a watcher asks the metadata service.
func (s *IMDSSource) PollInterval() time.Duration {
	return seconds(s.PollIntervalSeconds, defaultPollInterval)
}

// Timeout is how long a drain without a hard deadline may take.
func (d *DrainSpec) Timeout() time.Duration {
	if d == nil {
		return defaultDrainTimeout
	}
	return seconds(d.TimeoutSeconds, defaultDrainTimeout)
}

// GracePeriodSeconds overrides the pods' own grace period; nil leaves it to them.
func (d *DrainSpec) GracePeriodSeconds() *int32 {
	if d == nil {
		return nil
	}
	return d.PodGracePeriodSeconds
}

// SkipRules are the rules for pods that stay on the node.
func (d *DrainSpec) SkipRules() []PodRule {
	if d == nil {
		return nil
	}
	return d.Skip
}

// WaveList is the waves in order; the last one takes every pod that is left.
func (d *DrainSpec) WaveList() []Wave {
	if d == nil || len(d.Waves) == 0 {
		return []Wave{{PriorityBelow: ptr.To[int32](systemPriority)}, {}}
	}
	return d.Waves
}

// Takes is whether a pod of this priority belongs to the wave, if no earlier wave takes it.
func (w *Wave) Takes(priority int32) bool {
	return w.PriorityBelow == nil || priority < *w.PriorityBelow
}

// Reserve is how long before a hard deadline the wave starts at the latest;
// zero leaves it waiting for the wave before.
func (w *Wave) Reserve() time.Duration {
	if w.PriorityBelow == nil {
		return seconds(w.ReserveSeconds, defaultLastWaveReserve)
	}
	return seconds(w.ReserveSeconds, 0)
}

// DeletesBlocked is whether pods that a budget still blocks are deleted, and how
// long before the hard deadline.
func (d *DrainSpec) DeletesBlocked() (before time.Duration, deletes bool) {
	if d == nil || d.BlockedPods == nil {
		return defaultBlockedBefore, true
	}
	return seconds(d.BlockedPods.BeforeSeconds, defaultBlockedBefore), d.BlockedPods.Action == BlockedDelete
}
