// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestOutcomesAreKeptInOrderAndWithinBounds(t *testing.T) {
	outcome := func(name string, kind v1alpha1.PodOutcomeType, second int) v1alpha1.PodOutcome {
		return v1alpha1.PodOutcome{Namespace: "n", Name: name, Outcome: kind, Message: "m", Time: metav1.Time{Time: t0.Add(time.Duration(second) * time.Second)}}
	}
	var outcomes []v1alpha1.PodOutcome
	for i := range maxOutcomes {
		outcomes = withOutcome(outcomes, outcome(fmt.Sprint("blocked-", i), v1alpha1.PodWasBlocked, i))
	}
	outcomes = withOutcome(outcomes, outcome("remaining", v1alpha1.PodRemaining, 100))
	outcomes = withOutcome(outcomes, outcome("blocked-0", v1alpha1.PodCutShort, 101))
	outcomes = withOutcome(outcomes, outcome("blocked-0", v1alpha1.PodWasBlocked, 102)) // known to be worse
	outcomes = withOutcome(outcomes, outcome("late", v1alpha1.PodWasBlocked, 103))      // no room
	if len(outcomes) != maxOutcomes {
		t.Fatalf("%d outcomes, want %d", len(outcomes), maxOutcomes)
	}
	for i, want := range []string{"remaining Remaining", "blocked-0 CutShort", "blocked-1 WasBlocked"} {
		if got := outcomes[i].Name + " " + string(outcomes[i].Outcome); got != want {
			t.Errorf("outcome %d is %s, want %s", i, got, want)
		}
	}
	if last := outcomes[maxOutcomes-1].Name; last != "blocked-18" {
		t.Errorf("the last is %s, want blocked-18", last)
	}
}

// outcomesAre returns an error unless a termination records just this of its pods: the outcome, and a part of
// the message, by the pod's name.
func outcomesAre(nt *v1alpha1.NodeTermination, want map[string][2]string) error {
	got := nt.Status.PodOutcomes
	if len(got) != len(want) {
		return fmt.Errorf("pod outcomes %+v, want %v", got, want)
	}
	for _, o := range got {
		if w := want[o.Name]; string(o.Outcome) != w[0] || !strings.Contains(o.Message, w[1]) {
			return fmt.Errorf("pod %s: %s, %q, want %v", o.Name, o.Outcome, o.Message, w)
		}
	}
	return nil
}

func grace(seconds int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
}

func TestPodsThatWereCutShortAreRecorded(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](55)}}
	})
	s.budget()
	blocked := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))[0]
	long := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, grace(600))[0]
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.until(s.terminate(0, notice("a", 60*time.Second)), v1alpha1.StateCompleted)
	if err := outcomesAre(nt, map[string][2]string{
		blocked.Name: {"CutShort", "budget " + s.ns + "/web"},
		long.Name:    {"CutShort", "of its 600 seconds"},
	}); err != nil {
		t.Error(err)
	}
}

func TestPodsThatWereBlockedOrRemainAreRecorded(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](25)}
	})
	s.budget()
	freed := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))[0]
	left := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{v1alpha1.AnnotationDrain: "wait-for-completion"}
	})[0]
	nt := s.terminate(0, manual("m"))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 2 {
			return fmt.Errorf("blocked %+v, want both pods", nt.Status.Blocked)
		}
		return nil
	})
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "web"}}
	if err := client.IgnoreNotFound(admin(t).Delete(t.Context(), budget)); err != nil {
		t.Fatal(err)
	}
	nt = s.until(nt, v1alpha1.StateFailed)
	if err := outcomesAre(nt, map[string][2]string{
		freed.Name: {"WasBlocked", "budget " + s.ns + "/web"},
		left.Name:  {"Remaining", v1alpha1.AnnotationDrain},
	}); err != nil {
		t.Error(err)
	}
	for i, want := range []string{v1alpha1.ConditionCordoned, v1alpha1.ConditionDrained, v1alpha1.ConditionReady} {
		if got := nt.Status.Conditions[i].Type; got != want {
			t.Errorf("condition %d is %s, want %s: they are in the order of what happened", i, got, want)
		}
	}
}
