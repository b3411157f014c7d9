// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestHookDeadline(t *testing.T) {
	every := func(seconds int32) *v1alpha1.Heartbeat {
		return &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: &seconds}
	}
	disabled := &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}
	const late = 20 * time.Second // from the group's message to when it was received
	for name, test := range map[string]struct {
		maxWait, timeout, global *int32
		heartbeat                *v1alpha1.Heartbeat
		// beat is when a heartbeat has last succeeded, failures how many have failed since.
		beat     time.Duration
		failures *int32
		// asked: Auto Scaling is just being asked.
		asked bool
		want  time.Duration
	}{
		"all that it may be, while its hook is asked for":     {maxWait: ptr.To[int32](7200), asked: true, want: 2 * time.Hour},
		"and while the first heartbeat is sent":               {maxWait: ptr.To[int32](7200), timeout: ptr.To[int32](30), asked: true, want: 2 * time.Hour},
		"but not once that has failed":                        {maxWait: ptr.To[int32](7200), timeout: ptr.To[int32](30), failures: ptr.To[int32](1), asked: true, want: 30*time.Second - late},
		"nor where none is sent":                              {maxWait: ptr.To[int32](7200), timeout: ptr.To[int32](30), heartbeat: disabled, asked: true, want: 30*time.Second - late},
		"nor past the global timeout":                         {maxWait: ptr.To[int32](7200), timeout: ptr.To[int32](30), global: ptr.To[int32](3000), asked: true, want: 3000 * time.Second},
		"nor where the hook's own timeout is all that counts": {timeout: ptr.To[int32](900), asked: true, want: 900*time.Second - late},
		"nothing is known":                                    {want: time.Hour - late},
		"an hour, while only heartbeats are known":            {beat: 5 * time.Second, want: time.Hour},
		"the hook's own":                                      {timeout: ptr.To[int32](900), global: ptr.To[int32](30_000), beat: 5 * time.Second, want: 900 * time.Second},
		"ten minutes at least, if heartbeats succeed":         {timeout: ptr.To[int32](30), global: ptr.To[int32](3000), beat: 5 * time.Second, want: 10 * time.Minute},
		"which are no more than the global timeout":           {timeout: ptr.To[int32](5), global: ptr.To[int32](500), beat: 5 * time.Second, want: 500 * time.Second},
		"one timeout before one has":                          {timeout: ptr.To[int32](30), want: 30*time.Second - late},
		"one timeout from when others extended it":            {timeout: ptr.To[int32](10), want: 10 * time.Second},
		"the first is not answered yet":                       {timeout: ptr.To[int32](30), failures: ptr.To[int32](1), want: 30*time.Second - late},
		"one that fails may be a hiccup":                      {timeout: ptr.To[int32](30), beat: 5 * time.Second, failures: ptr.To[int32](2), want: 10 * time.Minute},
		"one timeout after the last, once they fail":          {timeout: ptr.To[int32](30), beat: 45 * time.Second, failures: ptr.To[int32](3), want: 75 * time.Second},
		"whatever the policy's":                               {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](300), failures: ptr.To[int32](9), want: 300*time.Second - late},
		"the policy's":                                        {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](300), global: ptr.To[int32](30_000), beat: time.Second, want: 1800 * time.Second},
		"also if that is less than ten minutes":               {maxWait: ptr.To[int32](60), timeout: ptr.To[int32](300), beat: time.Second, want: time.Minute},
		"not past the hook's global timeout":                  {maxWait: ptr.To[int32](172_800), timeout: ptr.To[int32](30), global: ptr.To[int32](3000), beat: time.Second, want: 3000 * time.Second},
		"the policy's, while nothing is known":                {maxWait: ptr.To[int32](60), want: time.Minute},
		"the group's own without heartbeats":                  {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: disabled, want: time.Minute - late},
		"one timeout after the last one sent":                 {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: disabled, beat: time.Minute, want: 2 * time.Minute},
		"the policy's, if nearer, without heartbeats":         {maxWait: ptr.To[int32](30), timeout: ptr.To[int32](60), heartbeat: disabled, want: 30 * time.Second},
		"an hour without heartbeats, if nothing is known":     {maxWait: ptr.To[int32](7200), heartbeat: disabled, want: time.Hour - late},
		"the group's own where heartbeats are too rare":       {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: every(60), want: time.Minute - late},
		"the policy's with heartbeats in time":                {maxWait: ptr.To[int32](1800), timeout: ptr.To[int32](60), heartbeat: every(59), beat: time.Second, want: 1800 * time.Second},
		"rare heartbeats may do, while nothing is known":      {maxWait: ptr.To[int32](1800), heartbeat: every(3600), want: 1800 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			in := oneHook(nil, 0)
			if in.Now = start.Add(answerTime); test.asked {
				in.Now = start.Add(time.Second)
			}
			in.Policy = policy(&v1alpha1.LifecycleHookSpec{MaxWaitSeconds: test.maxWait, Heartbeat: test.heartbeat})
			in.Events[0].Time = after(-late)
			in.Hooks[0].Failures = test.failures
			if test.beat != 0 {
				in.Hooks[0].LastHeartbeatTime = ptr.To(after(test.beat))
			}
			in.Hooks[0].HeartbeatTimeoutSeconds, in.Hooks[0].GlobalTimeoutSeconds = test.timeout, test.global
			if got := Track(in).Hooks[0].Deadline; !got.Time.Equal(start.Add(test.want)) {
				t.Errorf("deadline %s after the start, want %s", got.Sub(start), test.want)
			}
		})
	}
}

// A wait that began before, with another token, says nothing about this one.
func TestDeadlineIsOfThisWait(t *testing.T) {
	in := oneHook(&v1alpha1.LifecycleHookSpec{Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}}, 0)
	before := terminating("drain", "before")
	before.Time = after(-time.Minute)
	in.Events = append([]v1alpha1.Event{before}, in.Events...)
	if got := Track(in).Hooks[0].Deadline; !got.Time.Equal(start.Add(300 * time.Second)) {
		t.Errorf("deadline %s", got)
	}
}

func TestEventDeadline(t *testing.T) {
	hook := func(name string, state v1alpha1.HookState, deadline time.Duration) v1alpha1.HookStatus {
		return v1alpha1.HookStatus{AutoScalingGroupName: "g", Name: name, State: state, Deadline: after(deadline)}
	}
	spot := v1alpha1.Event{Kind: v1alpha1.SpotInterruption, Deadline: ptr.To(after(2 * time.Minute))}
	for name, test := range map[string]struct {
		event v1alpha1.Event
		hooks []v1alpha1.HookStatus
		want  time.Duration // zero: there is none
	}{
		"its own": {event: spot, hooks: []v1alpha1.HookStatus{hook("drain", v1alpha1.HookWaiting, time.Minute)}, want: 2 * time.Minute},
		"none for an event of another kind": {
			event: v1alpha1.Event{Kind: v1alpha1.RebalanceRecommendation}, hooks: []v1alpha1.HookStatus{hook("drain", v1alpha1.HookWaiting, time.Minute)},
		},
		"none while no hook is known": {event: terminating("", "")},
		"its hook's": {
			event: terminating("drain", "a"),
			hooks: []v1alpha1.HookStatus{hook("other", v1alpha1.HookWaiting, time.Minute), hook("drain", v1alpha1.HookWaiting, time.Hour)}, want: time.Hour,
		},
		"a watcher does not say which hook waits: the nearest that is not ignored": {
			event: terminating("", ""),
			hooks: []v1alpha1.HookStatus{
				hook("b", v1alpha1.HookWaiting, time.Minute), hook("c", v1alpha1.HookWaiting, time.Hour), hook("a", v1alpha1.HookIgnored, time.Second),
			},
			want: time.Minute,
		},
		"one that has ended: the pods have no more time": {
			event: terminating("drain", "a"), hooks: []v1alpha1.HookStatus{hook("drain", v1alpha1.HookEnded, time.Minute)}, want: time.Minute,
		},
		"unless the group waits at another": {
			event: terminating("", ""),
			hooks: []v1alpha1.HookStatus{hook("drain", v1alpha1.HookEnded, time.Minute), hook("other", v1alpha1.HookWaiting, time.Hour)}, want: time.Hour,
		},
		"one that was continued counts": {
			event: terminating("drain", "a"), hooks: []v1alpha1.HookStatus{hook("drain", v1alpha1.HookContinued, time.Minute)}, want: time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want time.Time
			if test.want != 0 {
				want = start.Add(test.want)
			}
			if got := EventDeadline(test.event, test.hooks); !got.Equal(want) {
				t.Errorf("deadline %s, want %s", got, want)
			}
		})
	}
}
