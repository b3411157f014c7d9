// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// briefly is the shortest timeout that Auto Scaling lets a hook have.
const briefly = 30 * time.Second

// beating sends heartbeats as often as can be, and waits for blocked pods as long as can be.
func beating(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{
		Heartbeat:      &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)},
		MaxWaitSeconds: ptr.To[int32](172_800),
	}
	spec.Drain = &v1alpha1.DrainSpec{BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedWait}}
}

// waiting is a drain that is blocked while its group waits.
type waiting struct {
	*fixture
	node   *corev1.Node
	pods   []*corev1.Pod
	budget *policyv1.PodDisruptionBudget
	// beats is how many heartbeats there were when it ended.
	beats int
}

func newWaiting(t *testing.T, change func(*v1alpha1.NodeTerminationPolicySpec)) *waiting {
	t.Helper()
	f := &waiting{fixture: newFixture(t, beating, change)}
	f.budget = f.budgetForGood()
	f.node = f.nodes(1)[0]
	f.pods = f.fixture.pods(f.node, 1, stuck)
	f.terminate(f.node, briefly)
	return f
}

// untilHeartbeats waits until the group received n heartbeats, and returns when.
func (f *fixture) untilHeartbeats(node *corev1.Node, n int) []time.Time {
	f.t.Helper()
	var heartbeats []time.Time
	eventually(f.t, func() error {
		if heartbeats = f.action(instanceOf(node)).Heartbeats; len(heartbeats) < n {
			return fmt.Errorf("%d heartbeats for the instance of node %s, want %d", len(heartbeats), node.Name, n)
		}
		return nil
	})
	return heartbeats
}

// count is how often the group was called about the hook.
func (f *waiting) count(name string) int {
	action := f.action(instanceOf(f.node))
	return len(f.calls(name, &action))
}

// testHeartbeats: the group receives heartbeats while there is a drain to wait for, and not any
// more when that has ended, however it ended. A hook is completed only if the pods are gone.
func testHeartbeats(t *testing.T) {
	untouched := func(*v1alpha1.NodeTerminationPolicySpec) {}
	tests := []struct {
		name   string
		change func(*v1alpha1.NodeTerminationPolicySpec)
		// end ends the drain, and returns when it has ended.
		end func(*waiting)
		// goesOn is whether there are heartbeats yet after it.
		goesOn bool
		// completions of the hook.
		completions int
	}{
		{
			name: "given up", change: givesUpAfterHalfAMinute,
			end: func(f *waiting) { f.until(f.node, v1alpha1.StateFailed) },
		},
		{
			name: "cancelled", change: untouched,
			end: func(f *waiting) {
				f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(f.node)}})
				f.untilNode(f.node, schedulable)
			},
		},
		{
			name: "without its policy", change: untouched,
			end: func(f *waiting) {
				f.remove(f.policy)
				f.until(f.node, v1alpha1.StatePolicyGone)
			},
		},
		{
			name: "rehearsed from now on", change: untouched,
			end: func(f *waiting) {
				f.patch(f.policy, `{"spec": {"mode": "DryRun"}}`)
				f.until(f.node, v1alpha1.StatePolicyGone)
			},
		},
		{
			name: "completed", change: untouched, completions: 1,
			end: func(f *waiting) {
				f.remove(f.budget)
				f.until(f.node, v1alpha1.StateCompleted)
			},
		},
		{
			name: "suspended", change: givesUpAfterHalfAMinute, goesOn: true,
			end: func(f *waiting) {
				f.patch(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(f.node)}}, `{"spec": {"suspend": true}}`)
				f.until(f.node, v1alpha1.StateSuspended)
			},
		},
	}
	drains := make([]*waiting, len(tests))
	for i := range tests {
		drains[i] = newWaiting(t, tests[i].change)
	}
	blocked := newWaiting(t, untouched)
	blocked.untilHeartbeats(blocked.node, 1)
	for i, f := range slices.Backward(drains) {
		f.untilHeartbeats(f.node, 1)
		tests[i].end(f)
		f.beats = f.count(heartbeat)
	}

	// This one began last, so all the others would have had four by then.
	blocked.untilHeartbeats(blocked.node, 4)
	for i, f := range drains {
		test := &tests[i]
		action := f.action(instanceOf(f.node))
		if n := f.count(heartbeat) - f.beats; (n > 0) != test.goesOn {
			t.Errorf("%s: %d heartbeats after the end, want some: %t", test.name, n, test.goesOn)
		}
		if n := f.count(completion); n != test.completions {
			t.Errorf("%s: %d completions, want %d: %+v", test.name, n, test.completions, action)
		}
		if test.goesOn {
			f.checkNoneAfterDeadline(action.Heartbeats)
		}
	}

	// That one has waited longer than the group would have by itself, and ends well all the same.
	blocked.remove(blocked.budget)
	blocked.until(blocked.node, v1alpha1.StateCompleted)
	blocked.checkGone(blocked.pods)
	blocked.checkContinuedOnce(blocked.node)
}

// givesUpAfterHalfAMinute leaves the hook to its own timeout then.
func givesUpAfterHalfAMinute(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.LifecycleHook.MaxWaitSeconds = ptr.To[int32](30)
	spec.LifecycleHook.OnTimeout = v1alpha1.OnTimeoutNone
	spec.Drain.TimeoutSeconds = ptr.To[int32](1)
}

// checkNoneAfterDeadline checks that no heartbeat was sent after the hook's deadline.
func (f *waiting) checkNoneAfterDeadline(heartbeats []time.Time) {
	f.t.Helper()
	nt, err := f.termination(f.node)
	if err != nil || len(nt.Status.LifecycleHooks) != 1 {
		f.t.Fatalf("NodeTermination %s has the hooks %+v, %v", nt.Name, nt.Status.LifecycleHooks, err)
	}
	deadline := nt.Status.LifecycleHooks[0].Deadline
	if last := heartbeats[len(heartbeats)-1]; !last.Before(deadline.Time) {
		f.t.Errorf("a heartbeat at %s, after the deadline %s", last, deadline)
	}
}

// patch changes an object as kubectl patch does.
func (f *fixture) patch(object client.Object, patch string) {
	f.t.Helper()
	if err := admin(f.t).Patch(f.t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		f.t.Fatal(err)
	}
}
