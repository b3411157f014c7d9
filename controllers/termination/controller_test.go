// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// budget keeps every pod with the label app=web.
func (s *setting) budget() {
	s.t.Helper()
	const name = "web"
	s.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	})
}

func app(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels["app"] = name
	}
}

func terminatesAfter(d time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[testcluster.TerminatesAfter] = d.String()
		pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(d/time.Second) + 1)
	}
}

func TestSpotNoticeDrainsTheNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 7)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)

	node := s.node(0)
	if !node.Spec.Unschedulable || !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == "nodetermination.dev/spot-interruption" && taint.Effect == corev1.TaintEffectNoSchedule
	}) {
		t.Errorf("node is not cordoned and tainted: %+v", node.Spec)
	}
	if left := s.left(0); len(left) > 0 {
		t.Errorf("pods are left: %v", left)
	}
	status := nt.Status
	if status.Pods == nil || status.Pods.Summary != "7/7" || *status.Pods.Evicted != 7 {
		t.Errorf("pods %+v, want 7/7", status.Pods)
	}
	if status.Cause != v1alpha1.SpotInterruption || status.Deadline == nil || status.CompletionTime == nil ||
		status.PolicyRef == nil || status.PolicyRef.UID != s.policy.UID || status.Node == nil || status.Node.UID != node.UID {
		t.Errorf("status does not tell the story: %+v", status)
	}
	for condition, want := range map[string]metav1.ConditionStatus{
		v1alpha1.ConditionReady: "True", v1alpha1.ConditionReconciling: "False", v1alpha1.ConditionStalled: "False",
		v1alpha1.ConditionCordoned: "True", v1alpha1.ConditionDrained: "True",
	} {
		if got := meta.FindStatusCondition(status.Conditions, condition); got == nil || got.Status != want {
			t.Errorf("condition %s is %+v, want %s", condition, got, want)
		}
	}
}

func TestWhatStaysOnTheNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{{PodSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}}}}
	})
	node := s.nodes[0].Name
	daemon := s.daemonPod(0)
	agent := cluster.CreatePods(t, s.ns, node, 1, app("agent"))
	cluster.CreatePods(t, s.ns, node, 2)
	s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	left, want := s.left(0), []string{agent[0].Name, daemon}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left on the node: %v, want %v", left, want)
	}
}

// daemonPod is the pod of a DaemonSet on the i-th node.
func (s *setting) daemonPod(i int) string {
	s.t.Helper()
	labels := map[string]string{"app": "daemon"}
	s.create(&appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "daemon"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeSelector: map[string]string{"test": s.nodes[i].Labels["test"]},
					Containers:   []corev1.Container{{Name: "daemon", Image: "daemon"}},
				},
			},
		},
	})
	var pods corev1.PodList
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin.List(s.t.Context(), &pods, client.InNamespace(s.ns), client.MatchingLabels(labels)); err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Spec.NodeName != s.nodes[i].Name {
			return fmt.Errorf("%d pods of the DaemonSet, want one on node %s", len(pods.Items), s.nodes[i].Name)
		}
		return nil
	})
	return pods.Items[0].Name
}

func TestBlockedPodsAreNamedAndDeletedInTime(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](5)}}
	})
	s.budget()
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 3)
	created := time.Now()
	nt := s.terminate(0, notice("a", 15*time.Second))
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 2 || *nt.Status.Pods.Blocked != 2 || !strings.Contains(nt.Status.Blocked[0].Reason, s.ns+"/web") {
			return fmt.Errorf("want two pods blocked by budget %s/web, got %+v, %+v", s.ns, nt.Status.Blocked, nt.Status.Pods)
		}
		return nil
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	ended := nt.Status.CompletionTime.Sub(created)
	if ended < 8*time.Second || ended > 16*time.Second {
		t.Errorf("ended after %s, want shortly before the deadline", ended)
	}
	if len(nt.Status.Blocked) > 0 || *nt.Status.Pods.Blocked > 0 {
		t.Errorf("still says blocked: %+v", nt.Status)
	}
}

func TestSoftDrainDeletesNothingPastABudget(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](4)}
	})
	s.budget()
	pods := cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.until(s.terminate(0, e), v1alpha1.StateFailed)
	if !slices.Equal(s.left(0), []string{pods[0].Name}) {
		t.Errorf("left: %v, want the blocked pod", s.left(0))
	}
	drained := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionDrained)
	if drained.Reason != v1alpha1.ReasonTimeout || !strings.Contains(drained.Message, "web") || len(nt.Status.Blocked) != 1 {
		t.Errorf("does not say what blocked it: %+v, %+v", drained, nt.Status.Blocked)
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestNearerDeadlineShortensGrace(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](600)}
	})
	pod := cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1, terminatesAfter(5*time.Minute))[0]
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.terminate(0, e)
	testcluster.Eventually(t, patience, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.DeletionTimestamp == nil || time.Until(pod.DeletionTimestamp.Time) < 4*time.Minute {
			return fmt.Errorf("want the pod to take its five minutes, got %v", pod.DeletionTimestamp)
		}
		return nil
	})
	deadline := time.Now().Add(12 * time.Second)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, notice("a", 12*time.Second))
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	if nt.Status.CompletionTime.After(deadline.Add(2 * time.Second)) {
		t.Errorf("ended at %v, deadline %v", nt.Status.CompletionTime, deadline)
	}
	if nt.Status.Cause != v1alpha1.SpotInterruption {
		t.Errorf("cause %s", nt.Status.Cause)
	}
}

func TestSuspendStopsAndResumes(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = ptr.To(true) })
	s.until(nt, v1alpha1.StateSuspended)
	// The budget goes: nothing holds the pods now but the suspension.
	if err := admin.DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	s.nudge(nt)
	if left := s.left(0); len(left) != 2 {
		t.Errorf("left while suspended: %v, want both", left)
	}
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Suspend = nil })
	s.until(nt, v1alpha1.StateCompleted)
}

// nudge changes the NodeTermination's spec in a way that means nothing and waits
// until the reconciler has seen it.
func (s *setting) nudge(nt *v1alpha1.NodeTermination) {
	s.t.Helper()
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Description += "." })
	generation := nt.Generation
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.ObservedGeneration < generation {
			return fmt.Errorf("generation %d observed, want %d", nt.Status.ObservedGeneration, generation)
		}
		return nil
	})
}

func TestDeletedTerminationUndoesOnlyOurs(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	testcluster.Eventually(t, patience, func() error {
		theirs := s.node(1)
		theirs.Spec.Unschedulable = true
		return admin.Update(t.Context(), theirs)
	})
	s.budget()
	for i := range s.nodes {
		cluster.CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
		nt := s.terminate(i, notice("a", 2*time.Minute))
		s.until(nt, v1alpha1.StateDraining)
		if err := admin.Delete(t.Context(), nt); err != nil {
			t.Fatal(err)
		}
	}
	s.untilNode(0, untouched)
	s.untilNode(1, func(node *corev1.Node) error {
		if node.Annotations[v1alpha1.AnnotationApplied] != "" {
			return fmt.Errorf("annotations %v", node.Annotations)
		}
		return cordoned(node)
	})
	if err := admin.DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	for i := range s.nodes {
		if len(s.left(i)) != 1 {
			t.Errorf("the pod of node %d was told to go after its termination was deleted", i)
		}
	}
}

func TestWrongPairIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
	victim, _ := v1alpha1.InstanceID(s.nodes[1])
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: victim}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: victim, NodeName: s.nodes[0].Name, Events: []v1alpha1.Event{notice("a", time.Minute)}}
	s.create(nt)
	s.until(nt, v1alpha1.StateRefused)
	for i := range s.nodes {
		if err := untouched(s.node(i)); err != nil {
			t.Error(err)
		}
	}
	if len(s.left(0)) != 1 {
		t.Error("a pod was told to go")
	}
}

func TestNoPolicyThenOne(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.NodeSelector.MatchLabels["other"] = "yes" })
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateNoPolicy)
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	testcluster.Eventually(t, patience, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s.policy), s.policy); err != nil {
			return err
		}
		delete(s.policy.Spec.NodeSelector.MatchLabels, "other")
		return admin.Update(t.Context(), s.policy)
	})
	s.until(nt, v1alpha1.StateCompleted)
}

func TestDeletedPolicyStopsTheDrain(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	if err := admin.Delete(t.Context(), s.policy); err != nil {
		t.Fatal(err)
	}
	nt = s.until(nt, v1alpha1.StatePolicyGone)
	if !meta.IsStatusConditionTrue(nt.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("not Stalled")
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

func TestNodeVanishes(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
	s.budget()
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 2, app("web"))
	blocked := s.terminate(0, notice("a", 2*time.Minute))
	s.until(blocked, v1alpha1.StateDraining)
	empty := s.terminate(1, notice("b", 2*time.Minute))
	s.until(empty, v1alpha1.StateCompleted)
	for i := range s.nodes {
		if err := admin.Delete(t.Context(), s.node(i)); err != nil {
			t.Fatal(err)
		}
	}
	nt := s.until(blocked, v1alpha1.StateFailed)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "2 of its 2 pods") {
		t.Errorf("does not tell the truth: %s", ready.Message)
	}
	s.until(empty, v1alpha1.StateCompleted)
}

func TestRebalanceCordonsAndIsLifted(t *testing.T) {
	s := newSetting(t, 1, nil)
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
	e := v1alpha1.Event{ID: "r", Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS, Time: now(0)}
	nt := s.until(s.terminate(0, e), v1alpha1.StateCordoned)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	testClock.shift(t, time.Hour+time.Second)
	s.nudge(nt)
	s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
	if len(s.left(0)) != 1 {
		t.Error("a pod was told to go")
	}
}

func TestMaintenanceDrainsBeforeItsTime(t *testing.T) {
	s := newSetting(t, 1, nil)
	pod := cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
	e := v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: ptr.To(now(72 * time.Hour)), Deadline: ptr.To(now(72 * time.Hour)),
	}
	nt := s.until(s.terminate(0, e), v1alpha1.StateScheduled)
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	if !slices.Equal(s.left(0), []string{pod[0].Name}) {
		t.Errorf("left: %v", s.left(0))
	}
	testClock.shift(t, 49*time.Hour)
	s.nudge(nt)
	s.until(nt, v1alpha1.StateCompleted)
}

func TestCancelledMaintenanceRestoresTheNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	e := v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: ptr.To(now(72 * time.Hour)), Deadline: ptr.To(now(72 * time.Hour)),
	}
	nt := s.terminate(0, e)
	s.until(nt, v1alpha1.StateScheduled)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events[0].Cancelled = ptr.To(true) })
	nt = s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
	if nt.Status.Events[0].State != v1alpha1.EventCancelled {
		t.Errorf("event is %s", nt.Status.Events[0].State)
	}
}

func TestFinishedTerminationHearsOfANewEvent(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 2)
	nt := s.terminate(0, notice("a", 2*time.Second))
	s.until(nt, v1alpha1.StateCompleted)

	// The instance was stopped, not terminated, and comes back: another boot.
	testcluster.Eventually(t, patience, func() error {
		if left := time.Until(nt.Spec.Events[0].Deadline.Time); left > 0 {
			return fmt.Errorf("the deadline is %s ahead", left)
		}
		node := s.node(0)
		node.Status.NodeInfo.BootID = "second-boot"
		return admin.Status().Update(t.Context(), node)
	})
	s.untilNode(0, untouched)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Events[0].State != v1alpha1.EventResolved {
			return fmt.Errorf("event is %s", nt.Status.Events[0].State)
		}
		return nil
	})

	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
	first := nt.Status.CompletionTime
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, notice("b", time.Minute)) })
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.CompletionTime == nil || !nt.Status.CompletionTime.After(first.Time) {
			return fmt.Errorf("not ended anew: %+v", nt.Status)
		}
		return nil
	})
	if nt.Status.Pods.Summary != "1/1" || nt.Status.Node.BootID != "second-boot" {
		t.Errorf("second life: %+v, %+v", nt.Status.Pods, nt.Status.Node)
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
}

// TestInstanceComesBack: the three ways in which an event that came to pass is
// resolved. Each makes the node schedulable again, once: a fact that is still told
// afterwards, as the metadata service may do, changes nothing.
func TestInstanceComesBack(t *testing.T) {
	t.Parallel()
	for name, comeBack := range map[string]func(s *setting, nt *v1alpha1.NodeTermination){
		"another boot": func(s *setting, _ *v1alpha1.NodeTermination) {
			s.changeNodeStatus(func(node *corev1.Node) { node.Status.NodeInfo.BootID = "second-boot" })
		},
		// Not by way of NotReady, which kwok would mend, with a time of its own.
		"ready again": func(s *setting, _ *v1alpha1.NodeTermination) {
			s.changeNodeStatus(func(node *corev1.Node) {
				for c := range node.Status.Conditions {
					if condition := &node.Status.Conditions[c]; condition.Type == corev1.NodeReady {
						condition.LastTransitionTime = now(0)
					}
				}
			})
		},
		"running again": func(s *setting, nt *v1alpha1.NodeTermination) {
			running := v1alpha1.Event{
				ID: "r", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), InstanceAction: "running",
			}
			s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, running) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, nil)
			cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
			nt := s.until(s.terminate(0, notice("a", time.Second)), v1alpha1.StateCompleted)
			testcluster.Eventually(t, patience, func() error {
				if left := time.Until(nt.Spec.Events[0].Deadline.Time); left > -time.Second {
					return fmt.Errorf("the deadline is not a second past, but %s ahead", left)
				}
				return nil
			})
			comeBack(s, nt)
			nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
				if state := nt.Status.Events[0].State; state != v1alpha1.EventResolved {
					return fmt.Errorf("event is %s", state)
				}
				return nil
			})
			s.untilNode(0, untouched)
			s.nudge(nt) // the same fact, told once more
			if err := untouched(s.node(0)); err != nil {
				t.Error(err)
			}
			s.until(nt, v1alpha1.StateCompleted)
		})
	}
}

// changeNodeStatus changes the status of the first node as its kubelet does.
func (s *setting) changeNodeStatus(change func(*corev1.Node)) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		node := s.node(0)
		change(node)
		return admin.Status().Update(s.t.Context(), node)
	})
}

func TestSecondEventOfADrainedNodeKeepsTheRecord(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 3)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	before := nt.Status
	stopping := v1alpha1.Event{
		ID: "b", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(0)), InstanceAction: "stopping",
	}
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, stopping) })
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Events) != 2 || nt.Status.CompletionTime == nil {
			return fmt.Errorf("the second event was not taken in: %+v", nt.Status)
		}
		return nil
	})
	nt = s.until(nt, v1alpha1.StateCompleted)
	if !nt.Status.CompletionTime.Equal(before.CompletionTime) || nt.Status.Pods.Summary != "3/3" || !nt.Status.DrainStartTime.Equal(before.DrainStartTime) {
		t.Errorf("the record changed from %+v to %+v", before, nt.Status)
	}

	// A pod that tolerates the cordon came meanwhile: the next event drains again.
	cluster.CreatePods(t, s.ns, s.nodes[0].Name, 1)
	stopping.ID = "c"
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { spec.Events = append(spec.Events, stopping) })
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Pods.Summary != "4/4" || nt.Status.CompletionTime == nil {
			return fmt.Errorf("not drained again: %+v", nt.Status)
		}
		return nil
	})
}

func TestOldEventsArePruned(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	var events []v1alpha1.Event
	for i := range 24 {
		e := v1alpha1.Event{
			ID: fmt.Sprintf("m%02d", i), Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS,
			Time: now(time.Duration(i) * time.Second), NotBefore: ptr.To(now(72 * time.Hour)), Cancelled: ptr.To(true),
		}
		events = append(events, e)
	}
	nt := s.terminate(0, events...)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Spec.Events) != maxPast {
			return fmt.Errorf("%d events, want %d", len(nt.Spec.Events), maxPast)
		}
		return nil
	})
	if nt.Spec.Events[0].ID != "m08" {
		t.Errorf("the oldest kept is %s, want m08", nt.Spec.Events[0].ID)
	}
}
