// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestDocuments: what becomes of every kind of document that a queue carries, besides the spot
// interruption of TestMainPath.
func TestDocuments(t *testing.T) {
	startManager(t)
	for name, test := range map[string]func(*testing.T, *fixture){
		"rebalance recommendation":                   testRebalance,
		"spot interruption through SNS":              testSNS,
		"state change":                               testStateChange,
		"running, when nothing was received before":  testRunning,
		"running, after the rebalance":               testRunningAgain,
		"health":                                     testHealth,
		"launch hooks":                               testLaunchHooks,
		"capacity reservation":                       testCapacityReservation,
		"test notification":                          testTestNotification,
		"unknown instance, retained":                 testRetained,
		"unknown instance, discarded":                testDiscarded,
		"a node that no policy with the queue knows": testNotGoverned,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
				switch name {
				case "unknown instance, discarded":
					spec.Sources[0].SQS.UnknownInstances = v1alpha1.UnknownDiscard
				case "launch hooks":
					adoptJoin(spec)
				}
			}))
		})
	}
}

// checkNoTermination checks that nothing comes of what was sent about a node, once it is out of the queue.
func (f *fixture) checkNoTermination(node *corev1.Node) {
	f.t.Helper()
	f.untilQueueEmpty()
	if nt, err := f.termination(node); !apierrors.IsNotFound(err) {
		f.t.Errorf("want no NodeTermination, got %+v, %v", nt, err)
	}
	f.untilNode(node, schedulable)
}

// checkKind checks the one event of a NodeTermination.
func checkKind(t *testing.T, nt *v1alpha1.NodeTermination, kind v1alpha1.EventKind, deadline time.Time) *v1alpha1.Event {
	t.Helper()
	if len(nt.Spec.Events) != 1 {
		t.Fatalf("the NodeTermination has the events %+v, want one", nt.Spec.Events)
	}
	e := &nt.Spec.Events[0]
	if e.Kind != kind || nt.Status.Cause != kind {
		t.Errorf("the event is of kind %s and the cause %s, want %s", e.Kind, nt.Status.Cause, kind)
	}
	if got := ptr.Deref(e.Deadline, nt.CreationTimestamp).Time; !deadline.IsZero() && !got.Equal(deadline) {
		t.Errorf("the deadline is %s, want %s", got, deadline)
	}
	return e
}

func testRebalance(t *testing.T, f *fixture) {
	node := f.nodes(1)[0]
	pod := f.pods(node, 1)[0]
	f.send(awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instanceOf(node)}})
	nt := f.until(node, v1alpha1.StateCordoned)
	f.untilNode(node, cordoned)
	f.untilQueueEmpty()
	checkKind(t, nt, v1alpha1.RebalanceRecommendation, time.Time{})
	if meta.IsStatusConditionTrue(nt.Status.Conditions, v1alpha1.ConditionDrained) {
		t.Errorf("nothing was to be drained: %s", describe(nt.Status.Conditions))
	}
	if got := f.podsOn(node); !slices.Equal(got, []string{pod.Name}) {
		t.Errorf("pods %v are left on the node, want %s", got, pod.Name)
	}
	f.checkEvictedOnce()
}

func testSNS(t *testing.T, f *fixture) {
	node := f.nodes(1)[0]
	pods := f.pods(node, 2)
	notice := spot(node)
	notice.SNS = true
	f.send(notice)
	checkKind(t, f.until(node, v1alpha1.StateCompleted), v1alpha1.SpotInterruption, time.Time{})
	f.checkEvictedOnce(pods...)
	f.untilQueueEmpty()
}

// testStateChange: there is no time left, so not even a budget keeps a pod.
func testStateChange(t *testing.T, f *fixture) {
	f.budgetForGood()
	states := []string{"stopping", "stopped", "shutting-down", "terminated"}
	nodes := f.nodes(len(states))
	var pods []*corev1.Pod
	for _, node := range nodes {
		pods = append(pods, f.pods(node, 1)...)
		pods = append(pods, f.pods(node, 1, stuck)...)
	}
	for i, state := range states {
		f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(nodes[i])}, State: state})
	}
	for i, state := range states {
		nt := f.until(nodes[i], v1alpha1.StateCompleted)
		if e := checkKind(t, nt, v1alpha1.InstanceStateChange, time.Time{}); e.InstanceAction != state {
			t.Errorf("the event says %s, want %s", e.InstanceAction, state)
		}
		f.untilNode(nodes[i], cordoned)
	}
	f.checkEvictedOnce(pods...)
	f.untilQueueEmpty()
}

func testRunning(_ *testing.T, f *fixture) {
	node := f.nodes(1)[0]
	f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "running"})
	f.checkNoTermination(node)
}

func testRunningAgain(_ *testing.T, f *fixture) {
	node := f.nodes(1)[0]
	f.send(awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instanceOf(node)}})
	f.until(node, v1alpha1.StateCordoned)
	f.untilNode(node, cordoned)
	f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "running", Time: time.Now().Add(time.Second)})
	f.until(node, v1alpha1.StateCancelled)
	f.untilNode(node, schedulable)
}

// testHealth: maintenance is days away, so the nodes are only cordoned, until it is cancelled.
func testHealth(t *testing.T, f *fixture) {
	nodes := f.nodes(2)
	f.pods(nodes[0], 1)
	notice := awssim.Notice{
		Kind: awssim.Health, InstanceIDs: []string{instanceOf(nodes[0]), instanceOf(nodes[1]), "i-0123456789abcdef0"},
		EventARN: "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/" + f.queueName,
		// Health says it in GMT, in whole seconds.
		NotBefore: time.Now().Add(3 * 24 * time.Hour).Truncate(time.Second),
	}
	f.send(notice)
	for _, node := range nodes {
		nt := f.until(node, v1alpha1.StateScheduled)
		if e := checkKind(t, nt, v1alpha1.ScheduledMaintenance, notice.NotBefore); e.NotBefore == nil || !e.NotBefore.Time.Equal(notice.NotBefore) {
			t.Errorf("the maintenance is not before %v, want %s", e.NotBefore, notice.NotBefore)
		}
		f.untilNode(node, cordoned)
	}
	if messages := f.messages(); len(messages) != 1 {
		t.Errorf("%d messages are in the queue, want the one that is also about an instance that is no node", len(messages))
	}
	notice.Status, notice.InstanceIDs = "closed", notice.InstanceIDs[:2]
	f.send(notice)
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCancelled)
		f.untilNode(node, schedulable)
	}
	f.checkEvictedOnce()
}

func testCapacityReservation(t *testing.T, f *fixture) {
	nodes := f.nodes(2)
	deadline := time.Now().Add(3 * time.Minute).Truncate(time.Second)
	for i, node := range nodes {
		f.send(awssim.Notice{
			Kind: awssim.CapacityReservation, InstanceIDs: []string{instanceOf(node)}, OtherSpelling: i == 1, NotBefore: deadline,
		})
	}
	for _, node := range nodes {
		checkKind(t, f.until(node, v1alpha1.StateCompleted), v1alpha1.CapacityReservationInterruption, deadline)
		f.untilNode(node, cordoned)
	}
	f.untilQueueEmpty()
}

func testTestNotification(_ *testing.T, f *fixture) {
	node := f.nodes(1)[0]
	f.send(awssim.Notice{Kind: awssim.TestNotification})
	f.checkNoTermination(node)
}

func unknown() awssim.Notice {
	return awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{"i-0fedcba9876543210"}}
}

// testRetained: the instance may become a node yet, so its message is given back for a while.
func testRetained(_ *testing.T, f *fixture) {
	sent := f.send(unknown())
	eventually(f.t, func() error {
		messages := f.messages()
		if len(messages) != 1 || messages[0].Receives != 1 || !messages[0].VisibleAt.After(sent.Add(29*time.Second)) {
			return fmt.Errorf("the queue has %+v, want the message, hidden for half a minute", messages)
		}
		return nil
	})
}

func testDiscarded(_ *testing.T, f *fixture) {
	f.send(unknown())
	f.untilQueueEmpty()
}

// testNotGoverned: a node of the cluster, but not one of this queue's policies. As it is new, its
// labels may be on their way, so that the message is given back for a moment.
func testNotGoverned(t *testing.T, f *fixture) {
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	sent := f.interrupt(node)
	eventually(t, func() error {
		messages := f.messages()
		if len(messages) != 1 || messages[0].Receives != 1 || !messages[0].VisibleAt.After(sent.Add(9*time.Second)) {
			return fmt.Errorf("the queue has %+v, want the message, hidden for ten seconds", messages)
		}
		return nil
	})
	if nt, err := f.termination(node); !apierrors.IsNotFound(err) {
		t.Errorf("want no NodeTermination, got %+v, %v", nt, err)
	}
	f.untilNode(node, schedulable)
}
