// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestCondition(t *testing.T) {
	hook := func(name string, state v1alpha1.HookState, message string) v1alpha1.HookStatus {
		return v1alpha1.HookStatus{AutoScalingGroupName: "g", Name: name, State: state, Message: message, StartTime: after(0), Deadline: after(time.Minute)}
	}
	failing := hook("failing", v1alpha1.HookWaiting, "denied")
	failing.Failures = ptr.To[int32](3)
	waits, ignored, ended := hook("waits", v1alpha1.HookWaiting, ""), hook("theirs", v1alpha1.HookIgnored, "ignored"), hook("ended", v1alpha1.HookEnded, "")
	for name, test := range map[string]struct {
		hooks           []v1alpha1.HookStatus
		reason, message string
	}{
		"one that waits":         {[]v1alpha1.HookStatus{waits}, v1alpha1.ReasonHookWaiting, "hook waits of group g waits until 2026-11-22T05:09:00Z"},
		"and why":                {[]v1alpha1.HookStatus{hook("a", v1alpha1.HookWaiting, "volumes")}, v1alpha1.ReasonHookWaiting, "hook a of group g waits until 2026-11-22T05:09:00Z: volumes"},
		"a failing one first":    {[]v1alpha1.HookStatus{ignored, failing, waits, ended}, v1alpha1.ReasonHookFailing, "hook failing of group g: denied"},
		"whatever the order":     {[]v1alpha1.HookStatus{ended, waits, failing, ignored}, v1alpha1.ReasonHookFailing, "hook failing of group g: denied"},
		"then one that waits":    {[]v1alpha1.HookStatus{ignored, ended, waits, ignored}, v1alpha1.ReasonHookWaiting, "hook waits of group g waits until 2026-11-22T05:09:00Z"},
		"then one that is not":   {[]v1alpha1.HookStatus{ended, ignored}, v1alpha1.ReasonHookIgnored, "hook theirs of group g is left to its own timeout: ignored"},
		"one that was completed": {[]v1alpha1.HookStatus{hook("a", v1alpha1.HookContinued, "")}, v1alpha1.ReasonHookCompleted, "hook a of group g: Continued"},
		"two that were":          {[]v1alpha1.HookStatus{ended, hook("a", v1alpha1.HookAbandoned, "")}, v1alpha1.ReasonHookCompleted, "no group waits any more (2 of 2 hooks)"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := &Plan{Hooks: test.hooks, in: Input{Now: start}, concluded: true}
			want := &metav1.Condition{
				Type: v1alpha1.ConditionLifecycleHookCompleted, Status: metav1.ConditionFalse, Reason: test.reason, Message: test.message, LastTransitionTime: after(0),
			}
			if test.reason == v1alpha1.ReasonHookCompleted {
				want.Status = metav1.ConditionTrue
			}
			if diff := cmp.Diff(want, plan.Condition()); diff != "" {
				t.Errorf("condition (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanIsWrittenIntoTheStatus(t *testing.T) {
	nt := &v1alpha1.NodeTermination{}
	nt.Generation = 7
	in := oneHook(nil, 20*time.Second)
	Track(in).WriteTo(nt)
	if len(nt.Status.LifecycleHooks) != 1 || len(nt.Status.Conditions) != 0 {
		t.Errorf("status %+v, want the hook and no condition yet", nt.Status)
	}
	NewPlan(in).WriteTo(nt)
	conditions := nt.Status.Conditions
	if len(conditions) != 1 || conditions[0].Reason != v1alpha1.ReasonHookWaiting || conditions[0].ObservedGeneration != 7 || !conditions[0].LastTransitionTime.Time.Equal(in.Now) {
		t.Errorf("conditions %+v", conditions)
	}
	in.Now = in.Now.Add(time.Second)
	NewPlan(in).WriteTo(nt)
	if since := nt.Status.Conditions[0].LastTransitionTime; !since.Time.Equal(start.Add(20 * time.Second)) {
		t.Errorf("it is waiting since %s", since)
	}
	in.Policy.Spec.Mode, in.Hooks[0].State = v1alpha1.ModeDryRun, v1alpha1.HookContinued
	NewPlan(in).WriteTo(nt)
	if reason := nt.Status.Conditions[0].Reason; reason != v1alpha1.ReasonHookWaiting {
		t.Errorf("in mode DryRun it became %s", reason)
	}
}

func TestFailing(t *testing.T) {
	status := &v1alpha1.NodeTerminationStatus{LifecycleHooks: []v1alpha1.HookStatus{
		{State: v1alpha1.HookWaiting, Failures: ptr.To[int32](2)},
		{State: v1alpha1.HookWaiting},
		{State: v1alpha1.HookEnded, Failures: ptr.To[int32](1)},
	}}
	if got := Failing(status, start); got != 1 {
		t.Errorf("%d are failing, want the one that waits", got)
	}
	notFound := &v1alpha1.NodeTerminationStatus{Conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionLifecycleHookCompleted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonHookFailing, LastTransitionTime: after(0),
	}}}
	for now, want := range map[time.Duration]int{0: 1, 10*time.Minute - 1: 1, 10 * time.Minute: 0} {
		if got := Failing(notFound, start.Add(now)); got != want {
			t.Errorf("%d are failing %s after one could not be found, want %d", got, now, want)
		}
	}
}
