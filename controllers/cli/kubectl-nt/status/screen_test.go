// SPDX-License-Identifier: Apache-2.0

package status

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

var now = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

// termination returns one in a state, with its deadline after left; zero is none.
func termination(node, state, message string, left time.Duration) v1alpha1.NodeTermination {
	nt := v1alpha1.NodeTermination{}
	nt.Name, nt.Spec.NodeName, nt.CreationTimestamp = "i-of-"+node, node, metav1.NewTime(now)
	nt.Status.Cause = v1alpha1.SpotInterruption
	nt.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: state, Message: message}}
	if left != 0 {
		nt.Status.Deadline = ptr.To(metav1.NewTime(now.Add(left)))
	}
	return nt
}

func TestScreen(t *testing.T) {
	policy := v1alpha1.NodeTerminationPolicy{}
	policy.Name = "workers"
	policy.Spec.Suspend = ptr.To(true)
	policy.Spec.Sources = []v1alpha1.Source{{Name: "queue"}, {Name: "metadata"}}
	policy.Status.Sources = []v1alpha1.SourceStatus{
		{Name: "queue", Ready: ptr.To(false), Reason: v1alpha1.ReasonAccessDenied, Message: "allow sqs:ReceiveMessage to the manager's role, which " + strings.Repeat("it lacks ", 20)},
		{Name: "metadata", Ready: ptr.To(true), Reason: v1alpha1.ReasonReady, WatchersDesired: ptr.To[int32](5), WatchersReady: ptr.To[int32](4)},
	}
	blocked := termination("blocked", v1alpha1.StateDraining, "", time.Minute)
	blocked.Status.Pods = &v1alpha1.PodCounts{Summary: "3/4", Blocked: ptr.To[int32](1)}
	blocked.Status.Blocked = []v1alpha1.BlockedPod{{Namespace: "shop", Name: "db-0", Reason: "budget shop/db: needs 2 healthy pods and has 2 currently"}}
	lines := screen([]v1alpha1.NodeTerminationPolicy{policy}, []v1alpha1.NodeTermination{
		termination("soft", v1alpha1.StateWaiting, "", 0), termination("done", v1alpha1.StateCompleted, "", time.Second),
		blocked, termination("failed", v1alpha1.StateFailed, "timed out", -time.Minute),
	}, now)
	text := strings.Join(lines, "\n")
	last := 0
	for _, want := range []string{"workers", "AccessDenied", "4/5", "failed", "passed", "blocked", "3/4", "1m0s", "soft", "To do:", "resume --policy workers", "allow sqs:ReceiveMessage", "timed out", "budget shop/db"} {
		at := strings.Index(text[last:], want)
		if at < 0 {
			t.Fatalf("no %q in its place:\n%s", want, text)
		}
		last += at
	}
	if strings.Contains(text, "done") {
		t.Errorf("what is over is shown:\n%s", text)
	}
	for _, line := range lines {
		if len([]rune(line)) > width {
			t.Errorf("wider than %d: %s", width, line)
		}
	}
}

func TestEmptyScreen(t *testing.T) {
	text := strings.Join(screen(nil, nil, now), "\n")
	if !strings.Contains(text, "No policies") || !strings.Contains(text, "No termination is under way") {
		t.Error(text)
	}
}

func TestFrame(t *testing.T) {
	if got, want := frame([]string{"a", "b"}), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
