// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// kinds are all kinds of events, and sources where each can be heard from.
var (
	kinds = []v1alpha1.EventKind{
		v1alpha1.SpotInterruption, v1alpha1.RebalanceRecommendation, v1alpha1.ScheduledMaintenance,
		v1alpha1.AutoScalingTermination, v1alpha1.InstanceStateChange, v1alpha1.CapacityReservationInterruption, v1alpha1.Manual,
	}
	sources = []v1alpha1.EventSource{v1alpha1.SourceSQS, v1alpha1.SourceIMDS, v1alpha1.SourceManual}
)

// What is counted is counted when the status that says so is written, so once
// whatever fails and whoever leads.
var (
	eventsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_events_total",
		Help: "Events that were heard of nodes, each once, by kind and source.",
	}, []string{"kind", "source"})

	endedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_ended_total",
		Help: "NodeTerminations that have ended, by how: Completed, Failed, Cancelled, Ignored or DryRun.",
	}, []string{"state"})

	webhooksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_webhook_deliveries_total",
		Help: "Attempts to deliver webhooks, by result: delivered, retry (it is tried again) or given_up.",
	}, []string{"result"})

	cordonSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "node_termination_time_to_cordon_seconds",
		Help:    "Time from the storing of a NodeTermination to the cordon of its node, by the kind of event that decides. For one that begins anew it is from the time of the event.",
		Buckets: []float64{1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300},
	}, []string{"kind"})

	drainSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "node_termination_time_to_drained_seconds",
		Help:    "Time from when a drain was due, which is at once or as the policy schedules it, to the last pod's end, by the kind of event that decides.",
		Buckets: []float64{2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800, 3600},
	}, []string{"kind"})

	marginSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "node_termination_margin_at_drained_seconds",
		Help:    "Time that was left before the deadline when a node's last pod had gone, by the kind of event that decides. Negative: after the deadline.",
		Buckets: []float64{-300, -60, -30, -10, 0, 5, 10, 20, 30, 45, 60, 75, 90, 105, 120, 300, 900, 1800, 3600},
	}, []string{"kind"})
)

// webhookResults are the results of an attempt by the state that it leaves.
var webhookResults = map[v1alpha1.WebhookState]string{
	v1alpha1.WebhookDelivered: "delivered", v1alpha1.WebhookPending: "retry", v1alpha1.WebhookGivenUp: "given_up",
}

func init() {
	metrics.Registry.MustRegister(eventsTotal, endedTotal, webhooksTotal, cordonSeconds, drainSeconds, marginSeconds)
	// All begin at zero, so that a rate sees the first one.
	for _, kind := range kinds {
		for _, source := range sources {
			if (kind == v1alpha1.Manual) == (source == v1alpha1.SourceManual) {
				eventsTotal.WithLabelValues(string(kind), string(source))
			}
		}
		for _, histogram := range []*prometheus.HistogramVec{cordonSeconds, drainSeconds, marginSeconds} {
			histogram.WithLabelValues(string(kind))
		}
	}
	for _, state := range []string{v1alpha1.StateCompleted, v1alpha1.StateFailed, v1alpha1.StateCancelled, v1alpha1.StateIgnored, v1alpha1.StateDryRun} {
		endedTotal.WithLabelValues(state)
	}
	for _, result := range webhookResults {
		webhooksTotal.WithLabelValues(result)
	}
}

// measure counts what a status says that was written now and the one before did not.
func (s *scope) measure(before *v1alpha1.NodeTermination, now time.Time) {
	s.countEvents(&before.Status)
	s.countWebhooks(&before.Status)
	after, kind := &s.nt.Status, string(s.nt.Status.Cause)
	if after.CompletionTime != nil && before.Status.CompletionTime == nil {
		endedTotal.WithLabelValues(s.state).Inc()
	}
	if became(&before.Status, after, v1alpha1.ConditionCordoned) && s.node != nil && kind != "" {
		cordonSeconds.WithLabelValues(kind).Observe(now.Sub(s.heard()).Seconds())
	}
	drained := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionDrained)
	// When the pods of a node that is gone had ended nobody knows.
	if became(&before.Status, after, v1alpha1.ConditionDrained) && drained.Reason == v1alpha1.ReasonPodsGone {
		due := s.heard()
		if s.decision.drainAt.After(due) {
			due = s.decision.drainAt
		}
		drainSeconds.WithLabelValues(kind).Observe(s.now.Sub(due).Seconds())
		if deadline := s.decision.deadline; !deadline.IsZero() {
			marginSeconds.WithLabelValues(kind).Observe(deadline.Sub(s.now).Seconds())
		}
	}
}

// countEvents counts the events that the status did not know before.
func (s *scope) countEvents(before *v1alpha1.NodeTerminationStatus) {
	known, now := eventStates(before.Events), eventStates(s.nt.Status.Events)
	for _, e := range s.nt.Spec.Events {
		_, old := known[e.ID]
		if _, counts := now[e.ID]; counts && !old {
			eventsTotal.WithLabelValues(string(e.Kind), string(e.Source)).Inc()
		}
	}
}

// countWebhooks counts the attempts that the status did not know before.
func (s *scope) countWebhooks(before *v1alpha1.NodeTerminationStatus) {
	for i := range s.nt.Status.Webhooks {
		now := &s.nt.Status.Webhooks[i]
		was := told(before.Webhooks, now.Name, now.Step)
		if was == nil || was.State != now.State || ptr.Deref(was.Attempts, 0) != ptr.Deref(now.Attempts, 0) {
			webhooksTotal.WithLabelValues(webhookResults[now.State]).Inc()
		}
	}
}

// heard is when the first of the events that count was stored, or when AWS said
// so where the NodeTermination is older than that.
func (s *scope) heard() time.Time {
	var first time.Time
	for _, e := range s.active() {
		if first.IsZero() || e.Time.Time.Before(first) {
			first = e.Time.Time
		}
	}
	if created := s.nt.CreationTimestamp.Time; first.Before(created) {
		return created
	}
	if first.After(s.now) {
		return s.now // a clock of others
	}
	return first
}

// became is whether a condition holds that did not, or anew.
func became(before, after *v1alpha1.NodeTerminationStatus, kind string) bool {
	was, is := meta.FindStatusCondition(before.Conditions, kind), meta.FindStatusCondition(after.Conditions, kind)
	return meta.IsStatusConditionTrue(after.Conditions, kind) &&
		(!meta.IsStatusConditionTrue(before.Conditions, kind) || !was.LastTransitionTime.Equal(&is.LastTransitionTime))
}
