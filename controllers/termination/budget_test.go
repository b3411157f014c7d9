// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

// budgeted is a policy that drains for recommendations, so many nodes at one time.
func budgeted(maxNodes intstr.IntOrString, topologyKey string) func(*v1alpha1.NodeTerminationPolicySpec) {
	return func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{
			TimeoutSeconds: ptr.To[int32](600),
			Budget:         &v1alpha1.DrainBudget{MaxNodes: &maxNodes, TopologyKey: topologyKey},
		}
	}
}

func recommendation() v1alpha1.Event {
	return v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
}

func stateOfTermination(nt *v1alpha1.NodeTermination) string {
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// states counts the terminations of a setting by state.
func (s *setting) states(nts []*v1alpha1.NodeTermination) map[string]int {
	s.t.Helper()
	states := map[string]int{}
	for _, nt := range nts {
		current := &v1alpha1.NodeTermination{}
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(nt), current); err != nil {
			s.t.Fatal(err)
		}
		states[stateOfTermination(current)]++
	}
	return states
}

func (s *setting) untilStates(nts []*v1alpha1.NodeTermination, want map[string]int) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		if got := s.states(nts); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("states %v, want %v", got, want)
		}
		return nil
	})
}

func TestAdmit(t *testing.T) {
	zoneA, zoneB := budgetScope{"p", "zone", "a"}, budgetScope{"p", "zone", "b"}
	for name, test := range map[string]struct {
		known, recent map[string]place
		released      []string
		exempt        bool
		admitted      bool
	}{
		"nothing is drained": {admitted: true},
		"one of two": {
			known: map[string]place{"i-1": {"n-1", zoneA}}, admitted: true,
		},
		"two, of which the API server knows one": {
			known: map[string]place{"i-1": {"n-1", zoneA}}, recent: map[string]place{"i-2": {"n-2", zoneA}},
		},
		"one that is known both ways counts once": {
			known: map[string]place{"i-1": {"n-1", zoneA}}, recent: map[string]place{"i-1": {"n-1", zoneA}}, admitted: true,
		},
		"others do not count": {
			known: map[string]place{"i-1": {"n-1", zoneA}, "i-2": {"n-2", zoneB}}, recent: map[string]place{"i-3": {"n-3", zoneB}}, admitted: true,
		},
		"nor does the candidate itself": {
			known: map[string]place{"i-0": {"n-0", zoneA}, "i-1": {"n-1", zoneA}}, recent: map[string]place{"i-0": {"n-0", zoneA}}, admitted: true,
		},
		"what was released is over, whatever the API server says": {
			known: map[string]place{"i-1": {"n-1", zoneA}, "i-2": {"n-2", zoneA}}, released: []string{"i-2"}, admitted: true,
		},
		"what is exempt does not wait": {
			known: map[string]place{"i-1": {"n-1", zoneA}, "i-2": {"n-2", zoneA}}, exempt: true, admitted: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := candidate{name: "i-0", place: place{"n-0", zoneA}, exempt: test.exempt, limit: 2, description: "policy p" + zoneA.description()}
			want := admission{admitted: test.admitted}
			if !test.admitted {
				want.pending = "2 of at most 2 nodes of policy p with zone=a are being drained or cordoned"
			}
			if got := admit(c, test.known, test.recent, sets.New(test.released...)); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// However many ask at the same time, no more are admitted than the limit, and each place that
// becomes free is offered once.
func TestBudgetIsNeverExceeded(t *testing.T) {
	const limit, candidates = 3, 20
	var b budget
	ask := func(i int) admission {
		return b.admit(candidate{name: fmt.Sprintf("i-%02d", i), place: place{node: fmt.Sprint("n-", i)}, limit: limit}, nil)
	}
	var admitted atomic.Int32
	var asking sync.WaitGroup
	for i := range candidates {
		asking.Go(func() {
			if ask(i).admitted {
				admitted.Add(1)
			}
		})
	}
	asking.Wait()
	if n := admitted.Load(); n != limit {
		t.Fatalf("%d are admitted, want %d", n, limit)
	}
	for name := range b.recent {
		next := b.release(name)
		if _, waits := b.pending[next]; next == "" || waits {
			t.Errorf("the place of %s is offered to %q, pending %v", name, next, b.pending)
		}
		if again := b.release(name); again != "" {
			t.Errorf("the place of %s is offered to %s as well", name, again)
		}
	}
	if n := len(b.pending); n != candidates-2*limit {
		t.Errorf("%d wait, want %d", n, candidates-2*limit)
	}
}

func TestBudgetLimitsHowManyNodesAreDrained(t *testing.T) {
	t.Parallel()
	const nodes = 6
	s := newSetting(t, nodes, budgeted(intstr.FromString("34%"), "")) // two of six
	s.budget()
	var nts []*v1alpha1.NodeTermination
	for i := range nodes {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
		nts = append(nts, s.terminate(i, recommendation()))
	}
	s.untilStates(nts, map[string]int{v1alpha1.StateDraining: 2, v1alpha1.StateWaiting: 4})
	for i, nt := range nts { // those that wait take pods yet, or the others would have nowhere to go
		current := &v1alpha1.NodeTermination{}
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), current); err != nil {
			t.Fatal(err)
		}
		ready := meta.FindStatusCondition(current.Status.Conditions, v1alpha1.ConditionReady)
		if ready.Reason == v1alpha1.StateWaiting && !strings.Contains(ready.Message, "2 of at most 2 nodes of policy") {
			t.Errorf("does not say what it waits for: %s", ready.Message)
		}
		if waits, node := ready.Reason == v1alpha1.StateWaiting, s.node(i); waits == node.Spec.Unschedulable || waits != ec2node.HasTaint(node, &ec2node.WaitingTaint) {
			t.Errorf("in state %s node %s is unschedulable: %t, with taints %v", ready.Reason, node.Name, node.Spec.Unschedulable, node.Spec.Taints)
		}
	}
	// A spot notice does not wait, and counts.
	var waiting *v1alpha1.NodeTermination
	for _, nt := range nts {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), nt); err != nil {
			t.Fatal(err)
		}
		if stateOfTermination(nt) == v1alpha1.StateWaiting {
			waiting = nt
		}
	}
	s.change(waiting, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, notice("spot", 2*time.Minute))
	})
	s.untilStates(nts, map[string]int{v1alpha1.StateDraining: 3, v1alpha1.StateWaiting: 3})
	if err := admin(t).DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	s.untilStates(nts, map[string]int{v1alpha1.StateCompleted: nodes})
}

func TestBudgetCountsByTopology(t *testing.T) {
	t.Parallel()
	const key = "topology.kubernetes.io/zone"
	s := newSetting(t, 4, budgeted(intstr.FromInt32(1), key))
	s.budget()
	var nts []*v1alpha1.NodeTermination
	for i, zone := range []string{"a", "a", "b", "b"} {
		node := s.node(i)
		patch := client.MergeFrom(node.DeepCopy())
		node.Labels[key] = zone
		if err := admin(t).Patch(t.Context(), node, patch); err != nil {
			t.Fatal(err)
		}
		cluster.Get(t).CreatePods(t, s.ns, node.Name, 1, app("web"))
	}
	for i := range 4 {
		nts = append(nts, s.terminate(i, recommendation()))
	}
	s.untilStates(nts, map[string]int{v1alpha1.StateDraining: 2, v1alpha1.StateWaiting: 2})
	if a, b := s.states(nts[:2]), s.states(nts[2:]); a[v1alpha1.StateDraining] != 1 || b[v1alpha1.StateDraining] != 1 {
		t.Errorf("drained in zone a %v and in zone b %v, want one each", a, b)
	}
}

// A suspended drain does not keep others waiting.
func TestBudgetIsNotUsedUpBySuspension(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, budgeted(intstr.FromInt32(1), ""))
	s.budget()
	for i := range 2 {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
	}
	first := s.terminate(0, recommendation())
	s.until(first, v1alpha1.StateDraining)
	second := s.terminate(1, recommendation())
	s.until(second, v1alpha1.StateWaiting)
	s.change(first, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = ptr.To(true) })
	s.until(second, v1alpha1.StateDraining)
	s.change(first, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = nil })
	s.until(first, v1alpha1.StateWaiting)
}

func TestUrgency(t *testing.T) {
	s := &scope{nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}}
	s.policy.Spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](600)}
	for name, test := range map[string]struct {
		deadline time.Time
		urgent   bool
		next     time.Time
	}{
		"no deadline":                 {},
		"far away":                    {t0.Add(time.Hour), false, t0.Add(50 * time.Minute)},
		"as near as a drain may take": {t0.Add(10 * time.Minute), true, time.Time{}},
		"nearer":                      {t0.Add(2 * time.Minute), true, time.Time{}},
		"past":                        {t0.Add(-time.Minute), true, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			s.now, s.next, s.decision.deadline = t0, time.Time{}, test.deadline
			if got := s.urgent(); got != test.urgent || !s.next.Equal(test.next) {
				t.Errorf("urgent %t, next look %v, want %t, %v", got, s.next, test.urgent, test.next)
			}
		})
	}
}

// A drain that does not wait takes the place of one that would.
func TestUrgentDrainsCountAgainstTheBudget(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 3, budgeted(intstr.FromInt32(2), ""))
	s.budget()
	for i := range 3 {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
	}
	urgent := s.until(s.terminate(0, notice("spot", 2*time.Minute)), v1alpha1.StateDraining)
	soft := []*v1alpha1.NodeTermination{s.terminate(1, recommendation()), s.terminate(2, recommendation())}
	s.untilStates(soft, map[string]int{v1alpha1.StateDraining: 1, v1alpha1.StateWaiting: 1})
	s.until(urgent, v1alpha1.StateDraining)
}

// Five minutes before a hard deadline a drain does not wait any more.
func TestWaitingEndsInTimeForAHardDeadline(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		budgeted(intstr.FromInt32(1), "")(spec)
		spec.Drain.TimeoutSeconds = ptr.To[int32](120)
	})
	s.budget()
	for i := range 2 {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
	}
	first := s.until(s.terminate(0, recommendation()), v1alpha1.StateDraining)
	hard := s.until(s.terminate(1, notice("hard", urgent+8*time.Second)), v1alpha1.StateWaiting)
	hard = s.until(hard, v1alpha1.StateDraining)
	if left := hard.Status.Deadline.Sub(hard.Status.DrainStartTime.Time); left < urgent-10*time.Second || left > urgent+time.Second {
		t.Errorf("the drain began %s before the deadline, want %s", left, urgent)
	}
	s.until(first, v1alpha1.StateDraining)
}

// A cordon without a deadline takes a place too, and one with a deadline never waits.
func TestCordonsCountAgainstTheBudget(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 3, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		budgeted(intstr.FromInt32(1), "")(spec)
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordon}}
	})
	first := s.until(s.terminate(0, recommendation()), v1alpha1.StateCordoned)
	second := s.until(s.terminate(1, recommendation()), v1alpha1.StateWaiting)
	s.until(s.terminate(2, health(time.Hour)), v1alpha1.StateCordoned)
	if node := s.node(1); node.Spec.Unschedulable || !ec2node.HasTaint(node, &ec2node.WaitingTaint) {
		t.Errorf("waits, but is unschedulable: %t, with taints %v", node.Spec.Unschedulable, node.Spec.Taints)
	}
	if err := admin(t).Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s.untilNode(0, untouched)
	s.until(second, v1alpha1.StateCordoned)
	if node := s.node(1); !node.Spec.Unschedulable || ec2node.HasTaint(node, &ec2node.WaitingTaint) {
		t.Errorf("its turn, but unschedulable is %t, with taints %v", node.Spec.Unschedulable, node.Spec.Taints)
	}
}

func TestWaitingNodeIsReverted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, budgeted(intstr.FromInt32(1), ""))
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	s.until(s.terminate(0, recommendation()), v1alpha1.StateDraining)
	waiting := s.until(s.terminate(1, recommendation()), v1alpha1.StateWaiting)
	if err := admin(t).Delete(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	s.untilNode(1, untouched)
}
