// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/webhook"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestDeletedTerminationRevertsOnlyOurs(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	testcluster.Eventually(t, patience, func() error {
		theirs := s.node(1)
		theirs.Spec.Unschedulable = true
		return admin(t).Update(t.Context(), theirs)
	})
	s.budget()
	for i := range s.nodes {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
		nt := s.terminate(i, notice("a", 2*time.Minute))
		s.until(nt, v1alpha1.StateDraining)
		if err := admin(t).Delete(t.Context(), nt); err != nil {
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
	if err := admin(t).DeleteAllOf(t.Context(), &policyv1.PodDisruptionBudget{}, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	for i := range s.nodes {
		if len(s.left(i)) != 1 {
			t.Errorf("the pod of node %d was evicted after its termination was deleted", i)
		}
	}
}

// A new leader may not have a NodeTermination in its cache yet that the API server has.
func TestUndoAsksTheAPIServer(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}}
	for name, live := range map[string][]client.Object{"which has it": {nt}, "which does not": nil} {
		node := nodeReady(0, "1")
		ec2node.Apply(node, instance, ec2node.Desired{}, t0)
		cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(node).WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).Build()
		r := &Reconciler{Options: Options{
			Client: cached, Live: fake.NewClientBuilder().WithScheme(scheme).WithObjects(live...).Build(), Local: &LocalState{},
			Dispatcher: webhook.NewDispatcher(func(string) {}), Events: NewEventRecorder(nil, cached, &LocalState{}, testClock), Clock: testClock,
		}}
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(nt)})
		if err != nil || (result.RequeueAfter > 0) != (live != nil) {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		if err := cached.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			t.Fatal(err)
		}
		if node.Spec.Unschedulable != (live != nil) {
			t.Errorf("%s: unschedulable %t", name, node.Spec.Unschedulable)
		}
	}
}

func TestRebalanceCordonsAndIsLifted(t *testing.T) {
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
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
		t.Error("a pod was evicted")
	}
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

// TestInstanceComesBack: ways in which an event that came to pass is
// resolved. Each makes the node schedulable again, once: a fact that is still received
// afterwards, as the metadata service may do, changes nothing.
func TestInstanceComesBack(t *testing.T) {
	t.Parallel()
	for name, comeBack := range map[string]func(s *setting, nt *v1alpha1.NodeTermination){
		"another boot": func(s *setting, _ *v1alpha1.NodeTermination) {
			s.changeNodeStatus(func(node *corev1.Node) {
				node.Status.NodeInfo.BootID = "second-boot"
				turnReady(node)
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
			cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
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
			s.nudge(nt) // the same fact, once more
			if err := untouched(s.node(0)); err != nil {
				t.Error(err)
			}
			s.until(nt, v1alpha1.StateCompleted)
		})
	}
}

// turnReady sets since when the node is Ready to now, as after it was not. Not by way of
// NotReady, which kwok would mend, with a time of its own.
func turnReady(node *corev1.Node) {
	for c := range node.Status.Conditions {
		if condition := &node.Status.Conditions[c]; condition.Type == corev1.NodeReady {
			condition.LastTransitionTime = now(0)
		}
	}
}

// changeNodeStatus changes the status of the first node as its kubelet does.
func (s *setting) changeNodeStatus(change func(*corev1.Node)) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		node := s.node(0)
		change(node)
		return admin(s.t).Status().Update(s.t.Context(), node)
	})
}
