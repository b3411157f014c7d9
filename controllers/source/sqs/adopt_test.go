// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// adopting adopts a hook of the group workers.
func adopting(name string) func(*v1alpha1.NodeTerminationPolicy) {
	return func(p *v1alpha1.NodeTerminationPolicy) {
		p.Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{Adopt: []v1alpha1.AdoptedHook{{AutoScalingGroupName: "workers", Name: name}}}
	}
}

func dryRun(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Mode = v1alpha1.ModeDryRun }

// launching returns the notice of an instance that waits at hook join of the group workers.
func launching(instanceID string) awssim.Notice {
	return awssim.Notice{Kind: awssim.Lifecycle, Launching: true, InstanceIDs: []string{instanceID}}
}

// terminating returns the notice of an instance that waits at hook drain of the group workers.
func terminating(instanceID string) awssim.Notice {
	return awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instanceID}}
}

func notReady(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }

// become stores a node as it is now and tells of it.
func (f *fixture) become(n *corev1.Node) {
	f.t.Helper()
	err := f.kube.Create(f.t.Context(), n.DeepCopy())
	if err != nil {
		current := &corev1.Node{}
		if err = f.kube.Get(f.t.Context(), client.ObjectKeyFromObject(n), current); err == nil {
			current.Status = n.Status
			err = f.kube.Status().Update(f.t.Context(), current)
		}
	}
	if err != nil {
		f.t.Fatal(err)
	}
	informer, err := f.nodes.FakeInformerFor(f.t.Context(), &corev1.Node{})
	if err != nil {
		f.t.Fatal(err)
	}
	informer.Update(n, n)
}

// completions returns the calls that complete hooks.
func (f *fixture) completions() []awssim.Call {
	return f.sim.Calls("autoscaling", "CompleteLifecycleAction")
}

// completed waits until the only action is completed with CONTINUE and its message is gone.
func (f *fixture) completed() {
	f.t.Helper()
	f.waitFor("the hook to be completed and its message deleted", func() bool {
		actions := f.sim.LifecycleActions()
		return len(actions) == 1 && actions[0].Result == "CONTINUE" && !actions[0].TimedOut && len(f.messages()) == 0
	})
}

// A launch hook is completed as soon as the node is Ready, although its message is hidden.
func TestAdoptedLaunchWaitsForItsNode(t *testing.T) {
	for name, change := range map[string]func(*awssim.Notice){
		"EventBridge": func(*awssim.Notice) {},
		"direct":      func(n *awssim.Notice) { n.Kind = awssim.LifecycleDirect },
		"through SNS": func(n *awssim.Notice) { n.SNS = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, node("other", instance2))
			f.policy("all", adopting("join"), selecting("b")) // whichever nodes it selects
			notice := launching(instance)
			change(&notice)
			f.send(notice)
			f.run()
			f.handled(1)
			f.waitFor("the hook to be looked at", func() bool { return f.looks.Load() > 0 })
			f.become(node("a", instance, notReady))
			f.become(node("other", instance2))
			if got := f.hiddenFor(); got != minWait || len(f.completions()) != 0 {
				t.Fatalf("hidden for %s with %d completions, want %s and none", got, len(f.completions()), minWait)
			}
			f.become(node("a", instance))
			f.completed()
			if calls := f.completions(); len(calls) != 1 || calls[0].Params["LifecycleActionToken"] == "" || calls[0].Role != "" {
				t.Errorf("completed with %+v", calls)
			}
			if f.termination(instance) != nil {
				t.Error("a launch made a NodeTermination")
			}
			if health := f.Health(f.queue); !health.Ready || !health.LastEventTime.Equal(f.clock.Now()) {
				t.Errorf("health %+v", health)
			}
		})
	}
}

// What waits for nothing is completed at once.
func TestAdoptedHookIsCompletedAtOnce(t *testing.T) {
	warm := launching(stranger)
	warm.Destination = "WarmPool"
	direct := terminating(stranger)
	direct.Kind = awssim.LifecycleDirect
	for _, test := range []struct {
		name   string
		policy func(*v1alpha1.NodeTerminationPolicy)
		notice awssim.Notice
		age    time.Duration
	}{
		{"the node is Ready", adopting("join"), launching(instance), 0},
		{"into a warm pool", adopting("join"), warm, 0},
		{"termination of what never joined", adopting("drain"), terminating(stranger), 0},
		{"the same, from the group itself", adopting("drain"), direct, 0},
		{"the same, received late", adopting("drain"), terminating(stranger), 40 * time.Minute},
		{"although others are discarded", func(p *v1alpha1.NodeTerminationPolicy) { adopting("drain")(p); discarding(p) }, terminating(stranger), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, node("a", instance))
			f.policy("all", test.policy)
			f.policy("other")
			f.send(test.notice)
			f.step(test.age)
			f.run()
			f.handled(1)
			f.completed()
		})
	}
}

// Nobody else's hook is completed, whatever else becomes of its message.
func TestOtherHooksAreIgnored(t *testing.T) {
	of := func(n awssim.Notice, group, hook string) awssim.Notice {
		n.Group, n.Hook = group, hook
		return n
	}
	elsewhere := func(p *v1alpha1.NodeTerminationPolicy) {
		adopting("join")(p)
		p.Spec.Sources[0].SQS.QueueURL += "-other"
	}
	for _, test := range []struct {
		name    string
		policy  []func(*v1alpha1.NodeTerminationPolicy)
		notice  awssim.Notice
		outcome outcome
		says    string // in the log
	}{
		{"launch, not adopted", nil, launching(instance), skipped, ""},
		{"launch, another group's", []func(*v1alpha1.NodeTerminationPolicy){adopting("join")}, of(launching(instance), "databases", "join"), skipped, ""},
		{"launch, another hook", []func(*v1alpha1.NodeTerminationPolicy){adopting("join")}, of(launching(instance), "workers", "warm-up"), skipped, ""},
		{"launch, a managed node group's", []func(*v1alpha1.NodeTerminationPolicy){adopting("join")}, of(launching(instance), "workers", "Launch-LC-Hook"), skipped, ""},
		{
			"launch, a managed node group's, adopted in error", []func(*v1alpha1.NodeTerminationPolicy){adopting("Launch-LC-Hook")},
			of(launching(instance), "workers", "Launch-LC-Hook"), skipped, "take it out of ignore",
		},
		{"launch, adopted by a policy of another queue", []func(*v1alpha1.NodeTerminationPolicy){elsewhere}, launching(instance), skipped, ""},
		{"launch, dry run", []func(*v1alpha1.NodeTerminationPolicy){adopting("join"), dryRun}, launching(instance), skipped, "mode DryRun"},
		{"unjoined, not adopted", nil, terminating(stranger), retained, ""},
		{"unjoined, not adopted and discarded", []func(*v1alpha1.NodeTerminationPolicy){discarding}, terminating(stranger), discarded, ""},
		{"unjoined, another group's", []func(*v1alpha1.NodeTerminationPolicy){adopting("drain")}, of(terminating(stranger), "databases", "drain"), retained, ""},
		{"unjoined, a managed node group's", []func(*v1alpha1.NodeTerminationPolicy){adopting("drain")}, of(terminating(stranger), "workers", "Terminate-LC-Hook"), retained, ""},
		{"unjoined, dry run", []func(*v1alpha1.NodeTerminationPolicy){adopting("drain"), dryRun}, terminating(stranger), retained, "mode DryRun"},
		{"of a node", []func(*v1alpha1.NodeTerminationPolicy){adopting("drain")}, terminating(instance), stored, ""},
		{"of a node that no policy selects", []func(*v1alpha1.NodeTerminationPolicy){adopting("drain"), selecting("b")}, terminating(instance), notGoverned, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, node("a", instance))
			f.policy("adopts", test.policy...)
			f.policy("other", func(p *v1alpha1.NodeTerminationPolicy) {
				p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": "b"}}
				if test.outcome == discarded {
					discarding(p)
				}
			})
			counted := f.of(test.outcome)
			f.send(test.notice)
			f.run()
			f.handled(1)
			if got := f.of(test.outcome) - counted; got != 1 {
				t.Errorf("outcome %s was counted %v times", test.outcome, got)
			}
			f.become(node("a", instance))
			if n := f.added.Load(); n != 0 {
				t.Errorf("%d hooks are to be completed", n)
			}
			if actions := f.sim.LifecycleActions(); len(f.completions()) != 0 || actions[0].Result != "" {
				t.Errorf("completed: %+v", actions)
			}
			if gone := test.outcome != retained; gone != (len(f.messages()) == 0) {
				t.Errorf("messages %+v", f.messages())
			}
			if got := f.logged.with("lifecycle hook is ignored", test.says); (len(got) == 1) != (test.says != "") {
				t.Errorf("the log says %q", got)
			}
		})
	}
}

// What becomes of a hook is decided by the policies and nodes of the moment.
func TestNoLongerToBeCompleted(t *testing.T) {
	for name, test := range map[string]struct {
		notice  awssim.Notice
		tries   int // before the change
		change  func(*fixture, *v1alpha1.NodeTerminationPolicy)
		outcome outcome
	}{
		"not adopted any more": {launching(stranger), 0, func(f *fixture, p *v1alpha1.NodeTerminationPolicy) {
			p.Spec.LifecycleHook = nil
			if err := f.kube.Update(f.t.Context(), p); err != nil {
				f.t.Fatal(err)
			}
		}, skipped},
		"it joins after all": {terminating(stranger), 1, func(*fixture, *v1alpha1.NodeTerminationPolicy) {}, stored},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			p := f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) {
				p.Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{Adopt: []v1alpha1.AdoptedHook{
					{AutoScalingGroupName: "workers", Name: "join"}, {AutoScalingGroupName: "workers", Name: "drain"},
				}}
			})
			if _, err := f.sim.AddFault(awssim.Fault{Service: "autoscaling", Code: awssim.Throttle}); err != nil {
				t.Fatal(err)
			}
			counted := f.of(test.outcome)
			f.send(test.notice)
			f.run()
			f.handled(1)
			f.waitFor("the hook to be tried", func() bool { return len(f.completions()) == test.tries })
			test.change(f, p)
			f.sim.ClearFaults()
			f.become(node("n", stranger))
			f.step(maxBackoff) // for the one that was tried, and for the message if that was not yet given back
			f.waitFor("the message to be handled anew", func() bool { return f.of(test.outcome) == counted+1 && len(f.messages()) == 0 })
			if n := len(f.completions()); n != test.tries {
				t.Errorf("completed all the same: %+v", f.completions())
			}
		})
	}
}
