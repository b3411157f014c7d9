// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestReturned(t *testing.T) {
	pod := func(owner string, created time.Duration, tolerates bool) drain.Pod {
		return drain.Pod{UID: "new", Owner: owner, Created: t0.Add(created), ToleratesCordon: tolerates}
	}
	lost := func(present types.UID) map[string]map[types.UID]bool {
		return map[string]map[types.UID]bool{"web": {present: true}}
	}
	here := losses{owners: lost("old"), complete: true, since: t0}
	restarted := losses{since: t0}
	for name, test := range map[string]struct {
		losses losses
		pod    drain.Pod
		want   bool
	}{
		"its controller lost one here":              {here, pod("web", time.Second, false), true},
		"made before the cordon":                    {here, pod("web", -time.Second, true), false},
		"made in the second of the cordon":          {here, pod("web", 0, true), true},
		"there when its controller lost the first":  {losses{owners: lost("new"), complete: true, since: t0}, pod("web", time.Second, true), false},
		"then, in the second of the cordon":         {losses{since: t0}, pod("web", 0, true), false},
		"its controller lost none":                  {here, pod("api", time.Second, true), false},
		"nobody replaces it":                        {here, pod("", time.Second, true), false},
		"of a drain before a restart, tolerates it": {restarted, pod("web", time.Second, true), true},
		"and does not":                              {restarted, pod("web", time.Second, false), false},
		"and there is no cordon":                    {losses{since: t0, uncordoned: true}, pod("web", time.Second, false), true},
		"nothing was cordoned or drained":           {losses{owners: lost("old")}, pod("web", time.Second, true), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.losses.returned(&test.pod); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

// returner returns a pod that has returned.
func returner(owner, uid string) drain.Pod {
	return drain.Pod{Namespace: "shop", Name: uid, UID: types.UID(uid), Owner: owner, GracePeriodSeconds: 30}
}

// TestReturnersAreEvictedEverLater simulates a Deployment whose pod is back as soon as it was evicted.
func TestReturnersAreEvictedEverLater(t *testing.T) {
	var r returns
	var evicted []time.Duration
	at, n := t0, 0
	for at.Before(t0.Add(20 * time.Minute)) {
		after, look := r.choose([]drain.Pod{returner("web", fmt.Sprint("web-", n))}, time.Time{}, false, at)
		if len(after.chosen) > 0 {
			evicted = append(evicted, at.Sub(t0)/time.Second)
			n++
		}
		if !look.After(at) {
			t.Fatalf("the next look is at %v, now is %v", look, at)
		}
		r, at = after, look
	}
	if got, want := fmt.Sprint(evicted), "[10ns 30ns 70ns 150ns 310ns 610ns 910ns]"; got != want {
		t.Errorf("evicted after seconds %s, want %s", got, want)
	}
}

func TestReturnersOfANodeAreTenAMinute(t *testing.T) {
	var pods []drain.Pod
	for i := range 25 {
		pods = append(pods, returner(fmt.Sprint("web-", i%5), fmt.Sprint("pod-", i)))
	}
	var r returns
	evicted := map[time.Duration]int{}
	for at := t0; len(r.chosen) < len(pods); {
		before := len(r.chosen)
		after, look := r.choose(pods, time.Time{}, false, at)
		if n := len(after.chosen) - before; n > 0 {
			evicted[at.Sub(t0)] = n
		}
		r, at = after, look
	}
	if got, want := fmt.Sprint(evicted), "map[10s:10 1m10s:10 2m10s:5]"; got != want {
		t.Errorf("evicted %s, want %s", got, want)
	}
}

func TestLastEvictionOfReturners(t *testing.T) {
	last := t0.Add(5 * time.Second)
	pods := []drain.Pod{returner("web", "a"), returner("api", "b")}
	r, look := returns{}.choose(pods, last, true, t0)
	if len(r.chosen) != 0 || !look.Equal(last) {
		t.Errorf("chosen %v, next look %v, want none and %v", r.chosen, look, last)
	}
	if r, _ = r.choose(pods, last, true, last); len(r.chosen) != 2 {
		t.Errorf("chosen %v for the last time, want both", r.chosen)
	}
	if r, look = r.choose([]drain.Pod{returner("web", "c")}, last, true, last.Add(time.Second)); len(r.chosen) != 0 || !look.IsZero() {
		t.Errorf("chosen %v after the last time, next look %v", r.chosen, look)
	}
	long := returner("db", "d")
	for name, test := range map[string]struct {
		grace    int64
		notice   time.Duration
		deadline time.Time
		want     time.Time
	}{
		"without a deadline":    {30, time.Hour, time.Time{}, time.Time{}},
		"a short shutdown":      {1, time.Hour, t0, t0.Add(-30 * time.Second)},
		"a longer one":          {60, time.Hour, t0, t0.Add(-time.Minute)},
		"too long a one":        {3600, time.Hour, t0, t0.Add(-2 * time.Minute)},
		"half of a short drain": {3600, time.Minute, t0, t0.Add(-30 * time.Second)},
		"none that was ahead":   {30, -time.Minute, t0, t0},
	} {
		long.GracePeriodSeconds = test.grace
		if got := lastEviction([]drain.Pod{long}, t0.Add(-test.notice), test.deadline); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestNewcomersAreLookedForEverLater(t *testing.T) {
	deadline := t0.Add(10 * time.Minute)
	var looks []int
	looked := time.Time{}
	for looked.Before(deadline) {
		next := newcomersDue(t0, looked, deadline)
		if !next.After(looked) {
			t.Fatalf("after a look at %v the next is at %v", looked, next)
		}
		looked = next
		looks = append(looks, int(looked.Sub(t0)/time.Second))
	}
	if got, want := fmt.Sprint(looks), "[5 10 20 40 80 140 200 260 320 380 440 480 490 500 510 520 530 540 550 560 570 580 590 600]"; got != want {
		t.Errorf("looks after seconds %s, want %s", got, want)
	}
}

// tolerant creates a Deployment whose pods tolerate everything and run only on the setting's nodes.
func (s *setting) tolerant(replicas int32) {
	s.t.Helper()
	s.deploy(replicas, corev1.Toleration{Operator: corev1.TolerationOpExists})
}

// deploy creates a Deployment whose pods run only on the setting's nodes, and waits for them.
func (s *setting) deploy(replicas int32, tolerations ...corev1.Toleration) {
	s.t.Helper()
	labels := map[string]string{"app": "tolerant"}
	s.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "tolerant"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeSelector:                  v1alpha1.Labels(s.policy.Spec.NodeSelector.MatchLabels),
					Tolerations:                   tolerations,
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers:                    []corev1.Container{{Name: "main", Image: "example.com/app"}},
				},
			},
		},
	})
	testcluster.Eventually(s.t, patience, func() error {
		if n := len(s.left(0)); n != int(replicas) {
			return fmt.Errorf("%d pods run, want %d", n, replicas)
		}
		return nil
	})
}

func TestSoftDrainDoesNotWaitForReturners(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](30)}
	})
	s.tolerant(3)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, terminatesAfter(6*time.Second)) // meanwhile the others are back
	nt := s.until(s.terminate(0, recommendation()), v1alpha1.StateCompleted)
	// Those of the cordon's second are not told from others, and may come and go more than once in it.
	if total := *nt.Status.Pods.Total; total > 4+3*3 {
		t.Errorf("pods %s, want that those which come back are not counted", nt.Status.Pods.Summary)
	}
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "come back") {
		t.Errorf("message %q does not say that pods have come back", ready.Message)
	}
}

// What comes to a node after its drain would die with it, without a SIGTERM.
func TestNewcomersAreEvictedBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.tolerant(1)
	nt := s.until(s.terminate(0, notice("a", 48*time.Second)), v1alpha1.StateCompleted)
	late := cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)[0]
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(s.left(0)) > 1 || nt.Status.CompletionTime == nil {
			return fmt.Errorf("pod %s is not evicted; %+v", late.Name, nt.Status.Pods)
		}
		return nil
	})
	var before corev1.PodList
	selected := client.MatchingLabels{"app": "tolerant"}
	if err := admin(t).List(t.Context(), &before, client.InNamespace(s.ns), selected); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, patience, func() error {
		var pods corev1.PodList
		if err := admin(t).List(t.Context(), &pods, client.InNamespace(s.ns), selected); err != nil {
			return err
		}
		for i := range pods.Items {
			for j := range before.Items {
				if pods.Items[i].UID == before.Items[j].UID && pods.Items[i].DeletionTimestamp == nil {
					return errors.New("the pod that came back is not evicted once more")
				}
			}
		}
		return nil
	})
}
