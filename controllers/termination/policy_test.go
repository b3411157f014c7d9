// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// TestPolicyForHooks: the policy for the hooks of a node that is gone, whose labels nobody knows.
func TestPolicyForHooks(t *testing.T) {
	policy := func(name string, change ...func(*v1alpha1.NodeTerminationPolicySpec)) v1alpha1.NodeTerminationPolicy {
		p := *policyWith()
		p.Name = name
		for _, f := range change {
			f(&p.Spec)
		}
		return p
	}
	dryRun := func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun }
	cordons := func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.AutoScalingTermination, Action: v1alpha1.ActionCordon}}
	}
	ignores := func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{Ignore: []string{"drain"}}
	}
	noted := func(offset time.Duration, policy string) v1alpha1.Event {
		e := hook("h")
		e.Time, e.PolicyName = at(offset), policy
		return e
	}
	unnamed := terminating("imds", nil)
	spotOfA := spot("s", 0)
	spotOfA.PolicyName = "a"
	for name, test := range map[string]struct {
		events   []v1alpha1.Event
		policies []v1alpha1.NodeTerminationPolicy
		want     string
		several  []string
	}{
		"the noted one":                            {events: []v1alpha1.Event{noted(0, "b")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b")}, want: "b"},
		"also if it ignores the hook":              {events: []v1alpha1.Event{noted(0, "b")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b", ignores)}, want: "b"},
		"the one noted last":                       {events: []v1alpha1.Event{noted(1, "b"), noted(0, "a")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b")}, want: "b"},
		"of those that are there":                  {events: []v1alpha1.Event{noted(1, "b"), noted(0, "a")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("c")}, want: "a"},
		"not one in mode DryRun":                   {events: []v1alpha1.Event{noted(0, "b")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b", dryRun)}, want: "a"},
		"the only one if none was noted":           {events: []v1alpha1.Event{hook("h")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a")}, want: "a"},
		"that completes the hook":                  {events: []v1alpha1.Event{hook("h")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a", cordons), policy("b", ignores), policy("c"), policy("d", dryRun)}, want: "c"},
		"whichever hook a watcher's event is":      {events: []v1alpha1.Event{unnamed}, policies: []v1alpha1.NodeTerminationPolicy{policy("a", cordons), policy("b", ignores)}, want: "b"},
		"none if several would":                    {events: []v1alpha1.Event{hook("h")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b", cordons), policy("c")}, several: []string{"a", "c"}},
		"none if none would":                       {events: []v1alpha1.Event{hook("h")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a", dryRun), policy("b", cordons)}},
		"none where no group waits":                {events: []v1alpha1.Event{spotOfA}, policies: []v1alpha1.NodeTerminationPolicy{policy("a")}},
		"what another kind has noted is no hook's": {events: []v1alpha1.Event{spotOfA, hook("h")}, policies: []v1alpha1.NodeTerminationPolicy{policy("a"), policy("b")}, several: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, several := policyForHooks(test.events, test.policies)
			var gotName string
			if got != nil {
				gotName = got.Name
			}
			if gotName != test.want || !slices.Equal(several, test.several) {
				t.Errorf("policy %q, several %q; want %q, %q", gotName, several, test.want, test.several)
			}
		})
	}
}

// copyPolicy creates a policy like the setting's under another name.
func (s *setting) copyPolicy() *v1alpha1.NodeTerminationPolicy {
	s.t.Helper()
	other := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "copy-"}, Spec: *s.policy.Spec.DeepCopy()}
	s.create(other)
	return other
}

// A policy may be renamed or replaced while a node waits for its maintenance.
func TestAnotherPolicyTakesOver(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*setting){
		"from one that was deleted": func(s *setting) {
			if err := admin(s.t).Delete(s.t.Context(), s.policy); err != nil {
				s.t.Fatal(err)
			}
		},
		"from one that was turned to DryRun": func(s *setting) { s.turn(v1alpha1.ModeDryRun) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, nil)
			nt := s.until(s.terminate(0, planned()), v1alpha1.StateScheduled)
			other := s.copyPolicy()
			leave(s)
			nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
				if ref := nt.Status.PolicyRef; ref.UID != other.UID || ref.Name != other.Name || ref.TakenOverFrom != s.policy.Name {
					return fmt.Errorf("policy %+v, want %s", ref, other.Name)
				}
				return nil
			})
			testcluster.Eventually(t, patience, func() error {
				var list eventsv1.EventList
				if err := admin(t).List(t.Context(), &list); err != nil {
					return err
				}
				for i := range list.Items {
					if e := &list.Items[i]; e.Regarding.Name == nt.Name && e.Reason == reasonTakenOver && strings.Contains(e.Note, s.policy.Name) {
						return nil
					}
				}
				return fmt.Errorf("no event says that it was taken over")
			})
			s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
				spec.Events = append(spec.Events, notice("a", 2*time.Minute))
			})
			s.until(nt, v1alpha1.StateCompleted)
		})
	}
}

func TestDryRunPolicyTakesNothingOver(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, planned()), v1alpha1.StateScheduled)
	enforces := s.policy
	s.policy = s.copyPolicy()
	s.turn(v1alpha1.ModeDryRun)
	s.policy = enforces
	s.dropPolicy(nt)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestEnforceGoesBeforeDryRun(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun })
	enforces := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "enforces-"}, Spec: *s.policy.Spec.DeepCopy()}
	enforces.Spec.Mode = v1alpha1.ModeEnforce
	s.create(enforces)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	if nt.Status.PolicyRef.Name != enforces.Name {
		t.Errorf("policy %s, want %s", nt.Status.PolicyRef.Name, enforces.Name)
	}
}

// Without a policy the status says that nobody sees to hooks and pods, until another one does.
func TestPolicyGoneIsNotFinal(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, s.waits(0, "drain"))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 1 {
			return fmt.Errorf("no pod is blocked yet")
		}
		return nil
	})
	s.dropPolicy(nt)
	nt = s.until(nt, v1alpha1.StatePolicyGone)
	if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookIgnored || !strings.Contains(hook.Message, "policy "+s.policy.Name+" was deleted") {
		t.Errorf("hook %+v, want that it is left to its own timeout", hook)
	}
	if completed := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted); completed == nil || completed.Reason != v1alpha1.ReasonHookIgnored {
		t.Errorf("%+v, want Ignored", completed)
	}
	if drained := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionDrained); !strings.Contains(drained.Message, "nobody evicts the pods") {
		t.Errorf("%+v, want that nobody evicts the pods", drained)
	}
	if len(nt.Status.Blocked) != 0 || *nt.Status.Pods.Blocked != 0 {
		t.Errorf("blocked %+v, want none that anybody sees to", nt.Status.Blocked)
	}
	s.copyPolicy()
	nt = s.until(nt, v1alpha1.StateDraining)
	if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookWaiting {
		t.Errorf("hook %+v, want it waiting again", hook)
	}
}
