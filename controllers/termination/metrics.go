// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

// kinds are all kinds of events, and sources where each can be received from.
var (
	kinds = []v1alpha1.EventKind{
		v1alpha1.SpotInterruption, v1alpha1.RebalanceRecommendation, v1alpha1.ScheduledMaintenance,
		v1alpha1.AutoScalingTermination, v1alpha1.InstanceStateChange, v1alpha1.CapacityReservationInterruption,
		v1alpha1.InstanceStatusCheckFailed, v1alpha1.Manual,
	}
	sources = []v1alpha1.EventSource{v1alpha1.SourceSQS, v1alpha1.SourceIMDS, v1alpha1.SourceManual}
)

// What is counted is counted when the status that says so is written, so once
// whatever fails and whoever leads.
var (
	eventsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_events_total",
		Help: "Events received, each once, by kind and source.",
	}, []string{"kind", "source"})

	endedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_ended_total",
		Help: "NodeTerminations that have ended, by how: Completed, Failed, Cancelled, Ignored or DryRun.",
	}, []string{"state"})

	forgedTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "node_termination_forged_total",
		Help: "NodeTerminations deleted that a watcher's token wrote of an instance that its node does not run on.",
	})

	webhooksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_termination_webhook_deliveries_total",
		Help: "Attempts to deliver webhooks, by result: delivered, retry (it is tried again) or given_up.",
	}, []string{"result"})

	cordonSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "node_termination_time_to_cordon_seconds",
		Help:    "Time from when the manager received the event that decides, which is stored then, to the cordon of its node, by the kind of the event. Not counted of events that this process did not see arrive, such as those of a leader before it.",
		Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 30, 60, 300},
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
	metrics.Registry.MustRegister(eventsTotal, endedTotal, forgedTotal, webhooksTotal, cordonSeconds, drainSeconds, marginSeconds)
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

// measure counts what the status says now and the one before did not.
func (r *Reconciler) measure(_ context.Context, s *scope) error {
	s.countEvents(&s.before.Status)
	s.countWebhooks(&s.before.Status)
	before, after, kind := &s.before.Status, &s.nt.Status, string(s.nt.Status.Cause)
	if after.CompletionTime != nil && before.CompletionTime == nil {
		endedTotal.WithLabelValues(s.state).Inc()
	}
	if became(before, after, v1alpha1.ConditionCordoned) && s.node != nil && kind != "" {
		known := r.Local.get(s.nt.Name)
		if took, ok := s.timeToCordon(&known, r.Clock.Now()); ok {
			cordonSeconds.WithLabelValues(kind).Observe(took.Seconds())
		}
	}
	// When the pods of a node that is gone had ended nobody knows.
	if became(before, after, v1alpha1.ConditionDrained) && s.drained().Reason == v1alpha1.ReasonPodsGone {
		due := s.received()
		if s.decision.drainAt.After(due) {
			due = s.decision.drainAt
		}
		drainSeconds.WithLabelValues(kind).Observe(s.now.Sub(due).Seconds())
		if deadline := s.decision.deadline; !deadline.IsZero() {
			marginSeconds.WithLabelValues(kind).Observe(deadline.Sub(s.now).Seconds())
		}
	}
	return nil
}

// countEvents counts the events that the status did not know before, and those that did not
// count any more and were announced anew.
func (s *scope) countEvents(before *v1alpha1.NodeTerminationStatus) {
	for _, e := range s.nt.Spec.Events {
		now := stateOf(e, s.nt.Status.Events)
		i := slices.IndexFunc(before.Events, func(status v1alpha1.EventStatus) bool { return status.ID == e.ID })
		if now != "" && i < 0 || now == v1alpha1.EventActive && before.Events[i].State != v1alpha1.EventActive {
			eventsTotal.WithLabelValues(string(e.Kind), string(e.Source)).Inc()
		}
	}
}

// countWebhooks counts the attempts that the status did not know before.
func (s *scope) countWebhooks(before *v1alpha1.NodeTerminationStatus) {
	for i := range s.nt.Status.Webhooks {
		now := &s.nt.Status.Webhooks[i]
		was := deliveryOf(before.Webhooks, now.Name, now.Step)
		if was == nil || was.State != now.State || ptr.Deref(was.Attempts, 0) != ptr.Deref(now.Attempts, 0) {
			webhooksTotal.WithLabelValues(webhookResults[now.State]).Inc()
		}
	}
}

// received returns when the first of the events that count was stored, or when AWS sent
// it where the NodeTermination is older than that.
func (s *scope) received() time.Time {
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

// became reports whether a condition holds that did not, or anew.
func became(before, after *v1alpha1.NodeTerminationStatus, kind string) bool {
	was, is := meta.FindStatusCondition(before.Conditions, kind), meta.FindStatusCondition(after.Conditions, kind)
	return meta.IsStatusConditionTrue(after.Conditions, kind) &&
		(!meta.IsStatusConditionTrue(before.Conditions, kind) || !was.LastTransitionTime.Equal(&is.LastTransitionTime))
}

// terminationCollector counts the NodeTerminations that there are, each time that it is
// asked, in the cache of the replica that leads: nothing is requested and nothing drifts.
type terminationCollector struct {
	client client.Reader
	clock  clock.PassiveClock
	// elected is closed once this replica leads.
	elected <-chan struct{}
}

var (
	statesDesc = prometheus.NewDesc("node_termination_terminations",
		"NodeTerminations that there are, by state. Those that have ended are kept for a while. Only the leader reports it.", []string{"state"}, nil)
	overdueDesc = prometheus.NewDesc("node_termination_drains_overdue",
		"NodeTerminations that have not ended although their deadline has passed and pods are still there. Only the leader reports it.", nil, nil)
	maintenanceDesc = prometheus.NewDesc("node_termination_maintenance_overdue",
		"NodeTerminations with a maintenance that should have begun more than a day ago, and of which AWS has not said that it is over. Only the leader reports it.", nil, nil)
	longCordonedDesc = prometheus.NewDesc("node_termination_long_cordoned_nodes",
		"Nodes that this operator cordoned more than a day ago, for events with no date or deadline ahead. Only the leader reports it.", nil, nil)
	doubtedDesc = prometheus.NewDesc("node_termination_doubted_state_changes",
		"NodeTerminations about which EC2 was asked within half an hour, as more nodes than the policy's maxTerminating were said to stop. Only the leader reports it.", nil, nil)
	unhandledDesc = prometheus.NewDesc("node_termination_oldest_unhandled_event_seconds",
		"Age of the oldest event that is stored and of which no status says what it means; 0 if there is none. Only the leader reports it.", nil, nil)
	blockedDesc = prometheus.NewDesc("node_termination_blocked_pods",
		"Pods that have to go and that cannot be evicted now, because of a disruption budget or an annotation. Only the leader reports it.", nil, nil)
	failingDesc = prometheus.NewDesc("node_termination_lifecycle_hooks_failing",
		"Lifecycle hooks that wait, and whose last call to Auto Scaling failed, or that could not be found. Only the leader reports it.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*terminationCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{statesDesc, overdueDesc, maintenanceDesc, longCordonedDesc, doubtedDesc, unhandledDesc, blockedDesc, failingDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *terminationCollector) Collect(to chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	var list v1alpha1.NodeTerminationList
	if err := c.client.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		to <- prometheus.NewInvalidMetric(statesDesc, err)
		return
	}
	states := map[string]int{}
	var overdue, maintenance, longCordoned, doubted, blocked, failing int
	var unhandled time.Duration
	now := c.clock.Now()
	for i := range list.Items {
		nt := &list.Items[i]
		status := &nt.Status
		states[cmp.Or(stateIn(status), v1alpha1.StateReceived)]++
		if status.CompletionTime == nil && status.Deadline != nil && status.Pods != nil &&
			ptr.Deref(status.Pods.Remaining, 0) > 0 && now.After(status.Deadline.Time) {
			overdue++
		}
		if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionMaintenanceOverdue) {
			maintenance++
		}
		if longCordonedBy(nt, now) {
			longCordoned++
		}
		if recentlyDoubted(status, now) {
			doubted++
		}
		if since := unhandledSince(nt); !since.IsZero() {
			unhandled = max(unhandled, now.Sub(since))
		}
		if status.CompletionTime == nil && status.Pods != nil {
			blocked += int(ptr.Deref(status.Pods.Blocked, 0))
		}
		failing += lifecyclehook.Failing(status, now)
	}
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for state := range readinessOf {
		gauge(statesDesc, states[state], state)
	}
	gauge(overdueDesc, overdue)
	gauge(maintenanceDesc, maintenance)
	gauge(longCordonedDesc, longCordoned)
	gauge(doubtedDesc, doubted)
	gauge(unhandledDesc, int(unhandled.Seconds()))
	gauge(blockedDesc, blocked)
	gauge(failingDesc, failing)
}
