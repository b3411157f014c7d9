// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

// registerAgain creates the i-th node once more, under the name.
func (s *setting) registerAgain(i int, name string) {
	s.t.Helper()
	again := s.nodes[i].DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: s.nodes[i].Labels}
	again.Spec.Unschedulable, again.Spec.Taints = false, nil
	status := again.Status
	testcluster.Eventually(s.t, patience, func() error { return admin(s.t).Create(s.t.Context(), again) })
	s.t.Cleanup(func() { _ = admin(s.t).Delete(context.Background(), again) })
	s.nodes[i] = again
	s.changeStatusOf(i, func(node *corev1.Node) {
		node.Status.NodeInfo, node.Status.Conditions = status.NodeInfo, status.Conditions
	})
}

// changeStatusOf changes the status of the i-th node as its kubelet does.
func (s *setting) changeStatusOf(i int, change func(*corev1.Node)) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		node := s.node(i)
		change(node)
		return admin(s.t).Status().Update(s.t.Context(), node)
	})
}

// hasNode is an error unless a NodeTermination is about this Node object.
func hasNode(nt *v1alpha1.NodeTermination, node *corev1.Node) error {
	if known := nt.Status.Node; known == nil || known.UID != node.UID || known.GoneTime != nil || nt.Spec.NodeName != node.Name {
		return fmt.Errorf("it is about node %s, %+v; want %s, %s", nt.Spec.NodeName, known, node.Name, node.UID)
	}
	return nil
}

// planned returns a maintenance in three days.
func planned() v1alpha1.Event {
	return v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0),
		NotBefore: ptr.To(now(72 * time.Hour)), Deadline: ptr.To(now(72 * time.Hour)),
	}
}

// TestRecognize: the Node object may be another one, the instance is the same.
func TestRecognize(t *testing.T) {
	notReady := nodeReady(0, "2")
	notReady.Status.Conditions[0].Status = corev1.ConditionFalse
	other := nodeReady(0, "2")
	other.UID = "other-uid"
	for name, test := range map[string]struct {
		known *v1alpha1.NodeReference
		node  *corev1.Node
		want  v1alpha1.NodeReference
		again bool
	}{
		"first seen":               {node: nodeReady(0, "1"), want: v1alpha1.NodeReference{UID: "node-uid", BootID: "1", Zone: "us-east-1a"}},
		"not Ready":                {node: notReady, want: v1alpha1.NodeReference{UID: "node-uid", Zone: "us-east-1a"}},
		"seen before":              {known: &v1alpha1.NodeReference{UID: "node-uid", BootID: "1"}, node: nodeReady(0, "2"), want: v1alpha1.NodeReference{UID: "node-uid", BootID: "1"}},
		"missed for a while":       {known: &v1alpha1.NodeReference{UID: "node-uid", GoneTime: atPtr(0)}, node: nodeReady(0, "2"), want: v1alpha1.NodeReference{UID: "node-uid"}},
		"registered again":         {known: &v1alpha1.NodeReference{UID: "node-uid", BootID: "1", GoneTime: atPtr(0)}, node: other, want: v1alpha1.NodeReference{UID: "other-uid", BootID: "1", Zone: "us-east-1a"}, again: true},
		"registered, boot unknown": {known: &v1alpha1.NodeReference{UID: "node-uid"}, node: other, want: v1alpha1.NodeReference{UID: "other-uid", BootID: "2", Zone: "us-east-1a"}, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}, node: test.node}
			s.nt.Status.Node = test.known
			s.recognize()
			if got := s.nt.Status.Node; *got != test.want || s.registeredAgain != test.again {
				t.Errorf("%+v, registered again %t; want %+v, %t", got, s.registeredAgain, test.want, test.again)
			}
		})
	}
}

func TestNodeThatRegistersAgainIsCordonedAgain(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, planned()), v1alpha1.StateScheduled)
	s.deleteNode(0)
	s.registerAgain(0, s.nodes[0].Name)
	s.untilNode(0, cordoned)
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error { return hasNode(nt, s.nodes[0]) })
	s.until(nt, v1alpha1.StateScheduled)
}

func TestNodeThatRegistersAgainAfterTheEndIsDrainedAgain(t *testing.T) {
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
	})
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	e := recommendation()
	e.Time = now(0)
	nt := s.terminate(0, e)
	s.until(nt, v1alpha1.StateDraining)
	s.deleteNode(0)
	s.pass(nt, 3*time.Minute)
	s.until(nt, v1alpha1.StateFailed)
	s.registerAgain(0, s.nodes[0].Name)
	s.untilNode(0, cordoned)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.CompletionTime != nil || stateIn(&nt.Status) != v1alpha1.StateDraining {
			return fmt.Errorf("want it drained once more: %+v", nt.Status.Conditions)
		}
		return hasNode(nt, s.nodes[0])
	})
}

func TestHookWaitsForANodeThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, terminatesAfter(15*time.Second))
	nt := s.terminate(0, s.waits(0, "drain"))
	s.until(nt, v1alpha1.StateDraining)
	s.deleteNode(0)
	s.registerAgain(0, s.nodes[0].Name)
	s.untilNode(0, cordoned)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error { return hasNode(nt, s.nodes[0]) })
	nt = s.until(nt, v1alpha1.StateCompleted)
	var pods corev1.PodList
	if err := admin(t).List(t.Context(), &pods); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		if pods.Items[i].Namespace == s.ns {
			t.Errorf("the hook was completed while pod %s was there", pods.Items[i].Name)
		}
	}
	if action := s.action("drain"); action.Result != "CONTINUE" {
		t.Errorf("result %q", action.Result)
	}
	if err := hasNode(nt, s.nodes[0]); err != nil {
		t.Error(err)
	}
}

func TestNodeThatIsMadeAnewWhileCompletingIsDrainedAgain(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	attachment := s.volume(0)
	nt := s.terminate(0, s.waits(0, "drain"))
	s.until(nt, v1alpha1.StateCompleting)
	s.deleteNode(0)
	s.registerAgain(0, s.nodes[0].Name)
	s.untilNode(0, cordoned)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error { return hasNode(nt, s.nodes[0]) })
	s.until(nt, v1alpha1.StateCompleting)
	if action := s.action("drain"); action.Result != "" {
		t.Error("completed while a volume was attached")
	}
	if err := admin(t).Delete(t.Context(), attachment); err != nil {
		t.Fatal(err)
	}
	s.until(nt, v1alpha1.StateCompleted)
}

func TestTerminationMovesAlongWithItsInstance(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, planned()), v1alpha1.StateScheduled)
	s.deleteNode(0)
	s.registerAgain(0, "renamed-"+s.nodes[0].Name)
	s.untilNode(0, cordoned)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error { return hasNode(nt, s.nodes[0]) })
	s.until(nt, v1alpha1.StateScheduled)
}

// A Node of the same name that does not say yet where it runs contradicts nothing.
func TestNodeWithoutAProviderIDIsMissing(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, planned()), v1alpha1.StateScheduled)
	providerID := s.nodes[0].Spec.ProviderID
	s.deleteNode(0)
	s.nodes[0].Spec.ProviderID = ""
	s.registerAgain(0, s.nodes[0].Name)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "no node runs on the instance") {
			return fmt.Errorf("want that the node is missing: %s", ready.Message)
		}
		return nil
	})
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	testcluster.Eventually(t, patience, func() error {
		node := s.node(0)
		node.Spec.ProviderID = providerID
		return admin(t).Update(t.Context(), node)
	})
	s.untilNode(0, cordoned)
	s.until(nt, v1alpha1.StateScheduled)
}

// Nobody had looked when the node went: the policy is the one that the source noted.
func TestHookOfANodeThatNobodySawIsCompleted(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1") // the node's zone is not known
	s := newSetting(t, 1, nil)
	s.deleteNode(0)
	testcluster.Eventually(t, patience, func() error {
		if node, err := ec2node.ByInstance(t.Context(), reconcilerCache, instanceOf(s.nodes[0])); err != nil || node != nil {
			return fmt.Errorf("the cache has node %v, %w", node, err)
		}
		return nil
	})
	e := s.waits(0, "drain")
	e.PolicyName = s.policy.Name
	nt := s.terminate(0, e)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if hooks := nt.Status.LifecycleHooks; len(hooks) != 1 || hooks[0].State != v1alpha1.HookWaiting {
			return fmt.Errorf("hooks %+v, want one that waits", hooks)
		}
		return nil
	})
	if action := s.action("drain"); action.Result != "" {
		t.Errorf("completed with %s although the node may register yet", action.Result)
	}
	s.pass(nt, 61*time.Second)
	nt = s.until(nt, v1alpha1.StateFailed)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if action := s.action("drain"); action.Result != "CONTINUE" {
			return fmt.Errorf("result %q, hook %+v", action.Result, nt.Status.LifecycleHooks[0])
		}
		return nil
	})
}

// instanceOf returns the ID of the instance that a node runs on.
func instanceOf(node *corev1.Node) string {
	id, _ := ec2node.InstanceID(node)
	return id
}
