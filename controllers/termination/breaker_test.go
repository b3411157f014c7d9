// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

func TestConfirmation(t *testing.T) {
	known := func(reason string, since time.Duration) *metav1.Condition {
		return &metav1.Condition{Status: metav1.ConditionUnknown, Reason: reason, LastTransitionTime: at(since)}
	}
	is := func(state string) *awsapi.Instance { return &awsapi.Instance{Found: true, State: state} }
	for name, test := range map[string]struct {
		known    *metav1.Condition
		instance *awsapi.Instance // nil: no answer
		want     string
	}{
		"asked":                           {want: v1alpha1.ReasonAsking},
		"asked a moment ago":              {known: known(v1alpha1.ReasonAsking, -4*time.Second), want: v1alpha1.ReasonAsking},
		"no answer in time means yes":     {known: known(v1alpha1.ReasonAsking, -5*time.Second), want: v1alpha1.ReasonNotAnswered},
		"it stops":                        {known: known(v1alpha1.ReasonAsking, -time.Second), instance: is("shutting-down"), want: v1alpha1.ReasonConfirmed},
		"it has stopped":                  {instance: is("stopped"), want: v1alpha1.ReasonConfirmed},
		"EC2 does not know it any more":   {instance: &awsapi.Instance{}, want: v1alpha1.ReasonConfirmed},
		"it runs":                         {known: known(v1alpha1.ReasonAsking, -time.Second), instance: is("running"), want: v1alpha1.ReasonInstanceRunning},
		"it runs, as EC2 says in the end": {known: known(v1alpha1.ReasonNotAnswered, -time.Hour), instance: is("running"), want: v1alpha1.ReasonInstanceRunning},
		"it ran, and stops now":           {known: known(v1alpha1.ReasonInstanceRunning, -time.Hour), instance: is("stopping"), want: v1alpha1.ReasonConfirmed},
		"an answer stands until the next": {known: known(v1alpha1.ReasonInstanceRunning, -time.Hour), want: v1alpha1.ReasonInstanceRunning},
	} {
		t.Run(name, func(t *testing.T) {
			got := confirmation(test.known, ptr.Deref(test.instance, awsapi.Instance{}), test.instance != nil, t0)
			if got.Reason != test.want {
				t.Errorf("%+v, want %s", got, test.want)
			}
		})
	}
}

func TestStopsAround(t *testing.T) {
	change := func(state string, offset time.Duration) v1alpha1.Event {
		return v1alpha1.Event{ID: "s", Kind: v1alpha1.InstanceStateChange, Time: at(offset), InstanceAction: state}
	}
	for name, test := range map[string]struct {
		event v1alpha1.Event
		want  bool
	}{
		"at that time":        {change("terminated", 0), true},
		"five minutes before": {change("stopping", -5*time.Minute), true},
		"five minutes later":  {change("stopping", 5*time.Minute), true},
		"longer ago":          {change("stopped", -5*time.Minute-time.Second), false},
		"it runs again":       {change("running", 0), false},
		"another kind":        {spot("a", 0), false},
	} {
		nt := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{Events: []v1alpha1.Event{test.event}}}
		if got := stopsAround(nt, t0); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// stopped is a message that the instance terminates.
func stopped() v1alpha1.Event {
	return v1alpha1.Event{
		ID: "s", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(2 * time.Minute)), InstanceAction: "shutting-down",
	}
}

// Messages that most of a policy's nodes terminate, which is true of one only.
func TestBurstOfStateChangesIsCheckedWithEC2(t *testing.T) {
	t.Parallel()
	const nodes = 3
	s := newSetting(t, nodes, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.MaxTerminating = ptr.To(intstr.FromInt32(2)) })
	s.budget()
	terminations := make([]*v1alpha1.NodeTermination, nodes)
	for i := range terminations {
		cluster.Get(t).CreatePods(t, s.ns, s.nodes[i].Name, 1, app("web"))
		id, _ := ec2node.InstanceID(s.nodes[i])
		instance := awssim.Instance{ID: id}
		if i == nodes-1 {
			instance.State = "shutting-down"
		}
		if err := sim.PutInstance(instance); err != nil {
			t.Fatal(err)
		}
	}
	// The third is the first that is doubted: whatever EC2 says of the others, budgets may
	// have been passed for them.
	for _, i := range []int{1, 2, 0} {
		terminations[i] = s.terminate(i, stopped())
	}
	s.untilConfirmed(terminations[0], v1alpha1.ReasonInstanceRunning)
	s.untilHolds(terminations[0], func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Blocked) != 1 || nt.Status.Deadline != nil {
			return fmt.Errorf("blocked %+v, deadline %s; want that the budget is respected", nt.Status.Blocked, nt.Status.Deadline)
		}
		return nil
	})
	s.nudge(terminations[nodes-1])
	s.until(terminations[nodes-1], v1alpha1.StateCompleted)
	if left := s.left(0); len(left) != 1 {
		t.Errorf("left on the node that runs: %v", left)
	}
}

// untilConfirmed waits until the condition InstanceStateConfirmed has a reason.
func (s *setting) untilConfirmed(nt *v1alpha1.NodeTermination, reason string) {
	s.t.Helper()
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionInstanceStateConfirmed)
		if condition == nil || condition.Reason != reason {
			return fmt.Errorf("condition %+v, want %s", condition, reason)
		}
		return nil
	})
}
