// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// dead replaces the setting's node by one that nobody plays the kubelet of, and puts
// pods there that will not say when they have ended.
func (s *setting) dead(pods int) {
	s.t.Helper()
	node := s.nodes[0].DeepCopy()
	node.ObjectMeta = metav1.ObjectMeta{Name: node.Name, Labels: node.Labels}
	if err := admin(s.t).Delete(s.t.Context(), s.nodes[0]); err != nil {
		s.t.Fatal(err)
	}
	testcluster.Eventually(s.t, patience, func() error { return admin(s.t).Create(s.t.Context(), node) })
	s.nodes[0] = node
	s.t.Cleanup(func() { _ = client.IgnoreNotFound(admin(s.t).Delete(context.Background(), node)) })
	s.changeNodeStatus(func(node *corev1.Node) {
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown", LastTransitionTime: now(0),
		}}
	})
	for range pods {
		s.create(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "dead-", Namespace: s.ns},
			Spec:       corev1.PodSpec{NodeName: node.Name, Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
		})
	}
}

func TestDeadNodeEndsWithTheTruth(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.dead(2)
	nt := s.until(s.terminate(0, v1alpha1.Event{
		ID: "s", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(0)), InstanceAction: "terminated",
	}), v1alpha1.StateFailed)
	drained := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionDrained)
	if drained.Reason != v1alpha1.ReasonInstanceStopped || !strings.Contains(drained.Message, "2 of 2 pods not gone") {
		t.Errorf("Drained is %+v", drained)
	}
	if took := nt.Status.CompletionTime.Sub(nt.Status.StartTime.Time); took > 30*time.Second {
		t.Errorf("dead pods were waited for %s", took)
	}
}

// ec2Says puts the instance of the setting's node into EC2, and returns its ID.
func (s *setting) ec2Says(state string) (id string) {
	s.t.Helper()
	id, _ = ec2node.InstanceID(s.nodes[0])
	if err := sim.PutInstance(awssim.Instance{ID: id, State: state}); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// EC2 knew the instance, and does not any more.
func TestNodeOfAnInstanceThatIsGoneIsOutOfService(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{OutOfServiceTaint: v1alpha1.OutOfServiceWhenStopped}
	})
	s.dead(2)
	id := s.ec2Says("running")
	nt := s.terminate(0, notice("a", 2*time.Second))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.InstanceFoundTime == nil {
			return errors.New("EC2 has not described the instance yet")
		}
		return nil
	})
	sim.RemoveInstance(id)
	s.untilNode(0, func(node *corev1.Node) error {
		if !ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
			return fmt.Errorf("taints %v", node.Spec.Taints)
		}
		return nil
	})
	s.until(nt, v1alpha1.StateCompleted) // Kubernetes deletes the pods by force
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, v1alpha1.Event{
			ID: "r", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(time.Second), InstanceAction: "running",
		})
	})
	s.untilNode(0, func(node *corev1.Node) error {
		if ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
			return fmt.Errorf("the node is in service again and has %v", node.Spec.Taints)
		}
		return untouched(node)
	})
}

// It is Manual that stands whatever the instance does. A node that answers again must
// not stay out of service: its volumes would be detached in use.
func TestNodeThatAnswersAgainIsInService(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{OutOfServiceTaint: v1alpha1.OutOfServiceWhenStopped}
	})
	s.dead(0)
	s.ec2Says("stopped")
	nt := s.terminate(0, v1alpha1.Event{ID: "m", Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Time: now(0)})
	s.untilNode(0, func(node *corev1.Node) error {
		if !ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
			return fmt.Errorf("taints %v", node.Spec.Taints)
		}
		return nil
	})
	s.until(nt, v1alpha1.StateCompleted)
	s.changeNodeStatus(func(node *corev1.Node) {
		node.Status.Conditions[0].Status, node.Status.Conditions[0].LastTransitionTime = corev1.ConditionTrue, now(0)
	})
	s.untilNode(0, func(node *corev1.Node) error {
		if ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
			return fmt.Errorf("taints %v", node.Spec.Taints)
		}
		return cordoned(node)
	})
}

// An instance that EC2 has never known is another account's, as far as anybody knows: its node may
// run, and to be declared out of service would kill its pods.
func TestNodeOfAnotherAccountsInstanceIsNotOutOfService(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{OutOfServiceTaint: v1alpha1.OutOfServiceWhenStopped}
	})
	s.dead(1)
	nt := s.terminate(0, v1alpha1.Event{
		ID: "s", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(0)), InstanceAction: "stopped",
	})
	id, _ := ec2node.InstanceID(s.nodes[0])
	testcluster.Eventually(t, patience, func() error {
		if !slices.ContainsFunc(sim.Calls("ec2", "DescribeInstances"), func(call awssim.Call) bool { return slices.Contains(slices.Collect(maps.Values(call.Params)), id) }) {
			return errors.New("EC2 was not asked about the instance")
		}
		return nil
	})
	nt = s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Pods == nil || *nt.Status.Pods.Terminating != 1 {
			return fmt.Errorf("pods %+v, want one that was evicted", nt.Status.Pods)
		}
		return nil
	})
	if ec2node.HasTaint(s.node(0), &ec2node.OutOfServiceTaint) || nt.Status.InstanceFoundTime != nil {
		t.Error("EC2 does not know the instance, and its node is out of service")
	}
}

// A message that the instance has stopped may be old: EC2 is asked before its node is
// declared out of service.
func TestNodeOfAnInstanceThatRunsIsNotOutOfService(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{OutOfServiceTaint: v1alpha1.OutOfServiceWhenStopped}
	})
	s.dead(1)
	id, _ := ec2node.InstanceID(s.nodes[0])
	if err := sim.PutInstance(awssim.Instance{ID: id}); err != nil {
		t.Fatal(err)
	}
	nt := s.terminate(0, v1alpha1.Event{
		ID: "s", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(0)), InstanceAction: "stopped",
	})
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if nt.Status.Pods == nil || *nt.Status.Pods.Terminating != 1 {
			return fmt.Errorf("pods %+v, want one that was evicted", nt.Status.Pods)
		}
		return nil
	})
	if ec2node.HasTaint(s.node(0), &ec2node.OutOfServiceTaint) {
		t.Error("EC2 says that the instance runs, and its node is out of service")
	}
}

// Its volumes are still attached, and nobody but this operator knows that it is terminated.
func TestNodeOfAnInstanceThatStopsAfterItsDrainIsOutOfService(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{OutOfServiceTaint: v1alpha1.OutOfServiceWhenStopped}
	})
	s.dead(0)
	s.changeNodeStatus(func(node *corev1.Node) { node.Status.Conditions[0].Status = corev1.ConditionTrue })
	id, _ := ec2node.InstanceID(s.nodes[0])
	if err := sim.PutInstance(awssim.Instance{ID: id, State: "terminated"}); err != nil {
		t.Fatal(err)
	}
	s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	if ec2node.HasTaint(s.node(0), &ec2node.OutOfServiceTaint) {
		t.Error("the node answers, and is out of service")
	}
	s.changeNodeStatus(func(node *corev1.Node) {
		node.Status.Conditions[0].Status, node.Status.Conditions[0].LastTransitionTime = corev1.ConditionUnknown, now(0)
	})
	s.untilNode(0, func(node *corev1.Node) error {
		if !ec2node.HasTaint(node, &ec2node.OutOfServiceTaint) {
			return fmt.Errorf("taints %v", node.Spec.Taints)
		}
		return nil
	})
}

// volume attaches a volume to the i-th node.
func (s *setting) volume(i int) *storagev1.VolumeAttachment {
	s.t.Helper()
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "ebs.csi.aws.com", NodeName: s.nodes[i].Name,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("data-" + s.ns)},
		},
	}
	s.create(attachment)
	return attachment
}

func TestHookWaitsUntilVolumesAreDetached(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	attachment := s.volume(0)
	nt := s.terminate(0, s.waits(0, "drain"))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.StateCompleting || !strings.Contains(ready.Message, "still attached: data-"+s.ns) {
			return fmt.Errorf("want it to wait for the volume, got %+v", ready)
		}
		return nil
	})
	if action := s.action("drain"); action.Result != "" {
		t.Error("completed while a volume was attached")
	}
	if err := admin(t).Delete(t.Context(), attachment); err != nil {
		t.Fatal(err)
	}
	s.until(nt, v1alpha1.StateCompleted)
	if action := s.action("drain"); action.Result != "CONTINUE" {
		t.Errorf("result %q", action.Result)
	}
}

func TestVolumesAreWaitedForUntilTheDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		drain  *v1alpha1.DrainSpec
		within time.Duration // of the beginning of the wait
	}{
		"by default":    {nil, 30 * time.Second},
		"or not at all": {&v1alpha1.DrainSpec{Volumes: v1alpha1.VolumesIgnore}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
				spec.Drain = test.drain
				spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{MaxWaitSeconds: ptr.To[int32](30)}
			})
			cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
			s.volume(0)
			nt := s.until(s.terminate(0, s.waits(0, "drain")), v1alpha1.StateCompleted)
			hook, action := nt.Status.LifecycleHooks[0], s.action("drain")
			waited := action.Ended.Sub(hook.StartTime.Time)
			if action.Result != "CONTINUE" || waited < test.within || waited > test.within+15*time.Second {
				t.Errorf("%q after %s, want CONTINUE after %s", action.Result, waited, test.within)
			}
		})
	}
}
