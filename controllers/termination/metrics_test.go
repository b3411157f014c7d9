// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// scraped are the values of metrics by name and labels. Histograms have a _count and a _sum.
func scraped(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			set := "{" + strings.Join(labels, ",") + "}"
			values[family.GetName()+set] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			if histogram := metric.GetHistogram(); histogram != nil {
				values[family.GetName()+"_count"+set] = float64(histogram.GetSampleCount())
				values[family.GetName()+"_sum"+set] = histogram.GetSampleSum()
			}
		}
	}
	return values
}

// No other test runs beside this one, and none has events of this kind.
func TestMetricsOfADrain(t *testing.T) {
	const left, before = 60 * time.Second, 40 * time.Second
	receives, refuses := newInbox(t), newInbox(t)
	refuses.answers(http.StatusNotFound)
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{
			receives.hook("receives", v1alpha1.StepReceived, v1alpha1.StepCompleted), refuses.hook("refuses", v1alpha1.StepReceived),
		}
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{
			Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To(int32(before / time.Second)),
		}}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2)
	earlier := scraped(t, metrics.Registry)
	event := notice("a", left)
	event.Kind, event.Source = v1alpha1.CapacityReservationInterruption, v1alpha1.SourceIMDS
	nt := s.terminate(0, event)
	testcluster.Eventually(t, patience, func() error {
		now := scraped(t, metrics.Registry)
		if now["node_termination_blocked_pods{}"] != 1 || now["node_termination_terminations{state=Draining}"] < 1 {
			return fmt.Errorf("blocked pods %v, draining %v, want 1 and at least 1",
				now["node_termination_blocked_pods{}"], now["node_termination_terminations{state=Draining}"])
		}
		return nil
	})
	s.until(nt, v1alpha1.StateCompleted)
	testcluster.Eventually(t, patience, func() error {
		now := scraped(t, metrics.Registry)
		for name, want := range map[string]float64{
			"node_termination_events_total{kind=CapacityReservationInterruption,source=IMDS}":        1,
			"node_termination_ended_total{state=Completed}":                                          1,
			"node_termination_time_to_cordon_seconds_count{kind=CapacityReservationInterruption}":    1,
			"node_termination_time_to_drained_seconds_count{kind=CapacityReservationInterruption}":   1,
			"node_termination_margin_at_drained_seconds_count{kind=CapacityReservationInterruption}": 1,
			"node_termination_evictions_total{result=deleted}":                                       1,
			"node_termination_evictions_total{result=evicted}":                                       2,
			"node_termination_pods_cut_short_total{why=budget}":                                      1,
			"node_termination_webhook_deliveries_total{result=delivered}":                            2,
			"node_termination_webhook_deliveries_total{result=given_up}":                             1,
			"node_termination_webhook_deliveries_total{result=retry}":                                0,
			"node_termination_pods_cut_short_total{why=grace}":                                       0,
			"node_termination_events_total{kind=CapacityReservationInterruption,source=SQS}":         0,
			"node_termination_margin_at_drained_seconds_count{kind=SpotInterruption}":                0,
		} {
			if got := now[name] - earlier[name]; got != want {
				return fmt.Errorf("%s has risen by %v, want %v", name, got, want)
			}
		}
		if blocked := now["node_termination_blocked_pods{}"]; blocked != 0 {
			return fmt.Errorf("%v pods are blocked", blocked)
		}
		return nil
	})
	now := scraped(t, metrics.Registry)
	margin := now["node_termination_margin_at_drained_seconds_sum{kind=CapacityReservationInterruption}"]
	drained := now["node_termination_time_to_drained_seconds_sum{kind=CapacityReservationInterruption}"]
	if margin <= 0 || margin > before.Seconds() {
		t.Errorf("%v s were left, want more than none and at most %v", margin, before)
	}
	if sum := margin + drained; sum < left.Seconds()-5 || sum > left.Seconds()+2 {
		t.Errorf("drained after %v s with %v s left, want %s together", drained, margin, left)
	}
}

func TestTerminationCollector(t *testing.T) {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	made := 0
	termination := func(state string, change func(*v1alpha1.NodeTerminationStatus)) client.Object {
		made++
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("i-%017x", made)}}
		if state != "" {
			nt.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: state}}
		}
		nt.Status.Pods = &v1alpha1.PodCounts{Remaining: ptr.To[int32](2), Blocked: ptr.To[int32](1)}
		if change != nil {
			change(&nt.Status)
		}
		return nt
	}
	past, future := &metav1.Time{Time: t0.Add(-time.Second)}, &metav1.Time{Time: t0.Add(time.Second)}
	ended := func(status *v1alpha1.NodeTerminationStatus) { status.CompletionTime, status.Deadline = past, past }
	hooks := []v1alpha1.HookStatus{
		{State: v1alpha1.HookWaiting, Failures: ptr.To[int32](2)},
		{State: v1alpha1.HookWaiting},
		{State: v1alpha1.HookEnded, Failures: ptr.To[int32](1)},
	}
	unhandled := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: "i-0123456789abcdef0", Generation: 1, CreationTimestamp: at(-90 * time.Second)}}
	unhandled.Spec.Events = []v1alpha1.Event{spot("a", -time.Hour)}
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		termination("", func(status *v1alpha1.NodeTerminationStatus) { status.Pods = nil }),
		termination(v1alpha1.StateDraining, func(status *v1alpha1.NodeTerminationStatus) { status.Deadline = past }),
		termination(v1alpha1.StateDraining, func(status *v1alpha1.NodeTerminationStatus) { status.Deadline = future }),
		termination(v1alpha1.StateCompleting, func(status *v1alpha1.NodeTerminationStatus) {
			status.Deadline, status.LifecycleHooks = past, hooks
			status.Pods = &v1alpha1.PodCounts{Remaining: ptr.To[int32](0), Blocked: ptr.To[int32](0)}
		}),
		termination(v1alpha1.StateFailed, ended),
		termination(v1alpha1.StateCompleted, func(status *v1alpha1.NodeTerminationStatus) {
			ended(status)
			status.Conditions = append(status.Conditions, metav1.Condition{Type: v1alpha1.ConditionMaintenanceOverdue, Status: metav1.ConditionTrue})
		}),
		termination(v1alpha1.StateCompleted, ended),
		termination(v1alpha1.StateCordoned, func(status *v1alpha1.NodeTerminationStatus) {
			status.Pods = nil
			status.Conditions = append(status.Conditions,
				metav1.Condition{Type: v1alpha1.ConditionCordoned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCordoned, LastTransitionTime: at(-48 * time.Hour)},
				metav1.Condition{Type: v1alpha1.ConditionInstanceStateConfirmed, LastTransitionTime: at(-time.Minute)})
		}),
		unhandled,
	).Build()
	elected := make(chan struct{})
	c := &terminationCollector{client: reader, clock: clocktesting.NewFakePassiveClock(t0), elected: elected}
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d metrics of a replica that does not lead", n)
	}
	close(elected)
	want := map[string]float64{
		"node_termination_terminations{state=Received}": 2, "node_termination_terminations{state=Cordoned}": 1, "node_termination_terminations{state=Draining}": 2,
		"node_termination_terminations{state=Completing}": 1, "node_termination_terminations{state=Failed}": 1,
		"node_termination_terminations{state=Completed}": 2, "node_termination_drains_overdue{}": 1,
		"node_termination_maintenance_overdue{}": 1, "node_termination_long_cordoned_nodes{}": 1,
		"node_termination_doubted_state_changes{}": 1, "node_termination_oldest_unhandled_event_seconds{}": 90,
		"node_termination_blocked_pods{}": 2, "node_termination_lifecycle_hooks_failing{}": 1,
	}
	for state := range readinessOf {
		want["node_termination_terminations{state="+state+"}"] += 0
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	if diff := cmp.Diff(want, scraped(t, registry)); diff != "" {
		t.Error(diff)
	}
}

// An event keeps its id however often it is announced.
func TestEventsAreCountedOnce(t *testing.T) {
	first, renewed, next := spot("SpotInterruption", 0), spot("SpotInterruption", time.Second), spot("SpotInterruption", time.Hour)
	for _, test := range []struct {
		name   string
		before []v1alpha1.EventStatus
		event  v1alpha1.Event
		state  v1alpha1.EventState
		want   float64
	}{
		{"received", nil, first, v1alpha1.EventActive, 1},
		{"received too late", nil, first, v1alpha1.EventStale, 1},
		{"known", judged(v1alpha1.EventActive, first), first, v1alpha1.EventActive, 0},
		{"renewed", judged(v1alpha1.EventActive, first), renewed, v1alpha1.EventActive, 0},
		{"over", judged(v1alpha1.EventActive, first), first, v1alpha1.EventResolved, 0},
		{"received once more", judged(v1alpha1.EventResolved, first), next, v1alpha1.EventActive, 1},
	} {
		s := &scope{nt: &v1alpha1.NodeTermination{}}
		s.nt.Spec.Events = []v1alpha1.Event{test.event}
		s.nt.Status.Events = []v1alpha1.EventStatus{{ID: test.event.ID, State: test.state, Time: test.event.Time.DeepCopy()}}
		counter := eventsTotal.WithLabelValues(string(test.event.Kind), string(test.event.Source))
		earlier := testutil.ToFloat64(counter)
		s.countEvents(&v1alpha1.NodeTerminationStatus{Events: test.before})
		if got := testutil.ToFloat64(counter) - earlier; got != test.want {
			t.Errorf("%s: counted %v times, want %v", test.name, got, test.want)
		}
	}
}
