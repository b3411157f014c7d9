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
	*world
	node   *corev1.Node
	pods   []*corev1.Pod
	budget *policyv1.PodDisruptionBudget
	// beats is how many heartbeats there were when it ended.
	beats int
}

func newWaiting(t *testing.T, change func(*v1alpha1.NodeTerminationPolicySpec)) *waiting {
	t.Helper()
	w := &waiting{world: newWorld(t, beating, change)}
	w.budget = w.budgetForGood()
	w.node = w.nodes(1)[0]
	w.pods = w.world.pods(w.node, 1, stuck)
	w.terminate(w.node, briefly)
	return w
}

// untilHeartbeats waits until the group was told n times to go on waiting, and returns when.
func (w *world) untilHeartbeats(node *corev1.Node, n int) []time.Time {
	w.t.Helper()
	var heartbeats []time.Time
	eventually(w.t, func() error {
		if heartbeats = w.action(instanceOf(node)).Heartbeats; len(heartbeats) < n {
			return fmt.Errorf("%d heartbeats for the instance of node %s, want %d", len(heartbeats), node.Name, n)
		}
		return nil
	})
	return heartbeats
}

// count is how often the group was called about the hook.
func (w *waiting) count(name string) int {
	action := w.action(instanceOf(w.node))
	return len(w.calls(name, &action))
}

// testHeartbeats: the group is told to go on waiting while there is a drain to wait for, and not any
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
			end: func(w *waiting) { w.until(w.node, v1alpha1.StateFailed) },
		},
		{
			name: "called off", change: untouched,
			end: func(w *waiting) {
				w.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(w.node)}})
				w.untilNode(w.node, schedulable)
			},
		},
		{
			name: "without its policy", change: untouched,
			end: func(w *waiting) {
				w.remove(w.policy)
				w.until(w.node, v1alpha1.StatePolicyGone)
			},
		},
		{
			name: "rehearsed from now on", change: untouched,
			end: func(w *waiting) {
				w.patch(w.policy, `{"spec": {"mode": "DryRun"}}`)
				w.until(w.node, v1alpha1.StatePolicyGone)
			},
		},
		{
			name: "completed", change: untouched, completions: 1,
			end: func(w *waiting) {
				w.remove(w.budget)
				w.until(w.node, v1alpha1.StateCompleted)
			},
		},
		{
			name: "suspended", change: givesUpAfterHalfAMinute, goesOn: true,
			end: func(w *waiting) {
				w.patch(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(w.node)}}, `{"spec": {"suspend": true}}`)
				w.until(w.node, v1alpha1.StateSuspended)
			},
		},
	}
	drains := make([]*waiting, len(tests))
	for i := range tests {
		drains[i] = newWaiting(t, tests[i].change)
	}
	blocked := newWaiting(t, untouched)
	blocked.untilHeartbeats(blocked.node, 1)
	for i, w := range slices.Backward(drains) {
		w.untilHeartbeats(w.node, 1)
		tests[i].end(w)
		w.beats = w.count(heartbeat)
	}

	// This one began last, so all the others would have had four by then.
	blocked.untilHeartbeats(blocked.node, 4)
	for i, w := range drains {
		test := &tests[i]
		action := w.action(instanceOf(w.node))
		if n := w.count(heartbeat) - w.beats; (n > 0) != test.goesOn {
			t.Errorf("%s: %d heartbeats after the end, want some: %t", test.name, n, test.goesOn)
		}
		if n := w.count(completion); n != test.completions {
			t.Errorf("%s: %d completions, want %d: %+v", test.name, n, test.completions, action)
		}
		if test.goesOn {
			w.checkNoneAfterDeadline(action.Heartbeats)
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

// checkNoneAfterDeadline checks that nobody asked to go on waiting after the hook's deadline.
func (w *waiting) checkNoneAfterDeadline(heartbeats []time.Time) {
	w.t.Helper()
	nt, err := w.termination(w.node)
	if err != nil || len(nt.Status.LifecycleHooks) != 1 {
		w.t.Fatalf("NodeTermination %s has the hooks %+v, %v", nt.Name, nt.Status.LifecycleHooks, err)
	}
	deadline := nt.Status.LifecycleHooks[0].Deadline
	if last := heartbeats[len(heartbeats)-1]; !last.Before(deadline.Time) {
		w.t.Errorf("a heartbeat at %s, after the deadline %s", last, deadline)
	}
}

// patch changes an object as kubectl patch does.
func (w *world) patch(object client.Object, patch string) {
	w.t.Helper()
	if err := admin(w.t).Patch(w.t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.t.Fatal(err)
	}
}
