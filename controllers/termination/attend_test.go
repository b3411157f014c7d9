// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

func TestNextCallAboutAHook(t *testing.T) {
	const timeout = 300
	at := t0.Add
	drained := func(s *scope, since time.Duration) {
		s.nt.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionDrained, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Time{Time: at(since)},
		}}
	}
	for name, test := range map[string]struct {
		rules   *v1alpha1.LifecycleHookSpec
		now     time.Duration
		prepare func(*scope, *v1alpha1.HookStatus)
		want    hookCall
	}{
		"a third of the timeout": {want: hookCall{at: at(100 * time.Second)}},
		"a third after the last": {
			now: 101 * time.Second,
			prepare: func(_ *scope, h *v1alpha1.HookStatus) {
				h.LastHeartbeatTime = &metav1.Time{Time: at(100 * time.Second)}
			},
			want: hookCall{at: at(200 * time.Second)},
		},
		"as often as the policy says": {
			rules: &v1alpha1.LifecycleHookSpec{Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)}},
			want:  hookCall{at: at(10 * time.Second)},
		},
		"never": {rules: &v1alpha1.LifecycleHookSpec{Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}}},
		"at once, if it was said long ago": {
			now: 20 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) {
				e := terminating("a", &v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "drain"})
				e.Time = metav1.Time{Time: at(-90 * time.Second)}
				s.nt.Spec.Events = []v1alpha1.Event{e}
				s.nt.Status.Events = []v1alpha1.EventStatus{{ID: "a", State: v1alpha1.EventActive}}
			},
			want: hookCall{at: at(10 * time.Second)},
		},
		"often while the timeout is not known": {
			prepare: func(_ *scope, h *v1alpha1.HookStatus) { h.HeartbeatTimeoutSeconds = nil },
			want:    hookCall{at: at(10 * time.Second)},
		},
		"not after the deadline": {
			now: 299 * time.Second,
			prepare: func(_ *scope, h *v1alpha1.HookStatus) {
				h.LastHeartbeatTime = &metav1.Time{Time: at(290 * time.Second)}
			},
		},
		"completed when the pods are gone": {
			now: 20 * time.Second, prepare: func(s *scope, _ *v1alpha1.HookStatus) { drained(s, 10*time.Second) },
			want: hookCall{at(10 * time.Second), awsapi.Continue},
		},
		"some time after that, if the policy says so": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](60)},
			now:   20 * time.Second, prepare: func(s *scope, _ *v1alpha1.HookStatus) { drained(s, 10*time.Second) },
			want: hookCall{at(70 * time.Second), awsapi.Continue},
		},
		"with heartbeats in between": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](200)},
			now:   20 * time.Second, prepare: func(s *scope, _ *v1alpha1.HookStatus) { drained(s, 10*time.Second) },
			want: hookCall{at: at(100 * time.Second)},
		},
		"not after the deadline, whatever the delay": {
			rules: &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](7200), Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}},
			now:   20 * time.Second, prepare: func(s *scope, _ *v1alpha1.HookStatus) { drained(s, 10*time.Second) },
			want: hookCall{at(300 * time.Second), awsapi.Continue},
		},
		"continued at the deadline":     {now: 300 * time.Second, want: hookCall{at(300 * time.Second), awsapi.Continue}},
		"abandoned if the policy wants": {rules: &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeoutAbandon}, now: 300 * time.Second, want: hookCall{at(300 * time.Second), awsapi.Abandon}},
		"suspended: the group goes on waiting": {
			now:     20 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) { drained(s, 10*time.Second); s.nt.Spec.Suspend = ptr.To(true) },
			want:    hookCall{at: at(100 * time.Second)},
		},
		"suspended at the deadline: nothing": {
			now:     300 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) { s.nt.Spec.Suspend = ptr.To(true) },
		},
		"the drain was given up: nothing before the deadline": {
			now:     20 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) { s.nt.Status.CompletionTime = &metav1.Time{Time: t0} },
		},
		"the drain was given up, and now the deadline has come": {
			now:     300 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) { s.nt.Status.CompletionTime = &metav1.Time{Time: t0} },
			want:    hookCall{at(300 * time.Second), awsapi.Continue},
		},
		"the node is gone": {
			now:     20 * time.Second,
			prepare: func(s *scope, _ *v1alpha1.HookStatus) { s.node = nil },
			want:    hookCall{at(20 * time.Second), awsapi.Continue},
		},
	} {
		t.Run(name, func(t *testing.T) {
			hook := newHookStatus(v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "drain"}, t0)
			hook.HeartbeatTimeoutSeconds = ptr.To[int32](timeout)
			s := &scope{now: at(test.now), nt: &v1alpha1.NodeTermination{}, node: &corev1.Node{}, policy: &v1alpha1.NodeTerminationPolicy{}}
			s.policy.Spec.LifecycleHook = test.rules
			hook.Deadline = metav1.Time{Time: s.hookDeadline(&hook)}
			if test.prepare != nil {
				test.prepare(s, &hook)
			}
			if diff := cmp.Diff(test.want, s.nextCall(&hook), cmp.AllowUnexported(hookCall{})); diff != "" {
				t.Errorf("next call (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHookDeadline(t *testing.T) {
	every := func(seconds int32) *v1alpha1.Heartbeat {
		return &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: &seconds}
	}
	const group, name, late = "g", "drain", 20 * time.Second // from the group's word to when it was heard
	for name, test := range map[string]struct {
		maxWait, timeout, global *int32
		heartbeat                *v1alpha1.Heartbeat
		want                     time.Duration
	}{
		"nobody said":                      {want: time.Hour},
		"the hook's own":                   {timeout: ptr.To[int32](300), global: ptr.To[int32](30_000), want: 300 * time.Second},
		"the policy's":                     {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](300), global: ptr.To[int32](30_000), want: 1800 * time.Second},
		"not past the hook's whole time":   {maxWait: ptr.To[int32](172_800), timeout: ptr.To[int32](30), global: ptr.To[int32](3000), want: 3000 * time.Second},
		"the policy's, while nothing said": {maxWait: ptr.To[int32](60), want: time.Minute},
		"the group's own without heartbeats": {
			maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}, want: time.Minute - late,
		},
		"the policy's, if nearer, without heartbeats": {
			maxWait: ptr.To[int32](30), timeout: ptr.To[int32](60), heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}, want: 30 * time.Second,
		},
		"the group's own where heartbeats are too rare": {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: every(60), want: time.Minute - late},
		"the policy's with heartbeats in time":          {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: every(59), want: 1800 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			heard := v1alpha1.LifecycleHook{AutoScalingGroupName: group, Name: name}
			said := terminating("h", &heard)
			said.Time = metav1.Time{Time: t0.Add(-late)}
			s := &scope{nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}}
			s.nt.Spec.Events = []v1alpha1.Event{said}
			s.nt.Status.Events = []v1alpha1.EventStatus{{ID: said.ID, State: v1alpha1.EventActive}}
			s.policy.Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: test.maxWait, Heartbeat: test.heartbeat}
			hook := newHookStatus(heard, t0)
			hook.HeartbeatTimeoutSeconds, hook.GlobalTimeoutSeconds = test.timeout, test.global
			if got := s.hookDeadline(&hook); !got.Equal(t0.Add(test.want)) {
				t.Errorf("deadline %s after the start, want %s", got.Sub(t0), test.want)
			}
		})
	}
}
