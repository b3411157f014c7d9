// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// randomly makes inputs and answers.
type randomly struct{ *rand.Rand }

func (r randomly) oneOf(names ...string) string { return names[r.IntN(len(names))] }

func (r randomly) often() bool { return r.IntN(4) > 0 }

func (r randomly) rarely() bool { return r.IntN(4) == 0 }

func (r randomly) events() []v1alpha1.Event {
	var events []v1alpha1.Event
	for range r.IntN(4) {
		e := terminating(r.oneOf("", "a", "b", "c"), r.oneOf("", "1", "2"))
		e.Time = after(-time.Duration(r.IntN(900)) * time.Second)
		events = append(events, e)
	}
	return events
}

func (r randomly) hooks() []v1alpha1.HookStatus {
	var hooks []v1alpha1.HookStatus
	states := []v1alpha1.HookState{v1alpha1.HookWaiting, v1alpha1.HookContinued, v1alpha1.HookAbandoned, v1alpha1.HookEnded, v1alpha1.HookIgnored}
	for _, name := range []string{"a", "b", "d"}[r.IntN(4):] {
		hook := waiting(name, r.oneOf("", "1", "2"))
		if r.rarely() {
			hook.State = states[r.IntN(len(states))]
		}
		if r.rarely() {
			hook.HeartbeatTimeoutSeconds = nil
		}
		if r.rarely() {
			hook.Failures, hook.RetryTime = ptr.To(1+r.Int32N(9)), ptr.To(after(time.Duration(r.IntN(900))*time.Second))
		}
		if r.rarely() {
			hook.LastHeartbeatTime = ptr.To(after(time.Duration(r.IntN(900)) * time.Second))
		}
		if r.rarely() {
			hook.GlobalTimeoutSeconds = ptr.To(1 + r.Int32N(900))
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

func (r randomly) policy() *v1alpha1.NodeTerminationPolicy {
	if r.IntN(20) == 0 {
		return nil
	}
	rules := &v1alpha1.LifecycleHookSpec{OnTimeout: v1alpha1.OnTimeout(r.oneOf("", "Continue", "Abandon", "None"))}
	if r.rarely() {
		rules.MaxWaitSeconds = ptr.To(30 + r.Int32N(1800))
	}
	if r.rarely() {
		rules.CompletionDelaySeconds = ptr.To(r.Int32N(600))
	}
	switch r.IntN(3) {
	case 0:
		rules.Heartbeat = &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatDisabled}
	case 1:
		rules.Heartbeat = &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To(10 + r.Int32N(600))}
	}
	p := policy(rules)
	if r.IntN(20) == 0 {
		p.Spec.Mode = v1alpha1.ModeDryRun
	}
	if r.IntN(20) == 0 {
		p.Spec.Events = cordons
	}
	return p
}

func (r randomly) input() Input {
	in := Input{
		Events: r.events(), Hooks: r.hooks(), Policy: r.policy(), NodeGone: r.rarely(), Finished: r.rarely(), Suspended: r.rarely(),
		Now: start.Add(time.Duration(r.IntN(900)) * time.Second),
	}
	in.NodeMissing = !in.NodeGone && r.rarely()
	if r.IntN(10) == 0 {
		in.Forbidden = "no tag"
	}
	if r.IntN(10) == 0 {
		in.Unreachable = "the node does not answer"
	}
	if r.rarely() {
		in.PodsGoneSince = in.Now.Add(-time.Duration(r.IntN(300)) * time.Second)
	}
	if r.rarely() {
		in.LastAsked = in.Now.Add(-time.Duration(r.IntN(20)) * time.Second)
	}
	return in
}

func (r randomly) answer() Answer {
	answer := Answer{Instance: awsapi.GroupInstance{Group: r.oneOf("", "g"), State: r.oneOf("Terminating:Wait", "Terminating:Proceed")}}
	if answer.Instance.Listed() {
		for _, name := range []string{"a", "b", "c", "d"}[r.IntN(5):] {
			answer.Hooks = append(answer.Hooks, awsapi.Hook{
				Name: name, Launching: r.rarely(),
				HeartbeatTimeout: time.Duration(r.IntN(900)) * time.Second, GlobalTimeout: time.Duration(r.IntN(9000)) * time.Second,
			})
		}
	}
	if r.rarely() {
		answer.Err = []error{awsapi.ErrBusy, awsapi.ErrNoAction, errors.New("denied")}[r.IntN(3)]
	}
	return answer
}

// Whatever is known, and whatever Auto Scaling answers.
func TestPlanNeverGoesTooFar(t *testing.T) {
	for seed := range uint64(20_000) {
		r := randomly{rand.New(rand.NewPCG(seed, 0))}
		in := r.input()
		plan := NewPlan(in)
		gone := !in.PodsGoneSince.IsZero()
		for n := 0; len(plan.Calls) > 0; n++ {
			call := plan.Calls[0]
			if n > 2*maxHooks+1 {
				t.Fatalf("seed %d: it does not end: %+v", seed, plan.Calls)
			}
			checkCalls(t, seed, in, plan, gone)
			if call.Method == Complete && gone && !in.NodeGone && r.rarely() {
				if r.often() {
					plan.Hold("volumes")
				} else {
					plan.Restart("pods")
					gone = false
				}
				continue
			}
			plan.Record(r.answer())
		}
		if !plan.NextLook.IsZero() && plan.NextLook.Before(in.Now) {
			t.Errorf("seed %d: next look %s before now", seed, in.Now.Sub(plan.NextLook))
		}
		if Manages(in.Policy) && plan.NextLook.IsZero() && !in.Suspended && !in.NodeMissing {
			for _, hook := range Waiting(plan.Hooks) {
				if hook.LastHeartbeatTime.Equal(&metav1.Time{Time: in.Now}) {
					continue // the change of the status has it planned again
				}
				t.Errorf("seed %d: hook %+v waits, but nobody looks again", seed, hook)
			}
		}
		for i := range in.Hooks {
			if before, now := in.Hooks[i], plan.Hooks[i]; isFinal(before.State) && now.State != before.State && now.Token == before.Token {
				t.Errorf("seed %d: %s became %s", seed, before.State, now.State)
			}
		}
		if t.Failed() {
			t.Fatalf("input %+v", in)
		}
	}
}

func checkCalls(t *testing.T, seed uint64, in Input, plan *Plan, gone bool) {
	t.Helper()
	seen := map[int]bool{}
	for _, call := range plan.Calls {
		if call.Method == Find {
			if len(plan.Hooks) != 0 {
				t.Errorf("seed %d: hooks are sought although some are known", seed)
			}
			continue
		}
		hook := plan.Hooks[call.Hook]
		overdue := !in.Now.Before(hook.Deadline.Time)
		switch {
		case seen[call.Hook]:
			t.Errorf("seed %d: two calls about one hook: %+v", seed, plan.Calls)
		case hook.State != v1alpha1.HookWaiting:
			t.Errorf("seed %d: %s about a hook that is %s", seed, call.Method, hook.State)
		case call.Method == Complete && (in.Suspended || in.NodeMissing):
			t.Errorf("seed %d: completed while suspended, or the node is missing", seed)
		case call.Method == Complete && !gone && !in.NodeGone && in.Unreachable == "" && !overdue:
			t.Errorf("seed %d: completed before the pods are gone: %+v", seed, hook)
		case call.Method == Heartbeat && overdue:
			t.Errorf("seed %d: a heartbeat after the deadline: %+v", seed, hook)
		case (call.Method == Complete) != (call.Result != ""):
			t.Errorf("seed %d: %+v", seed, call)
		}
		seen[call.Hook] = true
	}
	if !Manages(in.Policy) {
		t.Errorf("seed %d: calls without a policy that manages hooks", seed)
	}
}

func isFinal(state v1alpha1.HookState) bool {
	return state == v1alpha1.HookContinued || state == v1alpha1.HookAbandoned || state == v1alpha1.HookEnded
}
