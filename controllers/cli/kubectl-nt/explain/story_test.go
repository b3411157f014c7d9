// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// at returns a time some seconds after the notice.
func at(seconds int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second))
}

func interrupted() *v1alpha1.NodeTermination {
	nt := &v1alpha1.NodeTermination{}
	nt.Name, nt.Spec.NodeName = "i-0abc1234def567890", "ip-10-0-3-7.ec2.internal"
	nt.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: v1alpha1.EventFieldManager("spot"), Time: ptr.To(at(2))}}
	nt.Spec.Events = []v1alpha1.Event{{ID: "spot", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: at(0), Deadline: ptr.To(at(120)), InstanceAction: "terminate"}}
	nt.Status = v1alpha1.NodeTerminationStatus{
		PolicyRef: &v1alpha1.PolicyReference{Name: "workers"}, StartTime: ptr.To(at(3)), DrainStartTime: ptr.To(at(4)), CompletionTime: ptr.To(at(100)), Deadline: ptr.To(at(120)),
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Reason: v1alpha1.StateCompleted, Message: "14 pods gone"},
			{Type: v1alpha1.ConditionCordoned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCordoned, Message: "cordoned", LastTransitionTime: at(3)},
		},
		PodOutcomes:    []v1alpha1.PodOutcome{{Namespace: "shop", Name: "db-0", Outcome: v1alpha1.PodCutShort, Message: "deleted", Time: at(90)}},
		LifecycleHooks: []v1alpha1.HookStatus{{AutoScalingGroupName: "spot", Name: "drain", State: v1alpha1.HookContinued, StartTime: at(5), Deadline: at(600)}},
		Webhooks:       []v1alpha1.WebhookStatus{{Name: "slack", Step: "Completed", State: v1alpha1.WebhookGivenUp, LastError: "404"}},
	}
	return nt
}

func TestStory(t *testing.T) {
	events := []eventsv1.Event{{Reason: "CordonedAgain", Note: "somebody uncordoned it", EventTime: metav1.NewMicroTime(at(50).Time)}}
	var text strings.Builder
	tell(&text, story(interrupted(), events))
	last := 0
	for _, want := range []string{
		"03:12:00Z  AWS, by the queue, said: SpotInterruption, terminate, deadline 2026-11-22 03:14:00Z; received 2s after", "03:12:03Z", "by policy workers", "cordoned",
		"the drain begins", "hook drain of group spot", "CordonedAgain", "03:13:30Z  pod shop/db-0: CutShort: deleted", "Completed: 14 pods gone", "webhook slack", "20s before the deadline",
	} {
		i := strings.Index(text.String()[last:], want)
		if i < 0 {
			t.Fatalf("no %q in its place:\n%s", want, text.String())
		}
		last += i
	}
}

func TestPodMoments(t *testing.T) {
	for name, want := range map[string]int{"": 1, "db-0": 1, "shop/db-0": 1, "other/db-0": 0, "db-1": 0} {
		if got := len(podMoments(interrupted(), name)); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

func TestMargin(t *testing.T) {
	if got := margin(-time.Minute); got != "it ended 1m0s after the deadline" {
		t.Error(got)
	}
}
