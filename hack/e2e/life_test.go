// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestLife: what AWS said stays true until it is over, in whatever order it comes. Messages that
// come back take half a minute, so that all tests wait side by side.
func TestLife(t *testing.T) {
	startManager(t)
	for name, test := range map[string]func(*testing.T){
		"moved while retained":                testMovedWhileRetained,
		"deleted while retained":              testDeletedWhileRetained,
		"closed first":                        testClosedFirst,
		"running overtakes stopping":          testRunningOvertakes,
		"registered again":                    testRegisteredAgain,
		"registered again in mid-drain":       testRegisteredAgainInMidDrain,
		"registered again under another":      testRenamed,
		"policy replaced":                     testPolicyReplaced,
		"enforced before previewed":           testEnforcedBeforePreviewed,
		"labelled later":                      testLabelledLater,
		"hook of a node that nobody saw":      testHookOfUnseenNode,
		"hook without a policy and one later": testHookWithoutPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

const unknownInstance = "i-0fffffffffffffff0"

// aboutTwo is a maintenance of a node and of an instance that is none, so that its message comes back.
func (f *fixture) aboutTwo(node *corev1.Node, notBefore time.Time) awssim.Notice {
	notice := f.maintenance(node, notBefore)
	notice.InstanceIDs = append(notice.InstanceIDs, unknownInstance)
	return notice
}

// untilBack waits until the one message in the queue has come back, and was handled once more.
func (f *fixture) untilBack() {
	f.t.Helper()
	eventually(f.t, func() error {
		for _, m := range f.messages() {
			if m.Receives >= 2 && m.VisibleAt.After(time.Now()) {
				return nil
			}
		}
		return errors.New("no message has come back")
	})
}

// untilTermination waits until a node's NodeTermination is as it should be.
func (f *fixture) untilTermination(node *corev1.Node, check func(*v1alpha1.NodeTermination) error) {
	f.t.Helper()
	eventually(f.t, func() error {
		nt, err := f.termination(node)
		if err != nil {
			return err
		}
		return check(nt)
	})
}

// testMovedWhileRetained: the message that comes back for the unknown instance does not put the
// old date back.
func testMovedWhileRetained(t *testing.T) {
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		startBefore(spec)
		spec.Events[0].StartBeforeSeconds = ptr.To[int32](7200)
	})
	node := f.nodes(1)[0]
	now := time.Now()
	f.send(f.aboutTwo(node, now.Add(3*24*time.Hour)))
	f.until(node, v1alpha1.StateScheduled)
	moved := f.maintenance(node, now.Add(2*time.Hour+2*time.Minute))
	moved.Time = now.Add(time.Minute)
	f.send(moved)
	hasMoved := func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Spec.Events) != 1 || !nt.Spec.Events[0].NotBefore.Time.Equal(moved.NotBefore) || !nt.Status.Deadline.Time.Equal(moved.NotBefore) {
			return fmt.Errorf("the events are %+v, the deadline %s, want one at %s", nt.Spec.Events, nt.Status.Deadline, moved.NotBefore)
		}
		return nil
	}
	f.untilTermination(node, hasMoved)
	f.untilBack()
	nt, err := f.termination(node)
	if err == nil {
		err = hasMoved(nt)
	}
	if err != nil {
		t.Error(err)
	}
}

// testDeletedWhileRetained: what was deleted is not made anew by the message that comes back.
func testDeletedWhileRetained(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.send(f.aboutTwo(node, time.Now().Add(3*24*time.Hour)))
	f.remove(f.until(node, v1alpha1.StateScheduled))
	f.untilNode(node, schedulable)
	f.untilBack()
	if nt, err := f.termination(node); !apierrors.IsNotFound(err) {
		t.Errorf("want no NodeTermination, got %+v, %v", nt, err)
	}
}

// testClosedFirst: the older announcement arrives after the maintenance was closed.
func testClosedFirst(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	pods := f.pods(node, 1)
	announced := f.maintenance(node, time.Now().Add(time.Hour))
	closed := announced
	closed.Status, closed.Time = "closed", time.Now().Add(time.Minute)
	f.send(closed)
	f.until(node, v1alpha1.StateCancelled)
	f.send(announced)
	f.untilQueueEmpty()
	nt, err := f.termination(node)
	if err != nil {
		t.Fatal(err)
	}
	if len(nt.Spec.Events) != 1 || !ptr.Deref(nt.Spec.Events[0].Cancelled, false) || nt.Status.StartTime != nil {
		t.Errorf("the events are %+v, begun %v", nt.Spec.Events, nt.Status.StartTime)
	}
	f.untilNode(node, schedulable)
	if got := f.podsOn(node); len(got) != len(pods) {
		t.Errorf("pods %v are on the node, want %d", got, len(pods))
	}
	announced.Time = time.Now().Add(2 * time.Minute) // and now it is planned again
	f.send(announced)
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
}

// testRunningOvertakes: of a stop and a start the messages are in the wrong order.
func testRunningOvertakes(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.send(awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instanceOf(node)}, Time: time.Now().Add(-time.Minute)})
	f.until(node, v1alpha1.StateCordoned)
	now := time.Now()
	f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "running", Time: now.Add(time.Minute)})
	f.untilNode(node, schedulable)
	f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "stopping", Time: now})
	f.untilQueueEmpty()
	f.untilTermination(node, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Events) != 3 {
			return fmt.Errorf("the states are %+v, want three", nt.Status.Events)
		}
		for _, e := range nt.Status.Events {
			if e.State == v1alpha1.EventActive {
				t.Fatalf("an event counts: %+v", nt.Status.Events)
			}
		}
		return nil
	})
	f.untilNode(node, schedulable)
}

// register makes a node anew, under a name, as a kubelet does.
func (f *fixture) register(node *corev1.Node, name string) *corev1.Node {
	f.t.Helper()
	old := &corev1.Node{}
	if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(node), old); err != nil {
		f.t.Fatal(err)
	}
	if err := admin(f.t).Delete(f.t.Context(), node, client.Preconditions{UID: &node.UID}); err != nil {
		f.t.Fatal(err)
	}
	again := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: node.Labels, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"}},
		Spec:       corev1.NodeSpec{ProviderID: node.Spec.ProviderID},
		Status:     node.Status,
	}
	f.create(again)
	again.Status = old.Status
	if err := admin(f.t).Status().Update(f.t.Context(), again); err != nil && !apierrors.IsConflict(err) {
		f.t.Fatal(err)
	}
	return again
}

// testRegisteredAgain: the termination goes on with another Node object of the same name.
func testRegisteredAgain(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.send(f.maintenance(node, time.Now().Add(3*24*time.Hour)))
	before := f.until(node, v1alpha1.StateScheduled)
	again := f.register(node, node.Name)
	f.untilTermination(node, f.goesOnWith(before, again))
	f.until(node, v1alpha1.StateScheduled)
	f.untilNode(again, cordoned)
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
}

// goesOnWith checks that a NodeTermination is the one from before, and about a node.
func (f *fixture) goesOnWith(before *v1alpha1.NodeTermination, node *corev1.Node) func(*v1alpha1.NodeTermination) error {
	return func(nt *v1alpha1.NodeTermination) error {
		if nt.UID != before.UID {
			f.t.Fatal("the NodeTermination is another one")
		}
		if nt.Spec.NodeName != node.Name || nt.Status.Node == nil || nt.Status.Node.UID != node.UID {
			return fmt.Errorf("it is about node %s, %+v, want %s, %s", nt.Spec.NodeName, nt.Status.Node, node.Name, node.UID)
		}
		return nil
	}
}

// testRegisteredAgainInMidDrain: the hook goes on waiting until the pods are gone.
func testRegisteredAgainInMidDrain(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	pods := f.pods(node, 1, stopsIn(15*time.Second))
	f.terminate(node, time.Hour)
	before := f.until(node, v1alpha1.StateDraining)
	f.untilEvicted(pods)
	f.untilTermination(node, f.goesOnWith(before, f.register(node, node.Name)))
	eventually(t, func() error {
		if f.action(instanceOf(node)).Result == "" {
			return errors.New("the hook waits")
		}
		f.checkGone(pods)
		return nil
	})
	f.until(node, v1alpha1.StateCompleted)
	f.checkContinuedOnce(node)
}

// testRenamed: the NodeTermination follows the instance to another node's name.
func testRenamed(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.send(f.maintenance(node, time.Now().Add(3*24*time.Hour)))
	before := f.until(node, v1alpha1.StateScheduled)
	again := f.register(node, node.Name+"-again")
	f.untilTermination(node, f.goesOnWith(before, again))
	f.untilNode(again, cordoned)
}

// testPolicyReplaced: another policy takes over while the node waits for its maintenance.
func testPolicyReplaced(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	pods := f.pods(node, 1)
	f.send(f.maintenance(node, time.Now().Add(3*24*time.Hour)))
	f.until(node, v1alpha1.StateScheduled)
	former := f.policy
	renamed := former.DeepCopy()
	renamed.ObjectMeta = metav1.ObjectMeta{Name: former.Name + "-renamed"}
	f.create(renamed)
	f.remove(former)
	f.policy = renamed
	f.untilTermination(node, func(nt *v1alpha1.NodeTermination) error {
		if ref := nt.Status.PolicyRef; ref == nil || ref.Name != renamed.Name || ref.TakenOverFrom != former.Name {
			return fmt.Errorf("policyRef is %+v, want %s, taken over from %s", ref, renamed.Name, former.Name)
		}
		return nil
	})
	f.untilReady()
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
}

// testEnforcedBeforePreviewed: an older policy in mode DryRun keeps nobody from acting.
func testEnforcedBeforePreviewed(t *testing.T) {
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun })
	node := f.nodes(1)[0]
	enforced := f.policy.DeepCopy()
	enforced.ObjectMeta = metav1.ObjectMeta{Name: f.policy.Name + "-enforced"}
	enforced.Spec.Mode = v1alpha1.ModeEnforce
	f.create(enforced)
	f.policy = enforced
	f.untilReady()
	f.interrupt(node)
	if nt := f.until(node, v1alpha1.StateCompleted); nt.Status.PolicyRef.Name != enforced.Name {
		t.Errorf("policy %s drained", nt.Status.PolicyRef.Name)
	}
}

// testLabelledLater: the label that the policy selects comes after the message.
func testLabelledLater(t *testing.T) {
	f := newFixture(t)
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	pods := f.pods(node, 1)
	f.interrupt(node)
	eventually(t, func() error {
		if messages := f.messages(); len(messages) != 1 || messages[0].Receives == 0 {
			return fmt.Errorf("the queue has %+v, want the message, received", messages)
		}
		return nil
	})
	f.patch(node, fmt.Sprintf(`{"metadata":{"labels":{"e2e":%q}}}`, f.label["e2e"]))
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
	f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(node)}})
}

// testHookOfUnseenNode: the node was deleted before anybody looked. Its hook is completed by the only
// policy that the source has noted, once the node has been gone for a minute.
func testHookOfUnseenNode(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	instance := instanceOf(node)
	hook := awssim.LifecycleHook{Group: f.queueName, Name: "drain", HeartbeatTimeout: time.Hour}
	if err := f.sim.PutLifecycleHook(hook); err != nil {
		t.Fatal(err)
	}
	other, err := f.sim.CreateQueue(f.queueName+"-other", nil) // that nobody reads
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.sim.Send(other, awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instance}, Group: hook.Group, Hook: hook.Name}); err != nil {
		t.Fatal(err)
	}
	action := f.action(instance)
	if err := admin(t).Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	f.create(&v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: instance},
		Spec: v1alpha1.NodeTerminationSpec{
			InstanceID: instance, NodeName: node.Name,
			Events: []v1alpha1.Event{{
				ID: "hook", Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceSQS, Time: metav1.Now(), PolicyName: f.policy.Name,
				LifecycleHook: &v1alpha1.LifecycleHook{AutoScalingGroupName: hook.Group, Name: hook.Name, Token: action.Token},
			}},
		},
	})
	eventually(t, func() error {
		if action := f.action(instance); action.Result == "" {
			return fmt.Errorf("the hook waits: %+v", action)
		}
		return nil
	})
}

// testHookWithoutPolicy: nobody sees to the hook while no policy governs the node, and the status
// says so; then one does.
func testHookWithoutPolicy(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.budgetForGood()
	pods := f.pods(node, 1, stuck)
	f.terminate(node, time.Hour)
	f.untilTermination(node, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 1 {
			return fmt.Errorf("blocked are %+v, want one pod", nt.Status.Blocked)
		}
		return nil
	})
	former := f.policy
	f.remove(former)
	nt := f.until(node, v1alpha1.StatePolicyGone)
	if len(nt.Status.LifecycleHooks) != 1 || nt.Status.LifecycleHooks[0].State != v1alpha1.HookIgnored || len(nt.Status.Blocked) != 0 {
		t.Errorf("hooks %+v, blocked %+v", nt.Status.LifecycleHooks, nt.Status.Blocked)
	}
	again := former.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Name: former.Name + "-again"}
	f.create(again)
	f.until(node, v1alpha1.StateDraining)
	if err := admin(t).Delete(t.Context(), pods[0], client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	f.until(node, v1alpha1.StateCompleted)
	f.checkContinuedOnce(node)
}
