// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

const (
	deleted = -1         // the message is gone
	left    = visibility // it comes back when the time of the receive is over
)

// Which message is kept, given back or deleted, and what is stored: the design's list.
func TestWhichMessage(t *testing.T) {
	both := []string{instance, stranger}
	before := epoch.Add(-10 * time.Minute)
	exists := func(f *fixture) { // a NodeTermination with one event
		f.spot(instance)
		f.run()
		f.handled(1)
	}
	for _, test := range []struct {
		name    string
		prepare func(*fixture) // default: a policy that selects everything
		send    awssim.Notice
		body    string        // instead of send
		age     time.Duration // of the message when it is read
		want    time.Duration // for how long it is hidden
		outcome outcome
		stored  []string // instances with a NodeTermination in the end
		events  int      // of the first of them, default 1
	}{
		{
			name: "governed", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "governed, through SNS", send: awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instance}, SNS: true},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name:    "governed by another policy of the queue",
			prepare: func(f *fixture) { f.policy("b", selecting("b")); f.policy("a", selecting("a")) },
			send:    awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want:    deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "several instances", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{instance, instance2}},
			want: deleted, outcome: stored, stored: []string{instance, instance2},
		},
		{
			name: "test notification", send: awssim.Notice{Kind: awssim.TestNotification},
			want: deleted, outcome: skipped,
		},
		{
			name: "another service", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{instance}, Service: "RDS"},
			want: deleted, outcome: skipped,
		},
		{
			name: "selected by no policy", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: notGoverned,
		},
		{
			name: "selected by a policy with another queue only",
			prepare: func(f *fixture) {
				f.policy("b", selecting("b"))
				f.policy("a", func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Sources[0].SQS.QueueURL += "-other" })
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: notGoverned,
		},
		{
			name: "unknown instance", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "unknown instance, 15 min old", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			age: 15 * time.Minute, want: deleted, outcome: discarded,
		},
		{
			name: "unknown instance, not to be retained", prepare: func(f *fixture) { f.policy("all", discarding) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: deleted, outcome: discarded,
		},
		{
			name: "unknown instance, policies differ", prepare: func(f *fixture) { f.policy("all", discarding); f.policy("other") },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "a node of Auto Mode", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance3}},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "one instance known, one not", send: awssim.Notice{Kind: awssim.Health, InstanceIDs: both},
			want: 30 * time.Second, outcome: retained, stored: []string{instance},
		},
		{
			name: "one instance not governed, one unknown", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.Health, InstanceIDs: both},
			want: 30 * time.Second, outcome: retained,
		},
		{
			name: "stale", send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}, Time: before},
			want: deleted, outcome: stale,
		},
		{
			name: "as old, but a hook waits", send: awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instance}, Time: before},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "running, nothing to resolve",
			send: awssim.Notice{Kind: awssim.StateChange, State: "running", InstanceIDs: []string{instance}},
			want: deleted, outcome: nothingToEnd,
		},
		{
			name: "running", prepare: func(f *fixture) { f.policy("all"); exists(f) },
			send: awssim.Notice{Kind: awssim.StateChange, State: "running", InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance}, events: 2,
		},
		{
			name: "cancelled, nothing to cancel", // it may come later
			send: awssim.Notice{Kind: awssim.Health, Status: "closed", InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance},
		},
		{
			name: "cancelled, nothing to cancel, and long ago",
			send: awssim.Notice{Kind: awssim.Health, Status: "closed", InstanceIDs: []string{instance}, NotBefore: epoch.Add(-15 * 24 * time.Hour)},
			want: deleted, outcome: nothingToEnd,
		},
		{
			name: "cancelled", prepare: func(f *fixture) { f.policy("all"); exists(f) },
			send: awssim.Notice{Kind: awssim.Health, Status: "closed", InstanceIDs: []string{instance}},
			want: deleted, outcome: stored, stored: []string{instance}, events: 2,
		},
		{
			name: "received before", prepare: func(f *fixture) { f.policy("all"); exists(f) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: deleted, outcome: known, stored: []string{instance},
		},
		{
			name: "selected by no policy, but young", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance4}},
			want: 10 * time.Second, outcome: notGovernedYet,
		},
		{
			name: "one instance unknown, one selected by no policy, but young", prepare: func(f *fixture) { f.policy("b", selecting("b")) },
			send: awssim.Notice{Kind: awssim.Health, InstanceIDs: []string{stranger, instance4}},
			want: 10 * time.Second, outcome: notGovernedYet,
		},
		{name: "not JSON", body: "rubbish", want: left, outcome: unreadable},
		{name: "not of EC2's form", body: `{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning"}`, want: left, outcome: unreadable},
		{
			name: "the policy is on its way out",
			prepare: func(f *fixture) {
				p := f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) { p.Finalizers = []string{"example.com/wait"} })
				if err := f.kube.Delete(f.t.Context(), p); err != nil {
					f.t.Fatal(err)
				}
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: 2 * time.Second, outcome: failed,
		},
		{
			name: "a selector that cannot be used",
			prepare: func(f *fixture) {
				f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) {
					p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: "pool", Operator: "Near"}}}
				})
			},
			send: awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance}},
			want: 2 * time.Second, outcome: failed,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			auto := func(n *corev1.Node) { n.Labels["eks.amazonaws.com/compute-type"] = "auto" }
			young := func(n *corev1.Node) { n.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour)) }
			f := newFixture(t, node("a", instance), node("b", instance2), node("c", instance3, auto), node("d", instance4, young))
			if test.prepare != nil {
				test.prepare(f)
			} else {
				f.policy("all")
			}
			lags, lagged := queueLag(t)
			counted := testutil.ToFloat64(messagesTotal.WithLabelValues(test.outcome.String()))
			if test.body != "" {
				f.sendBody(test.body)
			} else {
				f.send(test.send)
			}
			f.step(test.age)
			if f.Consumers == nil {
				f.run()
			}
			f.handled(1)

			if got := testutil.ToFloat64(messagesTotal.WithLabelValues(test.outcome.String())) - counted; got != 1 {
				t.Errorf("outcome %s was counted %v times", test.outcome, got)
			}
			if n, seconds := queueLag(t); test.outcome == stored && (n != lags+1 || seconds-lagged != test.age.Seconds()) || test.outcome != stored && n != lags {
				t.Errorf("a lag was measured %d times and %v s in all, want %s if it was stored", n-lags, seconds-lagged, test.age)
			}
			if test.want == deleted {
				if messages := f.messages(); len(messages) != 0 {
					t.Errorf("the message is still there: %+v", messages)
				}
			} else if got := f.hiddenFor(); got != test.want {
				t.Errorf("the message is hidden for %s, want %s", got, test.want)
			}
			var list v1alpha1.NodeTerminationList
			if err := f.kube.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, nt := range list.Items {
				found = append(found, nt.Name)
			}
			if fmt.Sprint(found) != fmt.Sprint(test.stored) {
				t.Errorf("NodeTerminations %v, want %v", found, test.stored)
			}
			if len(list.Items) > 0 {
				if got, want := len(list.Items[0].Spec.Events), max(test.events, 1); got != want {
					t.Errorf("%d events, want %d", got, want)
				}
			}
		})
	}
}

// queueLag is how many lags were measured and their sum in seconds.
func queueLag(t *testing.T) (count uint64, sum float64) {
	t.Helper()
	var metric dto.Metric
	if err := lagSeconds.Write(&metric); err != nil {
		t.Fatal(err)
	}
	return metric.GetHistogram().GetSampleCount(), metric.GetHistogram().GetSampleSum()
}
