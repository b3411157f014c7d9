// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The defaults of fields that a policy leaves unset. They live here and not in the CRD,
// so that a policy reads back as it was written.
const (
	defaultDrainTimeout      = 120 * time.Second
	defaultLastWaveReserve   = 30 * time.Second
	defaultRebalanceUncordon = time.Hour
	// defaultStatusCheckUncordon is for alarms that are never said to be OK.
	defaultStatusCheckUncordon = 24 * time.Hour
	defaultStartBefore         = 24 * time.Hour
	defaultHold                = 24 * time.Hour
	defaultPollInterval        = 2 * time.Second
	defaultTTL                 = 24 * time.Hour
	// minTerminating is the least that a percentage in maxTerminating comes to.
	minTerminating = 3
	// systemPriority is where the priorities reserved for Kubernetes' own pods begin.
	// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
	systemPriority = 2_000_000_000
)

// defaultMaxTerminating is far more than what a drill of an Availability Zone comes to.
var defaultMaxTerminating = intstr.FromString("30%")

// defaultMaxUnhealthy is what a few bad hosts come to.
var defaultMaxUnhealthy = intstr.FromString("20%")

// managedNodeGroupHooks are the hooks that EKS completes by itself.
// https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
var managedNodeGroupHooks = []string{"Launch-LC-Hook", "Terminate-LC-Hook"}

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

// ActionFor returns what the policy does about a kind of event.
func (s *NodeTerminationPolicySpec) ActionFor(kind EventKind) EventAction {
	if rule := s.rule(kind); rule != nil {
		return rule.Action
	}
	if s.Action != "" {
		return s.Action
	}
	switch kind {
	case RebalanceRecommendation, InstanceStatusCheckFailed:
		return ActionCordon
	default:
		return ActionCordonAndDrain
	}
}

// UncordonAfter returns how long after an event of this kind a node that was only
// cordoned is uncordoned; false means never, as after a drain. An event that is ignored is
// over then, too.
func (s *NodeTerminationPolicySpec) UncordonAfter(kind EventKind) (time.Duration, bool) {
	if s.ActionFor(kind) == ActionCordonAndDrain {
		return 0, false
	}
	rule := s.rule(kind)
	if rule != nil && rule.UncordonAfterSeconds != nil {
		return seconds(rule.UncordonAfterSeconds, 0), true
	}
	switch kind {
	case RebalanceRecommendation:
		return defaultRebalanceUncordon, true
	case InstanceStatusCheckFailed:
		return defaultStatusCheckUncordon, true
	default:
		return 0, false
	}
}

// StartBefore returns how long before its deadline the drain for a kind of event begins; false
// if it begins as soon as it may.
func (s *NodeTerminationPolicySpec) StartBefore(kind EventKind) (time.Duration, bool) {
	rule := s.rule(kind)
	switch {
	case rule != nil && rule.StartBeforeSeconds != nil:
		return seconds(rule.StartBeforeSeconds, 0), true
	case kind == ScheduledMaintenance && len(s.WindowsFor(kind)) == 0:
		return defaultStartBefore, true
	default:
		return 0, false
	}
}

// WindowsFor returns when the drain for a kind of event may begin; none is at any time.
func (s *NodeTerminationPolicySpec) WindowsFor(kind EventKind) []Window {
	if rule := s.rule(kind); rule != nil {
		return rule.Windows
	}
	return nil
}

// HoldLimit returns how long a drain without a deadline is held at most.
func (d *DrainSpec) HoldLimit() time.Duration {
	if d == nil || d.Hold == nil {
		return defaultHold
	}
	return seconds(d.Hold.MaxSeconds, defaultHold)
}

// HoldReference returns the key of a ConfigMap that holds drains; nil for none.
func (d *DrainSpec) HoldReference() *KeyReference {
	if d == nil || d.Hold == nil {
		return nil
	}
	return d.Hold.ConfigMapKeyRef
}

// DryRun reports whether the policy changes nothing.
func (s *NodeTerminationPolicySpec) DryRun() bool {
	return s.Mode == ModeDryRun
}

// IdentifiesByName reports whether also nodes without a providerID are handled, whose instance
// EC2 finds by its private DNS name or IP address.
func (s *NodeTerminationPolicySpec) IdentifiesByName() bool {
	return s.NodeIdentity == NodeIdentityPrivateDNSName
}

// Suspended reports whether the policy's terminations stop where they are.
func (s *NodeTerminationPolicySpec) Suspended() bool {
	return ptr.Deref(s.Suspend, false)
}

// TerminatingLimit returns how many of so many nodes may receive an InstanceStateChange within
// five minutes before such messages are doubted.
func (s *NodeTerminationPolicySpec) TerminatingLimit(nodes int) int {
	return limitOf(ptr.Deref(s.MaxTerminating, defaultMaxTerminating), nodes, minTerminating)
}

// UnhealthyLimit returns how many of so many nodes may have an InstanceStatusCheckFailed at a
// time before nothing more is done for that kind of event.
func (s *NodeTerminationPolicySpec) UnhealthyLimit(nodes int) int {
	return limitOf(ptr.Deref(s.MaxUnhealthy, defaultMaxUnhealthy), nodes, 1)
}

// limitOf returns a number, or a percentage of the nodes, rounded up and at least so many.
func limitOf(limit intstr.IntOrString, nodes, least int) int {
	if limit.Type == intstr.Int {
		return limit.IntValue()
	}
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&limit, nodes, true)
	if err != nil {
		return least // the schema lets nothing else through
	}
	return max(least, scaled)
}

// TTL returns how long a NodeTermination that has ended is kept after its node is gone.
// It may be called on nil, for a NodeTermination without a policy.
func (s *NodeTerminationPolicySpec) TTL() time.Duration {
	if s == nil {
		return defaultTTL
	}
	return seconds(s.TTLSecondsAfterFinished, defaultTTL)
}

// EmitsEvents reports whether Kubernetes events are emitted, and with which
// annotations.
func (s *NodeTerminationPolicySpec) EmitsEvents() (annotations map[string]string, emits bool) {
	if s.KubernetesEvents == nil {
		return nil, true
	}
	return s.KubernetesEvents.Annotations, s.KubernetesEvents.Mode != KubernetesEventsDisabled
}

// ExcludesFromLoadBalancers reports whether a node is excluded from load balancers when
// its drain begins, and how long before the first pod is evicted.
func (s *NodeTerminationPolicySpec) ExcludesFromLoadBalancers() (delay time.Duration, excludes bool) {
	if s.Node == nil || s.Node.LoadBalancers != LoadBalancersExclude {
		return 0, false
	}
	return seconds(s.Node.LoadBalancerDelaySeconds, 0), true
}

// LoadBalancerWait returns how long after the node was excluded from load balancers the first pod is
// evicted if the instance is taken away so long after that: half of it at most.
func (s *NodeTerminationPolicySpec) LoadBalancerWait(left time.Duration) time.Duration {
	delay, _ := s.ExcludesFromLoadBalancers()
	return min(delay, left/2)
}

// DeclaresOutOfService reports whether the node of an instance that has stopped gets
// the out-of-service taint.
func (s *NodeTerminationPolicySpec) DeclaresOutOfService() bool {
	return s.Node != nil && s.Node.OutOfServiceTaint == OutOfServiceWhenStopped
}

// MaxWait returns how long a hook is kept waiting; zero means for the hook's own
// timeout.
func (h *LifecycleHookSpec) MaxWait() time.Duration {
	if h == nil {
		return 0
	}
	return seconds(h.MaxWaitSeconds, 0)
}

// CompletionDelay returns how long after the drain the hook is completed.
func (h *LifecycleHookSpec) CompletionDelay() time.Duration {
	if h == nil {
		return 0
	}
	return seconds(h.CompletionDelaySeconds, 0)
}

// AtTimeout returns what happens to a hook at its deadline if pods are still there.
func (h *LifecycleHookSpec) AtTimeout() OnTimeout {
	if h == nil || h.OnTimeout == "" {
		return OnTimeoutContinue
	}
	return h.OnTimeout
}

// Role returns the role of calls about hooks and instances; empty for the manager's own identity.
func (h *LifecycleHookSpec) Role() string {
	if h == nil {
		return ""
	}
	return h.RoleARN
}

// Only returns the names of the hooks that alone are completed; none if any is.
func (h *LifecycleHookSpec) Only() []string {
	if h == nil {
		return nil
	}
	return h.Names
}

// Ignores reports whether hooks of this name are not this operator's to complete: with
// names all others, else those in ignore.
func (h *LifecycleHookSpec) Ignores(name string) bool {
	switch {
	case len(h.Only()) > 0:
		return !slices.Contains(h.Names, name)
	case h == nil || h.Ignore == nil:
		return slices.Contains(managedNodeGroupHooks, name)
	}
	return slices.Contains(h.Ignore, name)
}

// Adopts reports whether the policy completes this hook although none of its nodes
// waits there.
func (h *LifecycleHookSpec) Adopts(group, name string) bool {
	return h != nil && slices.Contains(h.Adopt, AdoptedHook{AutoScalingGroupName: group, Name: name})
}

// HeartbeatInterval returns the time between heartbeats for a hook with this heartbeat
// timeout; zero means that none are sent.
func (h *LifecycleHookSpec) HeartbeatInterval(timeout time.Duration) time.Duration {
	if h == nil || h.Heartbeat == nil {
		return timeout / 3
	}
	switch h.Heartbeat.Mode {
	case HeartbeatDisabled:
		return 0
	case HeartbeatInterval:
		return seconds(h.Heartbeat.IntervalSeconds, timeout/3)
	default:
		return timeout / 3
	}
}

// PollInterval returns how often a watcher reads the metadata service.
func (s *IMDSSource) PollInterval() time.Duration {
	return seconds(s.PollIntervalSeconds, defaultPollInterval)
}

// Timeout returns how long a drain without a hard deadline may take.
func (d *DrainSpec) Timeout() time.Duration {
	if d == nil {
		return defaultDrainTimeout
	}
	return seconds(d.TimeoutSeconds, defaultDrainTimeout)
}

// GracePeriodSeconds returns what overrides the pods' own grace period; nil means that
// nothing does.
func (d *DrainSpec) GracePeriodSeconds() *int32 {
	if d == nil {
		return nil
	}
	return d.PodGracePeriodSeconds
}

// SkipRules returns the rules for pods that stay on the node.
func (d *DrainSpec) SkipRules() []PodRule {
	if d == nil {
		return nil
	}
	return d.Skip
}

// HonorsPodAnnotations reports whether annotations on pods count.
func (d *DrainSpec) HonorsPodAnnotations() bool {
	return d == nil || d.PodAnnotations != PodAnnotationsIgnore
}

// WaitsForVolumes reports whether a hook waits until volumes are detached.
func (d *DrainSpec) WaitsForVolumes() bool {
	return d == nil || d.Volumes != VolumesIgnore
}

// MaxNodes returns how many of so many nodes may be drained at the same time; false
// means all of them.
func (d *DrainSpec) MaxNodes(nodes int) (limit int, limited bool) {
	if d == nil || d.Budget == nil || d.Budget.MaxNodes == nil {
		return 0, false
	}
	limit, err := intstr.GetScaledValueFromIntOrPercent(d.Budget.MaxNodes, nodes, false)
	if err != nil {
		return 1, true // the schema lets nothing else through
	}
	return max(1, limit), true
}

// WaveList returns the waves in order; the last one takes all remaining pods.
func (d *DrainSpec) WaveList() []Wave {
	if d == nil || len(d.Waves) == 0 {
		return []Wave{{PriorityBelow: ptr.To[int32](systemPriority)}, {}}
	}
	return d.Waves
}

// Takes reports whether a pod of this priority belongs to the wave, if it does not
// belong to an earlier one.
func (w *Wave) Takes(priority int32) bool {
	return w.PriorityBelow == nil || priority < *w.PriorityBelow
}

// Reserve returns how long before a hard deadline the wave starts at the latest; zero
// means that it waits for the wave before.
func (w *Wave) Reserve() time.Duration {
	if w.PriorityBelow == nil {
		return seconds(w.ReserveSeconds, defaultLastWaveReserve)
	}
	return seconds(w.ReserveSeconds, 0)
}

// DeletesBlocked reports whether pods that a disruption budget still blocks are
// deleted before a hard deadline.
func (d *DrainSpec) DeletesBlocked() bool {
	return d == nil || d.BlockedPods == nil || d.BlockedPods.Action == BlockedDelete
}

// BlockedBefore returns how long before a hard deadline blocked pods are deleted; false
// means that it depends on each pod's grace period and the time there is.
func (d *DrainSpec) BlockedBefore() (before time.Duration, set bool) {
	if d == nil || d.BlockedPods == nil || d.BlockedPods.BeforeSeconds == nil {
		return 0, false
	}
	return seconds(d.BlockedPods.BeforeSeconds, 0), true
}

// HasActive reports whether an event of a kind counts, as the status says.
func (nt *NodeTermination) HasActive(kind EventKind) bool {
	return slices.ContainsFunc(nt.Spec.Events, func(e Event) bool {
		return e.Kind == kind && slices.ContainsFunc(nt.Status.Events, func(status EventStatus) bool {
			return status.ID == e.ID && status.State == EventActive
		})
	})
}
