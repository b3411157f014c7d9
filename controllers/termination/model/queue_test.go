// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
)

// message is one in the queue.
type message struct {
	body, about string
	sent        time.Time
	receives    int
}

// send puts a message into the queue, which is received after a delay.
func (w *world) send(body, about string, delay time.Duration) {
	m := &message{body: body, about: about, sent: w.now}
	w.logf("AWS sends %s, received in %s", about, delay)
	w.after(delay, "receive "+about, func() { w.receive(m) })
}

// receive handles a message as the queue's consumer does, which is restated here.
func (w *world) receive(m *message) {
	if w.down() {
		w.at(w.downUntil.Add(time.Second), "receive "+m.about, func() { w.receive(m) })
		return
	}
	m.receives++
	document, err := event.Parse([]byte(m.body), m.sent)
	if err != nil {
		w.t.Fatalf("%s: %v", m.body, err)
	}
	again := time.Duration(0)
	for _, fact := range document.Facts {
		fact.Event.Source = v1alpha1.SourceSQS
		outcome, err := w.consume(fact, m)
		w.logf("receive %s about %s: %s", m.about, fact.InstanceID, outcome)
		switch {
		case err != nil:
			w.logf("error: %v", err)
			again = 2 * time.Second
		case outcome == "retained" && again == 0:
			again = min(30*time.Second<<(m.receives-1), 15*time.Minute)
		}
	}
	if again > 0 {
		w.after(again, "receive "+m.about+" again", func() { w.receive(m) })
	}
}

// consume stores one fact, unless there is a reason not to.
func (w *world) consume(fact event.Fact, m *message) (outcome string, err error) {
	ctx := context.Background()
	node, err := ec2node.ByInstance(ctx, w.api, fact.InstanceID)
	if err != nil {
		return "failed", err
	}
	age := w.now.Sub(m.sent)
	switch {
	case node == nil && age < 15*time.Minute:
		return "retained", nil
	case node == nil:
		return "discarded", nil
	}
	policy := ec2node.Governing(w.api.policies, node)
	switch {
	case policy == nil && w.now.Sub(node.CreationTimestamp.Time) < 5*time.Minute:
		return "retained", nil
	case policy == nil:
		return "not governed", nil
	}
	w.deliveredFact(fact.Event, fact.InstanceID)
	fact.Event.PolicyName = policy.Name
	if _, ready := ec2node.ReadySince(node); ready {
		fact.Event.BootID = node.Status.NodeInfo.BootID
	}
	put := w.store.Put
	if w.isStale(fact.Event, node, policy) {
		put = w.store.Revise
	}
	result, err := put(ctx, fact, node.Name)
	return []string{"stored", "known", "nothing to end"}[result], err
}

// isStale reports whether an event is over that is received only now.
func (w *world) isStale(e v1alpha1.Event, node *corev1.Node, policy *v1alpha1.NodeTerminationPolicy) bool {
	if event.EndsOthers(e) || e.Kind == v1alpha1.AutoScalingTermination {
		return false
	}
	return event.Over(e, event.NodeOf(node), policy.Spec.UncordonAfter, w.now)
}
