// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// terminating is an event of a group that terminates its instance.
func terminating(id string, hook *v1alpha1.LifecycleHook) v1alpha1.Event {
	return v1alpha1.Event{ID: id, Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceSQS, Time: metav1.Time{Time: t0}, LifecycleHook: hook}
}

// waits lets the i-th node's instance wait at a hook of a group of the test's own,
// and returns the event that says so.
func (s *setting) waits(i int, hook string, change ...func(*awssim.LifecycleHook)) v1alpha1.Event {
	s.t.Helper()
	h := awssim.LifecycleHook{Group: s.ns, Name: hook, HeartbeatTimeout: 2 * time.Minute}
	for _, f := range change {
		f(&h)
	}
	if err := sim.PutLifecycleHook(h); err != nil {
		s.t.Fatal(err)
	}
	id, _ := ec2node.InstanceID(s.nodes[i])
	action, err := sim.BeginLifecycleAction(s.ns, hook, id)
	if err != nil {
		s.t.Fatal(err)
	}
	e := terminating("h-"+hook, &v1alpha1.LifecycleHook{AutoScalingGroupName: s.ns, Name: hook, Token: action.Token})
	e.Time = now(0)
	return e
}

// action is how it stands with the test's hook at AWS.
func (s *setting) action(hook string) awssim.LifecycleAction {
	s.t.Helper()
	for _, action := range sim.LifecycleActions() {
		if action.Hook.Group == s.ns && action.Hook.Name == hook {
			return action
		}
	}
	s.t.Fatalf("no action of hook %s", hook)
	return awssim.LifecycleAction{}
}

func (s *setting) calls(action string) int {
	n := 0
	for _, call := range sim.Calls("autoscaling", action) {
		if call.Params["AutoScalingGroupName"] == s.ns {
			n++
		}
	}
	return n
}

func TestHooksAreCompletedAfterTheDrain(t *testing.T) {
	t.Parallel()
	const delay = 3 * time.Second
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To(int32(delay / time.Second))}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3, terminatesAfter(3*time.Second))
	// Two hooks of one group, each with an event of its own.
	a, b := s.waits(0, "a"), s.waits(0, "b")
	nt := s.terminate(0, a, b)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.LifecycleHooks) != 2 || ptr.Deref(nt.Status.LifecycleHooks[0].HeartbeatTimeoutSeconds, 0) != 120 || nt.Status.Deadline == nil {
			return fmt.Errorf("hooks %+v, deadline %v, want two that were described", nt.Status.LifecycleHooks, nt.Status.Deadline)
		}
		return nil
	})
	for _, hook := range []string{"a", "b"} {
		if action := s.action(hook); action.Result != "" {
			t.Errorf("hook %s was completed while pods were there", hook)
		}
	}
	nt = s.until(nt, v1alpha1.StateCompleted)
	for i, hook := range []string{"a", "b"} {
		action := s.action(hook)
		if action.Result != "CONTINUE" || action.TimedOut {
			t.Errorf("hook %s: %+v, want it continued", hook, action)
		}
		if got := nt.Status.LifecycleHooks[i].State; got != v1alpha1.HookContinued {
			t.Errorf("hook %s is %s", hook, got)
		}
		drained := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionDrained)
		if gone := drained.LastTransitionTime.Time; action.Ended.Before(gone.Add(delay)) {
			t.Errorf("hook %s was completed at %s, not %s after the pods were gone at %s", hook, action.Ended, delay, gone)
		}
	}
	if n := s.calls("CompleteLifecycleAction"); n != 2 {
		t.Errorf("%d completions, want one for each token", n)
	}
	if n := s.calls("DescribeLifecycleHooks"); n > 2 {
		t.Errorf("the hooks were asked for %d times", n)
	}
	if !meta.IsStatusConditionTrue(nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted) {
		t.Errorf("conditions %+v", nt.Status.Conditions)
	}
}

// A watcher receives only that the group wants to terminate the instance.
func TestHooksOfAWatchersEventAreFound(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	s.waits(0, "a")
	s.waits(0, "b")
	if err := sim.PutLifecycleHook(awssim.LifecycleHook{Group: s.ns, Name: "join", Launching: true}); err != nil {
		t.Fatal(err)
	}
	e := terminating("imds", nil)
	e.Source, e.Time = v1alpha1.SourceIMDS, now(0)
	nt := s.terminate(0, e)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		for _, hook := range nt.Status.LifecycleHooks {
			if hook.State != v1alpha1.HookContinued {
				return fmt.Errorf("hook %s is %s: %s", hook.Name, hook.State, hook.Message)
			}
		}
		if len(nt.Status.LifecycleHooks) != 2 || nt.Status.CompletionTime == nil {
			return fmt.Errorf("hooks %+v, want a and b, and the end", nt.Status.LifecycleHooks)
		}
		return nil
	})
	if s.action("a").Result != "CONTINUE" || s.action("b").Result != "CONTINUE" {
		t.Error("not every hook was continued")
	}
}

// A group whose instance waits at no hook is asked once more after the end, and then no more.
func TestSearchForAHookEndsWithTheDrain(t *testing.T) {
	s := newSetting(t, 1, nil)
	id, _ := ec2node.InstanceID(s.nodes[0])
	sim.PutGroupInstance(s.ns, id)
	e := terminating("imds", nil)
	e.Source, e.Time = v1alpha1.SourceIMDS, now(0)
	nt := s.until(s.terminate(0, e), v1alpha1.StateCompleted)
	asked := func() (n int) {
		for _, call := range sim.Calls("autoscaling", "DescribeAutoScalingInstances") {
			if call.Params["InstanceIds.member.1"] == nt.Name {
				n++
			}
		}
		return n
	}
	for i, want := range []int{2, 2, 2} {
		testClock.shift(t, time.Duration(i+1)*11*time.Second)
		s.nudge(nt)
		if n := asked(); n != want {
			t.Errorf("%d times asked %s after the end, want %d", n, time.Duration(i+1)*11*time.Second, want)
		}
	}
}

func TestBlockedDrainKeepsTheGroupWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		onTimeout v1alpha1.OnTimeout
		state     v1alpha1.HookState
		result    string
	}{
		"and continues at the deadline": {"", v1alpha1.HookContinued, "CONTINUE"},
		"or abandons":                   {v1alpha1.OnTimeoutAbandon, v1alpha1.HookAbandoned, "ABANDON"},
		"or leaves it":                  {v1alpha1.OnTimeoutNone, v1alpha1.HookIgnored, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
				spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{
					MaxWaitSeconds: ptr.To[int32](30), OnTimeout: test.onTimeout,
					Heartbeat: &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)},
				}
				spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}
			})
			s.budget()
			cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
			nt := s.terminate(0, s.waits(0, "drain"))
			nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
				if hooks := nt.Status.LifecycleHooks; len(hooks) != 1 || hooks[0].State != test.state {
					return fmt.Errorf("hooks %+v, want one that is %s", hooks, test.state)
				}
				return nil
			})
			action := s.action("drain")
			if action.Result != test.result {
				t.Errorf("result %q, want %q", action.Result, test.result)
			}
			// The event's time is in whole seconds, so that a third may be just before the deadline.
			if n := len(action.Heartbeats); n < 2 || n > 3 {
				t.Errorf("heartbeats %v, want one every ten of thirty seconds", action.Heartbeats)
			}
			if !action.Ended.IsZero() && action.Ended.Before(nt.Status.LifecycleHooks[0].Deadline.Time) {
				t.Errorf("completed at %s, before its deadline %s", action.Ended, nt.Status.LifecycleHooks[0].Deadline)
			}
		})
	}
}

func TestOthersHooksAreLeftAlone(t *testing.T) {
	for name, test := range map[string]struct {
		hook   string
		change func(*v1alpha1.NodeTerminationPolicySpec)
	}{
		"a managed node groups": {"Terminate-LC-Hook", nil},
		"one the policy ignores": {"theirs", func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{Ignore: []string{"theirs"}}
		}},
		"where the policy only cordons": {"drain", func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.AutoScalingTermination, Action: v1alpha1.ActionCordon}}
		}},
		"where the policy ignores it": {"drain", func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.AutoScalingTermination, Action: v1alpha1.ActionIgnore}}
		}},
		"where the instance lacks the tag": {"drain", func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.InstanceTag = "example.com/managed" }},
		"in mode DryRun":                   {"drain", func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun }},
		"where no policy governs":          {"drain", func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.NodeSelector.MatchLabels["test"] = "nothing" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, test.change)
			if s.policy.Spec.InstanceTag != "" {
				s.ec2Says("running")
			}
			nt := s.terminate(0, s.waits(0, test.hook))
			s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
				ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
				if ready == nil || ready.Reason == v1alpha1.StateDraining || ready.Reason == v1alpha1.StateReceived || ready.Reason == v1alpha1.StateWaiting {
					return fmt.Errorf("not settled: %+v", ready)
				}
				if hooks := nt.Status.LifecycleHooks; s.policy.Spec.Mode != v1alpha1.ModeDryRun && len(hooks) == 1 && hooks[0].State != v1alpha1.HookIgnored {
					return fmt.Errorf("hook %+v, want it left alone", hooks[0])
				}
				return nil
			})
			if n := s.calls("CompleteLifecycleAction") + s.calls("RecordLifecycleActionHeartbeat"); n != 0 {
				t.Errorf("%d calls about somebody else's hook", n)
			}
			if action := s.action(test.hook); action.Result != "" {
				t.Errorf("completed with %s", action.Result)
			}
		})
	}
}

// Not in parallel: the faults are everybody's.
func TestCompletionIsTriedAgain(t *testing.T) {
	for _, code := range []string{awssim.Throttle, awssim.ServerError, "AccessDenied"} {
		t.Run(code, func(t *testing.T) {
			s := newSetting(t, 1, nil)
			fault, err := sim.AddFault(awssim.Fault{Action: "CompleteLifecycleAction", Code: code})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(sim.ClearFaults)
			nt := s.terminate(0, s.waits(0, "drain"))
			s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
				condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
				ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
				if condition == nil || condition.Reason != v1alpha1.ReasonHookFailing || ready.Reason != v1alpha1.StateCompleting {
					return fmt.Errorf("want a failing hook, got %+v, %+v", condition, ready)
				}
				return nil
			})
			sim.ClearFault(fault)
			s.until(nt, v1alpha1.StateCompleted)
			if action := s.action("drain"); action.Result != "CONTINUE" {
				t.Errorf("result %q", action.Result)
			}
		})
	}
}

func TestHookThatWaitsNoMoreIsDone(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	e := s.waits(0, "drain")
	e.LifecycleHook.Token = "00000000-0000-0000-0000-000000000000"
	nt := s.until(s.terminate(0, e), v1alpha1.StateCompleted)
	if got := nt.Status.LifecycleHooks[0].State; got != v1alpha1.HookEnded {
		t.Errorf("hook is %s, want Ended", got)
	}
}

// The instance goes now, whatever the policy would have waited.
func TestPodsHaveNoMoreTimeOnceTheGroupWaitsNoMore(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{
			MaxWaitSeconds: ptr.To[int32](1800),
			Heartbeat:      &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)},
		}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	if err := sim.PutLifecycleHook(awssim.LifecycleHook{Group: s.ns, Name: "drain", HeartbeatTimeout: 2 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	id, _ := ec2node.InstanceID(s.nodes[0])
	sim.PutGroupInstance(s.ns, id) // it does not wait: somebody else completed that
	e := terminating("h-drain", &v1alpha1.LifecycleHook{AutoScalingGroupName: s.ns, Name: "drain", Token: "00000000-0000-0000-0000-000000000000"})
	e.Time = now(0)
	nt := s.until(s.terminate(0, e), v1alpha1.StateCompleted)
	if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookEnded || nt.Status.Deadline == nil || !nt.Status.Deadline.Equal(&hook.Deadline) {
		t.Errorf("deadline %v, hook %+v; want the end of the hook", nt.Status.Deadline, hook)
	}
	if len(nt.Status.PodOutcomes) != 1 || nt.Status.PodOutcomes[0].Outcome != v1alpha1.PodCutShort {
		t.Errorf("outcomes %+v, want a pod that was deleted past its budget", nt.Status.PodOutcomes)
	}
}

// A pod that tolerates the cordon may come while the completion is delayed.
func TestPodsThatComeBeforeTheCompletionGoToo(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{CompletionDelaySeconds: ptr.To[int32](10)}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.until(s.terminate(0, s.waits(0, "drain")), v1alpha1.StateCompleting)
	late := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, terminatesAfter(3*time.Second))[0]
	testcluster.Eventually(t, patience, func() error {
		if action := s.action("drain"); action.Result != "CONTINUE" {
			return fmt.Errorf("result %q", action.Result)
		}
		return nil
	})
	if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(late), late); !apierrors.IsNotFound(err) {
		t.Errorf("the hook was completed while pod %s was there: %v", late.Name, err)
	}
	if nt = s.until(nt, v1alpha1.StateCompleted); *nt.Status.Pods.Total != 2 {
		t.Errorf("%d pods are counted, want both", *nt.Status.Pods.Total)
	}
}

func TestHookOfANodeThatIsGoneIsCompleted(t *testing.T) {
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, s.waits(0, "drain"))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) == 0 {
			return fmt.Errorf("no pod is blocked yet")
		}
		return nil
	})
	s.deleteNode(0)
	s.pass(nt, 61*time.Second)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if !strings.Contains(ready.Message, "1 pods that have to go are still bound to its name") {
			return fmt.Errorf("want that the pod is waited for: %s", ready.Message)
		}
		return nil
	})
	if action := s.action("drain"); action.Result != "" {
		t.Errorf("the hook was completed with %s while a pod was there", action.Result)
	}
	for _, pod := range s.left(0) { // as Kubernetes does with those whose node is gone
		if err := admin(t).Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: pod}}, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	s.nudge(nt)
	testcluster.Eventually(t, patience, func() error {
		if action := s.action("drain"); action.Result != "CONTINUE" {
			return fmt.Errorf("result %q", action.Result)
		}
		return nil
	})
	s.until(nt, v1alpha1.StateCompleted)
}
