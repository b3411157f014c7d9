// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const instance = "i-0abc1234def567890"

var t0 = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

func at(offset time.Duration) metav1.Time     { return metav1.Time{Time: t0.Add(offset)} }
func atPtr(offset time.Duration) *metav1.Time { return ptr.To(at(offset)) }

// nodeReady is a node that has been Ready since a time, in its nth boot.
func nodeReady(since time.Duration, boot string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node-uid"},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{BootID: boot},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: at(since)}},
		},
	}
}

func spot(id string, offset time.Duration) v1alpha1.Event {
	return v1alpha1.Event{ID: id, Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: at(offset), Deadline: atPtr(offset + 2*time.Minute)}
}

func rebalance(id string, offset time.Duration) v1alpha1.Event {
	return v1alpha1.Event{ID: id, Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: at(offset)}
}

func maintenance(id string, notBefore time.Duration) v1alpha1.Event {
	return v1alpha1.Event{
		ID: id, Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: at(0),
		NotBefore: atPtr(notBefore), Deadline: atPtr(notBefore),
	}
}

func hook(id string) v1alpha1.Event {
	return v1alpha1.Event{
		ID: id, Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceSQS, Time: at(0),
		LifecycleHook: &v1alpha1.LifecycleHook{AutoScalingGroupName: "workers", Name: "drain", Token: "t"},
	}
}

// A group waits once more for an instance that came back, maybe at a hook without a token.
func TestHooksAreForgottenByATerminationThatBeginsAfresh(t *testing.T) {
	r, key := &Reconciler{Options: Options{Local: &LocalState{}}}, hookKey{group: "g", hook: "drain"}
	nt := &v1alpha1.NodeTermination{}
	nt.Name = instance
	nt.Spec.Events = []v1alpha1.Event{{ID: "old", Kind: v1alpha1.AutoScalingTermination, Time: at(-time.Hour)}}
	nt.Status.CompletionTime = ptr.To(at(-time.Hour))
	nt.Status.Events = []v1alpha1.EventStatus{{ID: "old", State: v1alpha1.EventResolved}}
	r.Local.complete(nt.Name, key)
	for _, test := range []struct {
		events    []v1alpha1.Event
		completed bool
	}{{nil, true}, {[]v1alpha1.Event{{ID: "new", Kind: v1alpha1.AutoScalingTermination, Time: at(0)}}, false}} {
		nt.Spec.Events = append(nt.Spec.Events, test.events...)
		if _, err := r.classify(t.Context(), &scope{now: t0, nt: nt}); err != nil {
			t.Fatal(err)
		}
		if got := r.Local.hasCompleted(nt.Name, key); got != test.completed {
			t.Errorf("with %d new events the hook counts as completed: %t, want %t", len(test.events), got, test.completed)
		}
	}
}

func manual(id string) v1alpha1.Event {
	return v1alpha1.Event{ID: id, Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Time: at(0)}
}

func stateChange(id, state string, offset time.Duration) v1alpha1.Event {
	e := v1alpha1.Event{ID: id, Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: at(offset), InstanceAction: state}
	if state != "running" {
		e.Deadline = atPtr(offset)
	}
	return e
}

func cancel(e v1alpha1.Event) v1alpha1.Event {
	e.Cancelled = ptr.To(true)
	return e
}

func TestClassify(t *testing.T) {
	const hour = time.Hour
	active, resolved, withdrawn, stale := v1alpha1.EventActive, v1alpha1.EventResolved, v1alpha1.EventCancelled, v1alpha1.EventStale
	type states = map[string]v1alpha1.EventState
	cases := map[string]struct {
		events []v1alpha1.Event
		before states
		node   *corev1.Node
		boot   string // boot ID known from before; "" for a node not seen yet
		now    time.Duration
		want   states
	}{
		"a fresh notice counts": {
			events: []v1alpha1.Event{spot("a", 0)}, node: nodeReady(-hour, "1"), want: states{"a": active},
		},
		"a notice before the node was Ready counts while its deadline is ahead": {
			events: []v1alpha1.Event{spot("a", 0)}, node: nodeReady(30*time.Second, "1"), now: 40 * time.Second, want: states{"a": active},
		},
		"a notice that was over before the node was Ready is stale": {
			events: []v1alpha1.Event{spot("a", -hour)}, node: nodeReady(0, "1"), want: states{"a": stale},
		},
		"a node that came back resolves what counted": {
			events: []v1alpha1.Event{spot("a", 0)}, before: states{"a": active}, boot: "1", node: nodeReady(10*time.Minute, "1"),
			now: 10 * time.Minute, want: states{"a": resolved},
		},
		"another boot resolves what was due": {
			events: []v1alpha1.Event{spot("a", 0)}, before: states{"a": active}, boot: "1", node: nodeReady(-hour, "2"),
			now: 3 * time.Minute, want: states{"a": resolved},
		},
		"another boot before the deadline does not": {
			events: []v1alpha1.Event{spot("a", 0)}, before: states{"a": active}, boot: "1", node: nodeReady(-hour, "2"),
			now: time.Minute, want: states{"a": active},
		},
		"a reboot a week before a maintenance does not close it": {
			events: []v1alpha1.Event{maintenance("m", 7*24*hour)}, before: states{"m": active}, boot: "1", node: nodeReady(hour, "2"),
			now: hour, want: states{"m": active},
		},
		"a hook outlives the node's readiness": {
			events: []v1alpha1.Event{hook("h")}, before: states{"h": active}, boot: "1", node: nodeReady(time.Minute, "1"),
			now: time.Minute, want: states{"h": active},
		},
		"but not another boot": {
			events: []v1alpha1.Event{hook("h")}, before: states{"h": active}, boot: "1", node: nodeReady(time.Minute, "2"),
			now: time.Minute, want: states{"h": resolved},
		},
		"what people asked for outlives every boot": {
			events: []v1alpha1.Event{manual("m"), stateChange("r", "running", 5*time.Minute)},
			before: states{"m": active}, boot: "1", node: nodeReady(10*time.Minute, "2"), now: 10 * time.Minute,
			want: states{"m": active, "r": resolved},
		},
		"also on a node that booted before it was first seen": {
			events: []v1alpha1.Event{manual("m")}, node: nodeReady(time.Minute, "1"), now: 2 * time.Minute, want: states{"m": active},
		},
		"and ends when they take it back": {
			events: []v1alpha1.Event{cancel(manual("m"))}, before: states{"m": active}, node: nodeReady(-hour, "1"), want: states{"m": withdrawn},
		},
		"a running instance resolves its stop": {
			events: []v1alpha1.Event{stateChange("s", "stopping", 0), stateChange("r", "running", 5*time.Minute)},
			before: states{"s": active}, boot: "1", node: nodeReady(-hour, "1"), now: 5 * time.Minute,
			want: states{"s": resolved, "r": resolved},
		},
		"messages out of order: a stop after the running still counts": {
			events: []v1alpha1.Event{stateChange("r", "running", 0), stateChange("s", "stopping", time.Minute)},
			node:   nodeReady(-hour, "1"), boot: "1", now: time.Minute, want: states{"r": resolved, "s": active},
		},
		"running does not close a notice whose deadline is ahead": {
			events: []v1alpha1.Event{spot("a", 0), stateChange("r", "running", time.Minute)},
			node:   nodeReady(-hour, "1"), boot: "1", now: time.Minute, want: states{"a": active, "r": resolved},
		},
		"calling a maintenance off closes all of its time": {
			events: []v1alpha1.Event{cancel(maintenance("imds", 48*hour)), maintenance("health", 48*hour), maintenance("other", 72*hour)},
			before: states{"imds": active, "health": active, "other": active}, boot: "1", node: nodeReady(-hour, "1"),
			want: states{"imds": withdrawn, "health": withdrawn, "other": active},
		},
		"what was decided stays decided": {
			events: []v1alpha1.Event{spot("a", 0)}, before: states{"a": stale}, boot: "1", node: nodeReady(-hour, "1"), want: states{"a": stale},
		},
		"without a node everything that stands counts": {
			events: []v1alpha1.Event{spot("a", -hour)}, want: states{"a": active},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			nt := &v1alpha1.NodeTermination{}
			nt.Spec.Events = tc.events
			for id, state := range tc.before {
				nt.Status.Events = append(nt.Status.Events, v1alpha1.EventStatus{ID: id, State: state})
			}
			if tc.boot != "" {
				nt.Status.Node = &v1alpha1.NodeReference{UID: "node-uid", BootID: tc.boot}
			}
			s := &scope{now: t0.Add(tc.now), nt: nt, node: tc.node}
			if _, err := (&Reconciler{Options: Options{Local: &LocalState{}}}).classify(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, eventStates(nt.Status.Events)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAgain(t *testing.T) {
	finished := func(events ...v1alpha1.EventStatus) *v1alpha1.NodeTermination {
		nt := &v1alpha1.NodeTermination{}
		nt.Status = v1alpha1.NodeTerminationStatus{
			Events: events, CompletionTime: atPtr(time.Minute), StartTime: atPtr(0), DrainStartTime: atPtr(0),
			PolicyRef: &v1alpha1.PolicyReference{Name: "spot", UID: types.UID("p"), Generation: 1},
			Node:      &v1alpha1.NodeReference{UID: "node-uid", BootID: "1"},
			Pods:      &v1alpha1.PodCounts{Total: ptr.To[int32](14), Summary: "14/14"},
		}
		return nt
	}
	a := v1alpha1.EventStatus{ID: "a", State: v1alpha1.EventActive}

	t.Run("nothing new stays finished", func(t *testing.T) {
		s := &scope{now: t0.Add(time.Hour), nt: finished(a), node: nodeReady(-time.Hour, "1")}
		s.nt.Spec.Events = []v1alpha1.Event{spot("a", 0)}
		_, _ = (&Reconciler{Options: Options{Local: &LocalState{}}}).classify(t.Context(), s)
		if !s.finished() {
			t.Error("opened again without news")
		}
	})
	t.Run("a second event of the same termination keeps the record", func(t *testing.T) {
		s := &scope{now: t0.Add(2 * time.Minute), nt: finished(a), node: nodeReady(-time.Hour, "1")}
		s.nt.Spec.Events = []v1alpha1.Event{spot("a", 0), stateChange("b", "shutting-down", 2*time.Minute)}
		_, _ = (&Reconciler{Options: Options{Local: &LocalState{}}}).classify(t.Context(), s)
		if s.finished() || s.nt.Status.Pods == nil || s.nt.Status.StartTime == nil || s.nt.Status.PolicyRef == nil {
			t.Errorf("want it open with its record kept, got %+v", s.nt.Status)
		}
	})
	t.Run("an event after the instance came back starts afresh", func(t *testing.T) {
		s := &scope{now: t0.Add(time.Hour), nt: finished(a), node: nodeReady(30*time.Minute, "2")}
		s.nt.Spec.Events = []v1alpha1.Event{spot("a", 0), spot("b", time.Hour)}
		_, _ = (&Reconciler{Options: Options{Local: &LocalState{}}}).classify(t.Context(), s)
		if s.finished() || s.nt.Status.Pods != nil || s.nt.Status.StartTime != nil || s.nt.Status.PolicyRef != nil {
			t.Errorf("want a fresh status, got %+v", s.nt.Status)
		}
		if got := eventStates(s.nt.Status.Events); got["a"] != v1alpha1.EventResolved || got["b"] != v1alpha1.EventActive {
			t.Errorf("events: %v", got)
		}
		if s.nt.Status.Node == nil || s.nt.Status.Node.BootID != "2" {
			t.Errorf("node: %+v, want the one of this boot", s.nt.Status.Node)
		}
	})
}
