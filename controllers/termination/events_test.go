// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
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

// judged returns the status of events in a state, as this version writes it.
func judged(state v1alpha1.EventState, events ...v1alpha1.Event) []v1alpha1.EventStatus {
	return event.NewLife(event.LifeInput{Events: events, Before: statesOf(state, events...), Now: t0}).States
}

// statesOf returns the same as the version before wrote it, without times.
func statesOf(state v1alpha1.EventState, events ...v1alpha1.Event) []v1alpha1.EventStatus {
	var states []v1alpha1.EventStatus
	for _, e := range events {
		states = append(states, v1alpha1.EventStatus{ID: e.ID, State: state})
	}
	return states
}

// classify classifies events that a reconcile finds, and returns the scope and their states.
func classify(t *testing.T, s *scope) map[string]v1alpha1.EventState {
	t.Helper()
	if s.before == nil {
		s.before = s.nt.DeepCopy()
	}
	if _, err := (&Reconciler{Options: Options{Local: &LocalState{}}}).classify(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	states := map[string]v1alpha1.EventState{}
	for _, e := range s.nt.Status.Events {
		states[e.ID] = e.State
	}
	return states
}

// TestClassify checks what event.NewLife is given: when an event is over is tested there.
func TestClassify(t *testing.T) {
	const hour = time.Hour
	active, resolved, withdrawn, stale := v1alpha1.EventActive, v1alpha1.EventResolved, v1alpha1.EventCancelled, v1alpha1.EventStale
	type states = map[string]v1alpha1.EventState
	anyNode := func(rules ...v1alpha1.EventRule) []v1alpha1.NodeTerminationPolicy {
		policy := *policyWith(rules...)
		policy.Spec.NodeSelector = &v1alpha1.LabelSelector{}
		return []v1alpha1.NodeTerminationPolicy{policy}
	}
	drains := v1alpha1.EventRule{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}
	ignores := v1alpha1.EventRule{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionIgnore}
	ofThisBoot := spot("a", 0)
	ofThisBoot.BootID = "2"
	cases := map[string]struct {
		events   []v1alpha1.Event
		before   []v1alpha1.EventStatus
		node     *corev1.Node
		boot     string // status.node.bootID; "" for none
		policies []v1alpha1.NodeTerminationPolicy
		ref      *v1alpha1.PolicyReference
		now      time.Duration
		want     states
		next     time.Duration // 0: nothing is to be looked at again
	}{
		"a fresh notice counts, and is looked at again should nothing come of it": {
			events: []v1alpha1.Event{spot("a", 0)}, node: nodeReady(-hour, "1"), want: states{"a": active}, next: 12 * time.Minute,
		},
		"without a node everything that stands counts": {
			events: []v1alpha1.Event{spot("a", -hour)}, want: states{"a": active},
		},
		"a notice that was over before is stale": {
			events: []v1alpha1.Event{spot("a", -hour)}, node: nodeReady(-time.Minute, "1"), want: states{"a": stale},
		},
		"the boot ID of when the termination began stands for that of the event": {
			events: []v1alpha1.Event{spot("a", 0)}, before: judged(active, spot("a", 0)), boot: "1", node: nodeReady(3*time.Minute, "2"),
			now: 3 * time.Minute, want: states{"a": resolved},
		},
		"but the event's own goes before it": {
			events: []v1alpha1.Event{ofThisBoot}, before: judged(active, ofThisBoot), boot: "1", node: nodeReady(3*time.Minute, "2"),
			now: 3 * time.Minute, want: states{"a": active}, next: 12 * time.Minute,
		},
		"no boot ID is known": {
			events: []v1alpha1.Event{spot("a", 0)}, before: judged(active, spot("a", 0)), node: nodeReady(3*time.Minute, "2"),
			now: 3 * time.Minute, want: states{"a": active}, next: 12 * time.Minute,
		},
		"the policy lifts a cordon": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)), node: nodeReady(-hour, "1"),
			policies: anyNode(), now: hour, want: states{"r": resolved},
		},
		"when its time has come": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)), node: nodeReady(-hour, "1"),
			policies: anyNode(), now: time.Minute, want: states{"r": active}, next: hour,
		},
		"an ignored kind is over by the same time": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)), node: nodeReady(-hour, "1"),
			policies: anyNode(ignores), now: hour, want: states{"r": resolved},
		},
		"a drain is not lifted by time": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)), node: nodeReady(-hour, "1"),
			policies: anyNode(drains), now: 2 * hour, want: states{"r": active},
		},
		"the policy that was chosen decides, also once the node is gone": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)),
			policies: anyNode(), ref: &v1alpha1.PolicyReference{UID: "policy-uid"}, now: hour, want: states{"r": resolved},
		},
		"none governs": {
			events: []v1alpha1.Event{rebalance("r", 0)}, before: judged(active, rebalance("r", 0)), node: nodeReady(-hour, "1"),
			now: 2 * hour, want: states{"r": active},
		},
		"what was decided stays decided": {
			events: []v1alpha1.Event{spot("a", 0)}, before: judged(stale, spot("a", 0)), node: nodeReady(-hour, "1"), want: states{"a": stale},
		},
		"for that statement": {
			events: []v1alpha1.Event{spot("a", hour)}, before: judged(stale, spot("a", 0)), node: nodeReady(-hour, "1"),
			now: hour, want: states{"a": active}, next: hour + 12*time.Minute,
		},
		"the version before kept no times": {
			events: []v1alpha1.Event{spot("a", 0), spot("b", 0)}, node: nodeReady(-hour, "1"), boot: "1",
			before: append(statesOf(active, spot("a", 0)), statesOf(withdrawn, spot("b", 0))...),
			want:   states{"a": active, "b": withdrawn}, next: 12 * time.Minute,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			nt := &v1alpha1.NodeTermination{}
			nt.Spec.Events, nt.Status.Events, nt.Status.PolicyRef = tc.events, tc.before, tc.ref
			if tc.boot != "" {
				nt.Status.Node = &v1alpha1.NodeReference{UID: "node-uid", BootID: tc.boot}
			}
			s := &scope{now: t0.Add(tc.now), nt: nt, node: tc.node, policies: tc.policies}
			if diff := cmp.Diff(tc.want, classify(t, s)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			var next time.Time
			if tc.next != 0 {
				next = t0.Add(tc.next)
			}
			if !s.next.Equal(next) {
				t.Errorf("the next look is at %v, want %v", s.next, next)
			}
			for i, status := range s.nt.Status.Events {
				if !status.Time.Equal(&tc.events[i].Time) {
					t.Errorf("the state of %s belongs to %v, want %v", status.ID, status.Time, tc.events[i].Time)
				}
			}
			if tc.boot != "" && s.nt.Status.Node.BootID != tc.boot {
				t.Errorf("the boot ID of when the termination began is %s now", s.nt.Status.Node.BootID)
			}
		})
	}
}

// endedTermination is one that has ended, with the record of a drain.
func endedTermination(events ...v1alpha1.EventStatus) *v1alpha1.NodeTermination {
	nt := &v1alpha1.NodeTermination{}
	nt.Status = v1alpha1.NodeTerminationStatus{
		Events: events, CompletionTime: atPtr(time.Minute), StartTime: atPtr(0), DrainStartTime: atPtr(0),
		PolicyRef: &v1alpha1.PolicyReference{Name: "spot", UID: types.UID("p"), Generation: 1},
		Node:      &v1alpha1.NodeReference{UID: "node-uid", BootID: "1"},
		Pods:      &v1alpha1.PodCounts{Total: ptr.To[int32](14), Summary: "14/14"},
	}
	return nt
}

func TestBegin(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	const remains, goesOn, afresh = "remains ended", "goes on", "begins afresh"
	active, resolved, withdrawn := v1alpha1.EventActive, v1alpha1.EventResolved, v1alpha1.EventCancelled
	later := func(e v1alpha1.Event, by time.Duration) v1alpha1.Event {
		e.Time = metav1.NewTime(e.Time.Add(by))
		return e
	}
	cases := map[string]struct {
		events []v1alpha1.Event
		before []v1alpha1.EventStatus
		node   *corev1.Node
		now    time.Duration
		want   string
	}{
		"nothing new": {
			events: []v1alpha1.Event{spot("a", 0)}, before: judged(active, spot("a", 0)), now: time.Minute, want: remains,
		},
		"a renewal that differs in time only": {
			events: []v1alpha1.Event{later(maintenance("m", day), hour)}, before: judged(active, maintenance("m", day)), now: hour, want: remains,
		},
		"a renewal of what the version before wrote": {
			events: []v1alpha1.Event{later(maintenance("m", day), hour)}, before: statesOf(active, maintenance("m", day)), now: hour, want: remains,
		},
		"another event beside one that stands": {
			events: []v1alpha1.Event{spot("a", 0), stateChange("b", "shutting-down", 2*time.Minute)}, before: judged(active, spot("a", 0)),
			now: 2 * time.Minute, want: goesOn,
		},
		"the same fact under the id of this version": {
			events: []v1alpha1.Event{spot("a", 0), spot("SpotInterruption", 0)}, before: statesOf(active, spot("a", 0)), now: time.Minute, want: goesOn,
		},
		"a maintenance that is moved": {
			events: []v1alpha1.Event{later(maintenance("m", 3*day), hour)}, before: judged(active, maintenance("m", day)), now: hour, want: goesOn,
		},
		"an event after the instance came back": {
			events: []v1alpha1.Event{spot("a", 0), spot("b", hour)}, before: judged(active, spot("a", 0)), node: nodeReady(30*time.Minute, "2"),
			now: hour, want: afresh,
		},
		"a maintenance that is planned again": {
			events: []v1alpha1.Event{later(maintenance("m", day), hour)}, before: judged(withdrawn, cancel(maintenance("m", day))), now: hour, want: afresh,
		},
		"the next interruption of an instance that came back": {
			events: []v1alpha1.Event{spot("SpotInterruption", hour)}, before: judged(resolved, spot("SpotInterruption", 0)), now: hour, want: afresh,
		},
		"a cancellation": {
			events: []v1alpha1.Event{later(cancel(maintenance("m", day)), hour)}, before: judged(active, maintenance("m", day)), now: hour, want: remains,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0.Add(tc.now), nt: endedTermination(tc.before...), node: tc.node}
			if s.node == nil {
				s.node = nodeReady(-hour, "1")
			}
			s.nt.Spec.Events = tc.events
			classify(t, s)
			got := remains
			switch status := s.nt.Status; {
			case !s.finished() && status.StartTime == nil && status.Pods == nil && status.PolicyRef == nil &&
				status.Node.BootID == s.node.Status.NodeInfo.BootID:
				got = afresh
			case !s.finished() && status.StartTime != nil && status.Pods != nil && status.PolicyRef != nil:
				got = goesOn
			}
			if got != tc.want {
				t.Errorf("it %s, want that it %s: %+v", got, tc.want, s.nt.Status)
			}
		})
	}
}

func TestOverdueMaintenance(t *testing.T) {
	const hour = time.Hour
	s := &scope{nt: &v1alpha1.NodeTermination{}, node: nodeReady(-hour, "1")}
	for _, step := range []struct {
		name  string
		now   time.Duration
		event v1alpha1.Event
		node  *corev1.Node
		want  metav1.ConditionStatus // "" for none
	}{
		{"it has yet to begin", 0, maintenance("m", hour), s.node, ""},
		{"it was to begin not long ago", 20 * hour, maintenance("m", hour), s.node, ""},
		{"it was to begin more than a day ago", 25 * hour, maintenance("m", hour), s.node, metav1.ConditionTrue},
		{"the node is gone", 26 * hour, maintenance("m", hour), nil, metav1.ConditionFalse},
		{"and has registered again", 26 * hour, maintenance("m", hour), s.node, metav1.ConditionTrue},
		{"it is over", 27 * hour, cancel(maintenance("m", hour)), s.node, metav1.ConditionFalse},
	} {
		s.now, s.node, s.nt.Spec.Events = t0.Add(step.now), step.node, []v1alpha1.Event{step.event}
		classify(t, s)
		condition := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionMaintenanceOverdue)
		if got := ptr.Deref(condition, metav1.Condition{}); got.Status != step.want {
			t.Errorf("%s: the condition is %+v, want %q", step.name, got, step.want)
		}
	}
}

func TestTombstone(t *testing.T) {
	const week = 7 * 24 * time.Hour
	cancelled := cancel(maintenance("m", week))
	cancelled.NotAfter = atPtr(week + time.Hour)
	cases := map[string]struct {
		events []v1alpha1.Event
		before string // its state
		want   bool
	}{
		"a cancellation of what was not received": {events: []v1alpha1.Event{cancelled}, want: true},
		"a cancellation of what was":              {events: []v1alpha1.Event{cancelled}, before: v1alpha1.StateScheduled},
		"an event beside it counts":               {events: []v1alpha1.Event{cancelled, spot("a", 0)}},
		"an annotation that was removed":          {events: []v1alpha1.Event{cancel(manual("m"))}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}, node: nodeReady(-time.Hour, "1"), before: &v1alpha1.NodeTermination{}}
			s.nt.Spec.Events = tc.events
			if tc.before != "" {
				s.before.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: tc.before}}
			}
			classify(t, s)
			if _, err := (&Reconciler{}).noteTombstone(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if s.finished() != tc.want {
				t.Errorf("it has ended: %t, want %t", s.finished(), tc.want)
			}
			if tc.want && (s.state != v1alpha1.StateCancelled || !strings.Contains(s.message, "until "+formatTime(t0.Add(week+time.Hour)))) {
				t.Errorf("it is %s: %s", s.state, s.message)
			}
		})
	}
}
