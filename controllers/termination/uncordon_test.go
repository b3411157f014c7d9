// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestRecordoningBacksOff(t *testing.T) {
	var c recordonings
	if due := c.due(); !due.IsZero() {
		t.Errorf("the first time it is due at %v, want at once", due)
	}
	at := t0
	for i, minutes := range []int{1, 2, 4, 8, 16, 30, 30} {
		c = c.add(at)
		if got := c.due().Sub(at); got != time.Duration(minutes)*time.Minute {
			t.Errorf("after %d times it is due %s later, want %d minutes", i+1, got, minutes)
		}
		at = c.due()
	}
	c = c.add(at.Add(recordonReset))
	if got := c.due().Sub(c.last); got != firstRecordon {
		t.Errorf("after an hour it is due %s later, want %s", got, firstRecordon)
	}
}

func TestUncordonedByOthers(t *testing.T) {
	const instance = "i-0123456789abcdef0"
	applied := func(desired ec2node.Desired, unschedulable bool) *corev1.Node {
		node := &corev1.Node{}
		node.Spec.Unschedulable = unschedulable
		ec2node.Apply(node, instance, desired, t0)
		return node
	}
	uncordoned := func(node *corev1.Node) *corev1.Node {
		node.Spec.Unschedulable = false
		return node
	}
	reverted := applied(ec2node.Desired{}, false)
	ec2node.Revert(reverted, instance)
	for name, test := range map[string]struct {
		node     *corev1.Node
		instance string
		want     bool
	}{
		"cordoned":                        {applied(ec2node.Desired{}, false), instance, false},
		"uncordoned by somebody else":     {uncordoned(applied(ec2node.Desired{}, false)), instance, true},
		"by those who had cordoned it":    {uncordoned(applied(ec2node.Desired{}, true)), instance, false},
		"reverted by us":                  {reverted, instance, false},
		"cordoned for another instance":   {uncordoned(applied(ec2node.Desired{}, false)), "i-1", false},
		"nothing was ever done to it":     {&corev1.Node{}, instance, false},
		"it has only an empty annotation": {&corev1.Node{ObjectMeta: reverted.ObjectMeta}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := uncordonedByOthers(test.node, test.instance); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

// What an uncordon cancels stays cancelled until there is a later statement.
func TestUncordonCancelsTheStatementThatStands(t *testing.T) {
	recommended, ignored := rebalance("r", 0), spot("s", 0)
	policy := policyWith(v1alpha1.EventRule{Kind: v1alpha1.SpotInterruption, Action: v1alpha1.ActionIgnore})
	s := &scope{now: t0, policy: policy, nt: &v1alpha1.NodeTermination{}}
	s.nt.Spec.Events = []v1alpha1.Event{recommended, ignored}
	classify(t, s)
	s.decision = decisionFor(s.active(), nil, policy, t0, t0)
	s.cancelCordons()
	if s.decision.action != v1alpha1.ActionIgnore || s.decision.ignores == "" {
		t.Errorf("decision %+v, want that the other event is ignored", s.decision)
	}
	states := classify(t, s)
	if states["r"] != v1alpha1.EventCancelled || states["s"] != v1alpha1.EventActive || !strings.Contains(s.nt.Status.Events[0].Message, "uncordoned") {
		t.Errorf("events %+v, want the recommendation cancelled and why", s.nt.Status.Events)
	}
	s.nt.Spec.Events[0] = rebalance("r", time.Minute)
	if states := classify(t, s); states["r"] != v1alpha1.EventActive || s.nt.Status.Events[0].Message != "" {
		t.Errorf("events %+v, want the later statement active", s.nt.Status.Events)
	}
}

// Where the cordon is refused, the node may be found uncordoned long after that was done.
func TestUncordonCancelsNothingThatCameLater(t *testing.T) {
	before, after := rebalance("before", 0), rebalance("after", time.Hour)
	s := &scope{now: t0.Add(2 * time.Hour), policy: policyWith(), nt: &v1alpha1.NodeTermination{}}
	s.nt.Spec.Events, s.nt.Status.Events = []v1alpha1.Event{before, after}, judged(v1alpha1.EventActive, before, after)
	s.nt.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionCordoned, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCordonRefused, LastTransitionTime: at(time.Minute),
	}}
	s.cancelCordons()
	if got := s.nt.Status.Events; got[0].State != v1alpha1.EventCancelled || got[1].State != v1alpha1.EventActive || s.decision.action != v1alpha1.ActionCordon {
		t.Errorf("events %+v, decision %+v, want the first cancelled and a cordon for the other", got, s.decision)
	}
}

func TestWhatAnUncordonMayCancel(t *testing.T) {
	planned := maintenance("m", 24*time.Hour)
	drains := v1alpha1.EventRule{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordon}
	ignores := v1alpha1.EventRule{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionIgnore}
	for name, test := range map[string]struct {
		events []v1alpha1.Event
		policy *v1alpha1.NodeTerminationPolicy
		want   bool
	}{
		"a recommendation has no deadline":             {[]v1alpha1.Event{rebalance("r", 0)}, policyWith(), false},
		"a maintenance has one that only cordons":      {[]v1alpha1.Event{planned}, policyWith(drains), true},
		"also beside a recommendation":                 {[]v1alpha1.Event{rebalance("r", 0), planned}, policyWith(drains), true},
		"what the policy ignores does not set any":     {[]v1alpha1.Event{rebalance("r", 0), planned}, policyWith(ignores), false},
		"nor does a person who asks for it by a label": {[]v1alpha1.Event{manual("p")}, policyWith(), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{policy: test.policy, nt: &v1alpha1.NodeTermination{}}
			s.nt.Spec.Events, s.nt.Status.Events = test.events, judged(v1alpha1.EventActive, test.events...)
			if got := s.hasDeadline(); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

// uncordon makes the i-th node schedulable as kubectl does.
func (s *setting) uncordon(i int) {
	s.t.Helper()
	node := s.node(i)
	patch := client.MergeFrom(node.DeepCopy())
	node.Spec.Unschedulable = false
	if err := admin(s.t).Patch(s.t.Context(), node, patch); err != nil {
		s.t.Fatal(err)
	}
}

// untilCordonReason waits until the condition Cordoned has a reason.
func (s *setting) untilCordonReason(nt *v1alpha1.NodeTermination, reason string) *v1alpha1.NodeTermination {
	s.t.Helper()
	return s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionCordoned); condition == nil || condition.Reason != reason {
			return fmt.Errorf("cordoned %+v, want reason %s", condition, reason)
		}
		return nil
	})
}

// A node that another tool uncordons a day before its maintenance would fill up again.
func TestNodeStaysCordonedUntilItsMaintenance(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, health(20*time.Hour)), v1alpha1.StateCompleted)
	s.uncordon(0)
	s.untilNode(0, cordoned)
	testcluster.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list); err != nil {
			return err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.Regarding.Name == nt.Name && e.Reason == reasonCordonedAgain && strings.Contains(e.Note, "delete NodeTermination "+nt.Name) {
				return nil
			}
		}
		return errors.New("nobody is told how to cancel")
	})
	s.uncordon(0) // and once more, which is not answered for a minute
	s.untilCordonReason(nt, v1alpha1.ReasonUncordonedByOthers)
	if s.node(0).Spec.Unschedulable {
		t.Error("the second time it is cordoned again at once")
	}
	if nt = s.until(nt, v1alpha1.StateCompleted); nt.Status.Events[0].State != v1alpha1.EventActive {
		t.Errorf("events %+v", nt.Status.Events)
	}
}

func TestUncordonCancelsACordonWithoutADeadline(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	nt := s.until(s.terminate(0, recommendation()), v1alpha1.StateCordoned)
	s.uncordon(0)
	nt = s.until(nt, v1alpha1.StateCancelled)
	s.untilNode(0, untouched)
	if e := nt.Status.Events[0]; e.State != v1alpha1.EventCancelled || !strings.Contains(e.Message, "somebody else uncordoned the node") {
		t.Errorf("event %+v", e)
	}
	s.restate(nt, recommendation())
	s.until(nt, v1alpha1.StateCordoned)
	s.untilNode(0, cordoned)
}
