// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

func manualDrain() v1alpha1.Event {
	return v1alpha1.Event{ID: "m", Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Time: now(0)}
}

// annotate sets an annotation; nil removes it.
func (s *setting) annotate(object client.Object, key string, value *string) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		if delete(annotations, key); value != nil {
			annotations[key] = *value
		}
		object.SetAnnotations(annotations)
		return admin(s.t).Update(s.t.Context(), object)
	})
}

// messageOf returns what a NodeTermination says of its state.
func messageOf(nt *v1alpha1.NodeTermination) string {
	return meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady).Message
}

func hasWaitingTaint(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Key == v1alpha1.TaintKeyWaiting && !node.Spec.Unschedulable {
			return nil
		}
	}
	return fmt.Errorf("node %s is not waiting: unschedulable %t, taints %v", node.Name, node.Spec.Unschedulable, node.Spec.Taints)
}

func TestDrainIsHeldByItsNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2)
	s.annotate(s.nodes[0], v1alpha1.AnnotationHold, ptr.To("jane: the database\nis restored"))
	nt := s.until(s.terminate(0, manualDrain()), v1alpha1.StateHeld)
	if message := messageOf(nt); !strings.HasPrefix(message, "held by the annotation nodetermination.dev/hold of the node: jane: the database is restored; it is held until ") {
		t.Errorf("message %q", message)
	}
	s.untilNode(0, hasWaitingTaint)
	if left := s.left(0); len(left) != 2 {
		t.Errorf("pods %v are left, want both", left)
	}
	s.annotate(s.nodes[0], v1alpha1.AnnotationHold, nil)
	nt = s.until(nt, v1alpha1.StateCompleted)
	if nt.Status.HoldStartTime == nil {
		t.Error("the record does not say that the drain was held")
	}
	s.untilNode(0, cordoned)
}

func TestDrainUnderWayIsHeld(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.until(s.terminate(0, manualDrain()), v1alpha1.StateDraining)
	s.annotate(nt, v1alpha1.AnnotationHold, ptr.To(""))
	nt = s.until(nt, v1alpha1.StateHeld)
	if message := messageOf(nt); !strings.HasPrefix(message, "held by the annotation nodetermination.dev/hold of the NodeTermination; it is held until ") {
		t.Errorf("message %q", message)
	}
	s.untilNode(0, cordoned)
	s.allowEvictions()
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) { // a nearer deadline ends it
		spec.Events = append(spec.Events, notice("spot", 2*time.Minute))
	})
	s.until(nt, v1alpha1.StateCompleted)
}

func TestDrainIsHeldByAConfigMap(t *testing.T) {
	t.Parallel()
	name := "drains-" + strings.ToLower(t.Name())
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, Labels: map[string]string{v1alpha1.LabelWebhook: "true"}},
		Data:       map[string]string{"hold": "incident 4711"},
	}
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{Hold: &v1alpha1.DrainHold{ConfigMapKeyRef: &v1alpha1.KeyReference{Name: name, Key: "hold"}}}
	})
	s.create(configMap)
	testcluster.Eventually(t, patience, func() error {
		return reconcilerCache.Get(t.Context(), client.ObjectKeyFromObject(configMap), &corev1.ConfigMap{})
	})
	held := s.until(s.terminate(0, manualDrain()), v1alpha1.StateHeld)
	if message := messageOf(held); !strings.HasPrefix(message, "held by key hold of config map "+name+": incident 4711; ") {
		t.Errorf("message %q", message)
	}
	s.until(s.terminate(1, notice("spot", 2*time.Minute)), v1alpha1.StateCompleted) // which cannot wait
	configMap.Data["hold"] = " "
	if err := admin(t).Update(t.Context(), configMap); err != nil {
		t.Fatal(err)
	}
	s.until(held, v1alpha1.StateCompleted)
}

func TestDrainIsNotHeldForEver(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{Hold: &v1alpha1.DrainHold{MaxSeconds: ptr.To[int32](3)}}
	})
	s.annotate(s.nodes[0], v1alpha1.AnnotationHold, ptr.To("for ever"))
	nt := s.terminate(0, manualDrain())
	s.until(nt, v1alpha1.StateHeld)
	s.until(nt, v1alpha1.StateCompleted)
}

func TestHeldUntil(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		deadline time.Time
		held     time.Duration // ago
		want     time.Time
	}{
		"a day without a deadline":        {want: t0.Add(24 * hour)},
		"from the first time on":          {held: hour, want: t0.Add(23 * hour)},
		"until a deadline is near":        {deadline: t0.Add(72 * hour), want: t0.Add(72*hour - urgent)},
		"which is over":                   {deadline: t0.Add(2 * time.Minute), want: t0.Add(2*time.Minute - urgent)},
		"however long it has been so":     {deadline: t0.Add(72 * hour), held: 48 * hour, want: t0.Add(72*hour - urgent)},
		"a day that is over is no longer": {held: 25 * hour, want: t0.Add(-hour)},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, policy: policyWith(), nt: &v1alpha1.NodeTermination{}, decision: decision{deadline: test.deadline}}
			s.nt.Status.HoldStartTime = &metav1.Time{Time: t0.Add(-test.held)}
			if got := s.heldUntil(); !got.Equal(test.want) {
				t.Errorf("until %s, want %s", formatTime(got), formatTime(test.want))
			}
		})
	}
}

// What nobody can put off is not held: an instance that stops, a maintenance that has begun, a
// drain that has ended, and what is only cordoned.
func TestWhatCanBeHeld(t *testing.T) {
	soft := decision{action: v1alpha1.ActionCordonAndDrain}
	later := soft
	later.drainAt = t0.Add(time.Hour)
	late := soft
	late.late = true
	near := soft
	near.deadline = t0.Add(time.Minute)
	far := soft
	far.deadline = t0.Add(time.Hour)
	for name, test := range map[string]struct {
		decision decision
		ended    bool
		want     bool
	}{
		"a drain without a deadline":     {soft, false, true},
		"a deadline that is far":         {far, false, true},
		"a deadline that is near":        {near, false, false},
		"a maintenance that has begun":   {late, false, false},
		"a drain that begins later":      {later, false, false},
		"a termination that has ended":   {soft, true, false},
		"a cordon":                       {decision{action: v1alpha1.ActionCordon}, false, false},
		"what the policy does not drain": {decision{action: v1alpha1.ActionIgnore}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, policy: policyWith(), nt: &v1alpha1.NodeTermination{}, node: &corev1.Node{}, decision: test.decision}
			if test.ended {
				s.nt.Status.CompletionTime = &metav1.Time{Time: t0}
			}
			if got := s.canBeHeld(); got != test.want {
				t.Errorf("can be held: %t, want %t", got, test.want)
			}
		})
	}
}
