// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/webhook"
	"github.com/nodetermination/operator/controllers/webhook/template"
)

// notify has the policy's webhooks notified of the steps that were
// reached, and writes down how that goes. Nothing waits for it.
func (r *Reconciler) notify(_ context.Context, s *scope) {
	// A beginning that is not written yet may become another one, and a drain whose pods are
	// not known yet has nothing to say.
	if s.policy == nil || s.nt.Status.StartTime == nil || !s.nt.Status.StartTime.Equal(s.before.Status.StartTime) ||
		s.state == v1alpha1.StateDraining && !r.podsKnown(s) {
		return
	}
	for i := range s.policy.Spec.Webhooks {
		hook := &s.policy.Spec.Webhooks[i]
		for _, step := range s.reached() {
			if s.subscribes(hook, step) {
				r.notifyStep(s, hook, step)
			}
		}
	}
	if len(s.policy.Spec.Webhooks) == 0 && len(s.nt.Status.Webhooks) == 0 {
		return
	}
	s.abandonWebhooks()
	s.summarizeWebhooks()
	if s.finished() && !meta.IsStatusConditionFalse(s.nt.Status.Conditions, v1alpha1.ConditionNotified) {
		r.Local.update(s.nt.Name, func(known *localRecord) { known.pods, known.podsSince = nil, time.Time{} }) // nobody is left to be notified
	}
	// What is in the API server by now need not be remembered.
	r.Dispatcher.Forget(s.nt.Name, func(a webhook.Attempt) bool {
		written := deliveryOf(s.before.Status.Webhooks, a.Webhook, a.Step)
		return a.Started == s.nt.Status.StartTime.Unix() && (written == nil || ptr.Deref(written.Attempts, 0) < a.Number)
	})
}

// subscribes reports whether a webhook is to be notified of a step that was reached. One
// that the policy has got since is not notified of what is long over.
func (s *scope) subscribes(hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) bool {
	if !slices.Contains(hook.StepList(), step) {
		return false
	}
	return !s.finished() || webhook.InTime(s.now, s.nt.Status.CompletionTime.Time) ||
		deliveryOf(s.nt.Status.Webhooks, hook.Name, step) != nil
}

// notifying reports whether a webhook is still to be notified of a termination that has ended.
func (s *scope) notifying() bool {
	if s.policy == nil || !webhook.InTime(s.now, s.nt.Status.CompletionTime.Time) {
		return false
	}
	notified := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionNotified)
	return notified != nil && notified.Reason == v1alpha1.ReasonNotifying ||
		slices.ContainsFunc(s.nt.Status.Webhooks, func(known v1alpha1.WebhookStatus) bool { return known.State == v1alpha1.WebhookPending })
}

// reached returns the steps that the termination has reached, in order.
func (s *scope) reached() []v1alpha1.WebhookStep {
	steps := []v1alpha1.WebhookStep{v1alpha1.StepReceived}
	if s.nt.Status.DrainStartTime != nil {
		steps = append(steps, v1alpha1.StepDraining)
	}
	if !s.finished() {
		return steps
	}
	for state, step := range endSteps {
		if s.state == state || s.state == "" && s.was(state) {
			steps = append(steps, step)
		}
	}
	return steps
}

// maxWebhooks is how many deliveries a status holds: each of eight webhooks of each step.
const maxWebhooks = 40

// endSteps are the steps that end a termination, by its state.
var endSteps = map[string]v1alpha1.WebhookStep{
	v1alpha1.StateCompleted: v1alpha1.StepCompleted,
	v1alpha1.StateFailed:    v1alpha1.StepFailed,
	v1alpha1.StateCancelled: v1alpha1.StepCancelled,
}

// notifyStep brings the notification of one webhook of one step an attempt further.
func (r *Reconciler) notifyStep(s *scope, hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) {
	status := v1alpha1.WebhookStatus{Name: hook.Name, Step: step, State: v1alpha1.WebhookPending}
	if known := deliveryOf(s.nt.Status.Webhooks, hook.Name, step); known != nil {
		status = *known
	}
	switch {
	case status.State != v1alpha1.WebhookPending:
		return
	case status.RetryTime != nil && s.now.Before(status.RetryTime.Time):
		s.lookAgain(status.RetryTime.Time)
		return
	}
	number := ptr.Deref(status.Attempts, 0) + 1
	outcome, done := r.Dispatcher.Deliver(webhook.Attempt{
		Termination: s.nt.Name, Started: s.nt.Status.StartTime.Unix(),
		Policy: s.policy.UID, Webhook: hook.Name, Step: step, Number: number,
	}, r.deliver(s, hook, step))
	if !done {
		return
	}
	status.Attempts, status.RetryTime, status.LastError = &number, nil, v1alpha1.TruncateMessage(outcome.Reason, maxReason)
	switch outcome.Result {
	case webhook.Delivered:
		status.State = v1alpha1.WebhookDelivered
	case webhook.GivenUp:
		status.State = v1alpha1.WebhookGivenUp
	default:
		end := ptr.Deref(s.nt.Status.CompletionTime, metav1.Time{}).Time
		at, again := webhook.NextAttempt(number, outcome.RetryAfter, s.now, end, rand.Float64())
		if !again {
			status.State = v1alpha1.WebhookGivenUp
			break
		}
		at = at.Truncate(time.Second).Add(time.Second) // the API keeps whole seconds
		status.RetryTime = &metav1.Time{Time: at}
		s.lookAgain(at)
	}
	s.setDelivery(status)
}

// deliver returns what makes one attempt. What is delivered is as it is now; what the
// webhook refers to, as it is when it is sent.
func (r *Reconciler) deliver(s *scope, hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) func(context.Context) webhook.Outcome {
	nt, node, pods := s.nt.DeepCopy(), s.node, r.Local.get(s.nt.Name).pods
	message := s.message
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); s.state == "" && ready != nil {
		message = ready.Message // it is left as it is
	}
	return func(ctx context.Context) webhook.Outcome {
		resolved, err := r.Webhooks.Resolve(ctx, hook)
		if err != nil {
			return webhook.Outcome{Result: webhook.Retry, Reason: err.Error()} // it may be created yet
		}
		sent, err := resolved.Delivery(ctx, template.NewData(step, message, nt, node, pods))
		if err != nil {
			return webhook.Outcome{Result: webhook.GivenUp, Reason: err.Error()}
		}
		return r.Sender.Send(ctx, sent)
	}
}

// deliveryOf returns how it stands with the delivery of a step to a webhook; nil if it was
// not tried.
func deliveryOf(webhooks []v1alpha1.WebhookStatus, name string, step v1alpha1.WebhookStep) *v1alpha1.WebhookStatus {
	for i := range webhooks {
		if known := &webhooks[i]; known.Name == name && known.Step == step {
			return known
		}
	}
	return nil
}

// setDelivery writes down how a delivery stands. Where the list is full, what the policy
// does not ask for any more makes room.
func (s *scope) setDelivery(status v1alpha1.WebhookStatus) {
	if known := deliveryOf(s.nt.Status.Webhooks, status.Name, status.Step); known != nil {
		*known = status
		return
	}
	if len(s.nt.Status.Webhooks) >= maxWebhooks {
		s.nt.Status.Webhooks = slices.DeleteFunc(s.nt.Status.Webhooks, func(known v1alpha1.WebhookStatus) bool { return !s.asks(&known) })
	}
	s.nt.Status.Webhooks = append(s.nt.Status.Webhooks, status)
}

// asks reports whether the policy still asks for a delivery.
func (s *scope) asks(known *v1alpha1.WebhookStatus) bool {
	return slices.ContainsFunc(s.policy.Spec.Webhooks, func(hook v1alpha1.Webhook) bool {
		return hook.Name == known.Name && slices.Contains(hook.StepList(), known.Step)
	})
}

// abandonWebhooks gives up what the policy does not ask for any more.
func (s *scope) abandonWebhooks() {
	for i := range s.nt.Status.Webhooks {
		known := &s.nt.Status.Webhooks[i]
		if known.State == v1alpha1.WebhookPending && !s.asks(known) {
			known.State, known.RetryTime = v1alpha1.WebhookGivenUp, nil
			known.LastError = v1alpha1.TruncateMessage("policy "+s.policy.Name+" does not ask for it any more: "+known.LastError, maxReason)
		}
	}
}

// summarizeWebhooks says in a condition whether everybody was notified.
func (s *scope) summarizeWebhooks() {
	var pending, delivered int
	var failed *v1alpha1.WebhookStatus
	for i := range s.policy.Spec.Webhooks {
		hook := &s.policy.Spec.Webhooks[i]
		for _, step := range s.reached() {
			if !s.subscribes(hook, step) {
				continue
			}
			switch known := deliveryOf(s.nt.Status.Webhooks, hook.Name, step); {
			case known == nil:
				pending++
			case known.State == v1alpha1.WebhookDelivered:
				delivered++
			default:
				failed = known
			}
		}
	}
	switch {
	case failed != nil:
		s.condition(v1alpha1.ConditionNotified, false, v1alpha1.ReasonNotificationFailed,
			fmt.Sprintf("webhook %s was not notified of %s: %s", failed.Name, failed.Step, failed.LastError))
	case pending > 0:
		s.condition(v1alpha1.ConditionNotified, false, v1alpha1.ReasonNotifying, fmt.Sprintf("%d deliveries are under way", pending))
	case delivered > 0:
		s.condition(v1alpha1.ConditionNotified, true, v1alpha1.ReasonNotified, fmt.Sprintf("%d deliveries", delivered))
	}
}
