// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestSurplus(t *testing.T) {
	const day = 24 * time.Hour
	active, resolved, withdrawn := v1alpha1.EventActive, v1alpha1.EventResolved, v1alpha1.EventCancelled
	type judgedEvent struct {
		event v1alpha1.Event
		state v1alpha1.EventState // "" for one that was not looked at yet
	}
	// several are n events of one sort, the second older than the first.
	several := func(n int, state v1alpha1.EventState, e v1alpha1.Event) []judgedEvent {
		var events []judgedEvent
		for i := range n {
			one := *e.DeepCopy()
			one.ID = fmt.Sprintf("%s%02d", e.ID, i)
			one.Time = metav1.NewTime(e.Time.Add(-time.Duration(i) * time.Minute))
			events = append(events, judgedEvent{one, state})
		}
		return events
	}
	hookDeadline := []v1alpha1.HookStatus{{AutoScalingGroupName: "workers", Name: "drain", State: v1alpha1.HookWaiting, Deadline: at(time.Hour)}}
	cases := map[string]struct {
		events []judgedEvent
		hooks  []v1alpha1.HookStatus
		want   string // IDs in order
	}{
		"as many as are kept": {events: several(24, resolved, spot("s", 0))},
		"the oldest that do not count go": {
			events: slices.Concat(several(20, resolved, spot("s", 0)), several(6, active, spot("a", 0))), want: "s18 s19",
		},
		"whatever counts": {
			events: slices.Concat(several(1, resolved, spot("s", 0)), several(24, active, rebalance("r", -day))), want: "s00",
		},
		"a list that is full": {
			events: several(32, resolved, spot("s", 0)), want: "s24 s25 s26 s27 s28 s29 s30 s31",
		},
		"cancellations of what may come go after what is over": {
			events: slices.Concat(several(23, withdrawn, cancel(maintenance("m", day))), several(2, resolved, spot("s", 0))), want: "s01",
		},
		"and before what counts": {
			events: slices.Concat(several(23, active, rebalance("r", -day)), several(2, withdrawn, cancel(maintenance("m", day)))), want: "m01",
		},
		"cancellations of what cannot come any more go with what is over": {
			events: slices.Concat(several(2, withdrawn, cancel(maintenance("m", -30*day))), several(23, resolved, spot("s", 0))), want: "s22",
		},
		"of what counts, that without a deadline goes": {
			events: slices.Concat(several(23, active, spot("a", -day)), several(3, active, rebalance("r", 0))), want: "r01 r02",
		},
		"what people ask for stays": {
			events: slices.Concat(several(20, active, manual("m")), several(5, active, rebalance("r", day))), want: "r04",
		},
		"until they take it back": {
			events: slices.Concat(several(20, withdrawn, cancel(manual("m"))), several(5, active, rebalance("r", -day))), want: "m19",
		},
		"a hook that waits has a deadline": {
			events: slices.Concat(several(20, active, hook("h")), several(5, active, rebalance("r", day))), hooks: hookDeadline, want: "r04",
		},
		"what was not looked at yet stays": {
			events: slices.Concat(several(20, "", rebalance("r", -day)), several(12, active, spot("a", 0))),
		},
		"no more than may go": {
			events: slices.Concat(several(31, active, spot("a", 0)), several(1, resolved, spot("s", 0))), want: "s00",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var events []v1alpha1.Event
			var states []v1alpha1.EventStatus
			for _, e := range tc.events {
				events = append(events, e.event)
				if e.state != "" {
					states = append(states, v1alpha1.EventStatus{ID: e.event.ID, State: e.state, Time: e.event.Time.DeepCopy()})
				}
			}
			gone := surplus(events, states, tc.hooks, t0).UnsortedList()
			slices.Sort(gone)
			if diff := cmp.Diff(tc.want, strings.Join(gone, " ")); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	const ended, uncordoned, gone = 10 * time.Minute, 2 * time.Hour, 3 * time.Hour
	active, resolved, withdrawn := v1alpha1.EventActive, v1alpha1.EventResolved, v1alpha1.EventCancelled
	ours := nodeReady(-hour, "1")
	ours.Annotations = map[string]string{v1alpha1.AnnotationApplied: `{"instanceID":"` + instance + `","unschedulable":true}`}
	later := spot("a", hour)
	cases := map[string]struct {
		event v1alpha1.Event
		state v1alpha1.EventState
		ttl   int32
		node  *corev1.Node
		// missing: there is no node, but one may register yet.
		missing bool
		change  func(*v1alpha1.NodeTermination)
		want    time.Duration // 0 for never
	}{
		"the node is gone":                         {event: spot("a", 0), state: active, ttl: 60, want: gone + time.Minute},
		"the node is missing, and an event counts": {event: spot("a", 0), state: active, missing: true},
		"the node is gone, and what is cancelled may come yet": {
			event: cancel(maintenance("m", 7*day)), state: withdrawn, ttl: 60, want: 21*day + time.Minute,
		},
		"an event counts": {event: spot("a", 0), state: active, node: nodeReady(-hour, "1")},
		"an event has a later statement": {
			event: later, state: resolved, node: nodeReady(-hour, "1"),
			change: func(nt *v1alpha1.NodeTermination) { nt.Status.Events[0].Time = atPtr(0) },
		},
		"it is over":                     {event: spot("a", 0), state: resolved, ttl: 60, node: nodeReady(-hour, "1"), want: ended + time.Minute},
		"something is still on the node": {event: spot("a", 0), state: resolved, node: ours},
		"it was uncordoned later": {
			event: spot("a", 0), state: resolved, ttl: 60, node: nodeReady(-hour, "1"), want: uncordoned + time.Minute,
			change: func(nt *v1alpha1.NodeTermination) {
				nt.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionCordoned, LastTransitionTime: at(uncordoned)}}
			},
		},
		"what is cancelled may come yet": {
			event: cancel(maintenance("m", 7*day)), state: withdrawn, node: nodeReady(-hour, "1"), want: 21 * day,
		},
		"it has not ended": {
			event: spot("a", 0), state: resolved, node: nodeReady(-hour, "1"),
			change: func(nt *v1alpha1.NodeTermination) { nt.Status.CompletionTime = nil },
		},
		"a hook waits": {
			event: hook("h"), state: active,
			change: func(nt *v1alpha1.NodeTermination) {
				nt.Status.LifecycleHooks = []v1alpha1.HookStatus{{AutoScalingGroupName: "workers", Name: "drain", State: v1alpha1.HookWaiting}}
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}, node: tc.node, policy: policyWith(), gone: tc.node == nil && !tc.missing}
			s.policy.Spec.TTLSecondsAfterFinished = ptr.To(tc.ttl)
			s.nt.Spec.InstanceID, s.nt.Spec.Events = instance, []v1alpha1.Event{tc.event}
			s.nt.Status.Events = []v1alpha1.EventStatus{{ID: tc.event.ID, State: tc.state, Time: tc.event.Time.DeepCopy()}}
			s.nt.Status.CompletionTime = atPtr(ended)
			s.nt.Status.Node = &v1alpha1.NodeReference{UID: "node-uid"}
			if tc.node == nil {
				s.nt.Status.Node.GoneTime = atPtr(gone)
			}
			if tc.change != nil {
				tc.change(s.nt)
			}
			expiry, expires := s.expiry()
			if expires != (tc.want != 0) || expires && !expiry.Equal(t0.Add(tc.want)) {
				t.Errorf("it expires: %t, at %v, want %v after %v", expires, expiry, tc.want, t0)
			}
		})
	}
}

// What comes has to be stored also while the node cannot be changed.
func TestListIsPrunedWhateverFails(t *testing.T) {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}}
	for i := range 32 {
		nt.Spec.Events = append(nt.Spec.Events, spot(fmt.Sprintf("s%02d", i), 0))
	}
	nt.Status.Events = judged(v1alpha1.EventResolved, nt.Spec.Events...)
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(nt).Build()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(nt), nt); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Options: Options{Client: api, Local: &LocalState{}}}
	if err := r.prune(t.Context(), &scope{now: t0, nt: nt, err: errors.New("a webhook refuses it")}); err != nil {
		t.Fatal(err)
	}
	if len(nt.Spec.Events) != maxEvents {
		t.Errorf("%d events, want %d", len(nt.Spec.Events), maxEvents)
	}
}
