// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

func excluding(delay int32) func(*v1alpha1.NodeTerminationPolicySpec) {
	return func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{LoadBalancers: v1alpha1.LoadBalancersExclude, LoadBalancerDelaySeconds: &delay}
	}
}

func TestLoadBalancersExcludeTheNodeBeforeThePodsAreEvicted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, excluding(5))
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 2)
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateWaiting)
	node := s.node(0)
	if node.Labels[corev1.LabelNodeExcludeBalancers] == "" || !node.Spec.Unschedulable {
		t.Errorf("waits, but the node is not excluded and cordoned: %v", node.Labels)
	}
	if left := s.left(0); len(left) != 2 {
		t.Errorf("pods were evicted before load balancers had their time: %v are left", left)
	}
	nt = s.until(nt, v1alpha1.StateCompleted)
	if took := nt.Status.DrainStartTime.Sub(nt.Status.StartTime.Time); took < 4*time.Second {
		t.Errorf("the first pod was evicted after %s, want five seconds", took)
	}
	if err := admin(t).Delete(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	s.untilNode(0, func(node *corev1.Node) error {
		if _, labelled := node.Labels[corev1.LabelNodeExcludeBalancers]; labelled {
			return fmt.Errorf("the label is still there")
		}
		return untouched(node)
	})
}

func TestLoadBalancersGetAtMostHalfOfTheTime(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, excluding(3600))
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := s.until(s.terminate(0, notice("a", 16*time.Second)), v1alpha1.StateCompleted)
	if took := nt.Status.DrainStartTime.Sub(nt.Status.StartTime.Time); took < 5*time.Second || took > 11*time.Second {
		t.Errorf("the first pod was evicted after %s of sixteen seconds, want eight", took)
	}
}

func TestLaterDrainLeavesLoadBalancersAlone(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, excluding(0))
	s.until(s.terminate(0, v1alpha1.Event{
		ID: "m", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: now(0), NotBefore: ptr.To(now(14 * 24 * time.Hour)),
	}), v1alpha1.StateScheduled)
	if _, labelled := s.node(0).Labels[corev1.LabelNodeExcludeBalancers]; labelled {
		t.Error("the node takes no traffic two weeks before its maintenance")
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Mode = v1alpha1.ModeDryRun
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateDryRun)
	ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
	for _, part := range []string{"cordon the node", "nodetermination.dev/spot-interruption", "evict 3 pods"} {
		if !strings.Contains(ready.Message, part) {
			t.Errorf("message %q does not say %q", ready.Message, part)
		}
	}
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	if left := s.left(0); len(left) != 3 {
		t.Errorf("left %v, want all three", left)
	}
	s.deleteNode(0)
	s.pass(nt, 3*time.Minute)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.CompletionTime == nil || stateOfTermination(nt) != v1alpha1.StateDryRun {
			return fmt.Errorf("want an end as DryRun, got %+v", nt.Status)
		}
		return nil
	})
}

func TestTurningToDryRunStopsWhereItIs(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.budget()
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1, app("web"))
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.until(nt, v1alpha1.StateDraining)
	s.turn(v1alpha1.ModeDryRun)
	stalled := s.until(nt, v1alpha1.StatePolicyGone)
	if !meta.IsStatusConditionTrue(stalled.Status.Conditions, v1alpha1.ConditionStalled) {
		t.Errorf("conditions %+v", stalled.Status.Conditions)
	}
	if err := cordoned(s.node(0)); err != nil {
		t.Error(err)
	}
	s.turn(v1alpha1.ModeEnforce)
	s.until(nt, v1alpha1.StateDraining)
}

func (s *setting) turn(mode v1alpha1.Mode) {
	s.t.Helper()
	patch := client.MergeFrom(s.policy.DeepCopy())
	s.policy.Spec.Mode = mode
	if err := admin(s.t).Patch(s.t.Context(), s.policy, patch); err != nil {
		s.t.Fatal(err)
	}
}

// Not in parallel: the fault is everybody's.
func TestOnlyInstancesWithTheTagAreTouched(t *testing.T) {
	const tag = "example.com/managed"
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.InstanceTag = tag })
	fault, err := sim.AddFault(awssim.Fault{Service: "ec2", Code: "UnauthorizedOperation"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.ClearFaults)
	var nts []*v1alpha1.NodeTermination
	for i, tags := range []map[string]string{{tag: ""}, {"Name": tag}} {
		id, _ := ec2node.InstanceID(s.nodes[i])
		if err := sim.PutInstance(awssim.Instance{ID: id, Tags: tags}); err != nil {
			t.Fatal(err)
		}
		nts = append(nts, s.terminate(i, notice("a", 2*time.Minute), s.waits(i, fmt.Sprint("drain-", i))))
	}
	for i, nt := range nts {
		s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
			ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != v1alpha1.StateWaiting || !strings.Contains(ready.Message, "ec2:DescribeInstances") {
				return fmt.Errorf("want it to wait for EC2, got %+v", ready)
			}
			if hooks := nt.Status.LifecycleHooks; len(hooks) != 1 || hooks[0].State != v1alpha1.HookIgnored {
				return fmt.Errorf("hooks %+v, want one that is left alone", hooks)
			}
			return nil
		})
		if err := untouched(s.node(i)); err != nil {
			t.Errorf("touched before EC2 has answered: %v", err)
		}
	}
	sim.ClearFault(fault)
	s.until(nts[0], v1alpha1.StateCompleted)
	nt := s.until(nts[1], v1alpha1.StateIgnored)
	if err := untouched(s.node(1)); err != nil {
		t.Error(err)
	}
	if hook := nt.Status.LifecycleHooks[0]; hook.State != v1alpha1.HookIgnored || !strings.Contains(hook.Message, tag) {
		t.Errorf("hook %+v, want it left alone for want of the tag", hook)
	}
	if tagged, other := s.action("drain-0").Result, s.action("drain-1").Result; tagged != "CONTINUE" || other != "" {
		t.Errorf("the hooks were completed with %q and %q, want the first one only", tagged, other)
	}
}

func TestEndedTerminationIsDeletedAfterItsNode(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.TTLSecondsAfterFinished = ptr.To[int32](3) })
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	// It stays as long as its node does.
	s.nudge(nt)
	if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), nt); err != nil {
		t.Fatalf("deleted while its node was there: %v", err)
	}
	gone := time.Now()
	if err := admin(t).Delete(t.Context(), s.nodes[0]); err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, patience, func() error {
		err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), nt)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
	if after := time.Since(gone); after < 2*time.Second {
		t.Errorf("deleted %s after its node, want three seconds", after)
	}
}
