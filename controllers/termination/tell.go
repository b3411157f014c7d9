// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/webhook"
)

// tell has the policy's webhooks told of the steps that were reached, and writes
// down how that goes. Nothing waits for it.
func (r *Reconciler) tell(s *scope, before *v1alpha1.NodeTermination) {
	// A beginning that is not written yet may become another one.
	if s.policy == nil || s.nt.Status.StartTime == nil || !s.nt.Status.StartTime.Equal(before.Status.StartTime) || !r.podsKnown(s) {
		return
	}
	for i := range s.policy.Spec.Webhooks {
		hook := &s.policy.Spec.Webhooks[i]
		for _, step := range s.reached() {
			if s.tells(hook, step) {
				r.tellStep(s, hook, step)
			}
		}
	}
	if len(s.policy.Spec.Webhooks) == 0 && len(s.nt.Status.Webhooks) == 0 {
		return
	}
	s.abandonWebhooks()
	s.sumUpWebhooks()
	if s.finished() && !meta.IsStatusConditionFalse(s.nt.Status.Conditions, v1alpha1.ConditionNotified) {
		r.memory.change(s.nt.Name, func(r *remembered) { r.audience = audience{} }) // nobody is left to be told
	}
	// What is in the API server by now need not be remembered.
	r.Dispatcher.Forget(s.nt.Name, func(a webhook.Attempt) bool {
		written := told(before.Status.Webhooks, a.Webhook, a.Step)
		return a.Started == s.nt.Status.StartTime.Unix() && (written == nil || ptr.Deref(written.Attempts, 0) < a.Number)
	})
}

// podsKnown is whether it is known which pods have to go, if any have to by now.
func (r *Reconciler) podsKnown(s *scope) bool {
	return !s.draining || r.memory.recall(s.nt.Name).audience.since.Equal(s.nt.Status.DrainStartTime.Time)
}

// tells is whether a webhook is to be told of a step that was reached. One that the
// policy has got since is not told of what is long over.
func (s *scope) tells(hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) bool {
	if !slices.Contains(hook.StepList(), step) {
		return false
	}
	return !s.finished() || webhook.InTime(s.now, s.nt.Status.CompletionTime.Time) ||
		told(s.nt.Status.Webhooks, hook.Name, step) != nil
}

// telling is whether a webhook is still to be told of a termination that has ended.
func (s *scope) telling() bool {
	if s.policy == nil || !webhook.InTime(s.now, s.nt.Status.CompletionTime.Time) {
		return false
	}
	notified := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionNotified)
	return notified != nil && notified.Reason == v1alpha1.ReasonNotifying ||
		slices.ContainsFunc(s.nt.Status.Webhooks, func(known v1alpha1.WebhookStatus) bool { return known.State == v1alpha1.WebhookPending })
}

// reached are the steps that the termination has reached, in order.
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

// endSteps are the steps that end a termination, by its state.
var endSteps = map[string]v1alpha1.WebhookStep{
	v1alpha1.StateCompleted: v1alpha1.StepCompleted,
	v1alpha1.StateFailed:    v1alpha1.StepFailed,
	v1alpha1.StateCancelled: v1alpha1.StepCancelled,
}

// tellStep brings what one webhook is told of one step an attempt further.
func (r *Reconciler) tellStep(s *scope, hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) {
	status := v1alpha1.WebhookStatus{Name: hook.Name, Step: step, State: v1alpha1.WebhookPending}
	if known := told(s.nt.Status.Webhooks, hook.Name, step); known != nil {
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
	}, r.sending(s, hook, step))
	if !done {
		return
	}
	status.Attempts, status.RetryTime, status.LastError = &number, nil, truncate(outcome.Reason, maxReason)
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
	s.note(status)
}

// sending makes one attempt. What is told is as it is now; what the webhook refers
// to, as it is when it is sent.
func (r *Reconciler) sending(s *scope, hook *v1alpha1.Webhook, step v1alpha1.WebhookStep) func(context.Context) webhook.Outcome {
	nt, node, pods := s.nt.DeepCopy(), s.node, r.memory.recall(s.nt.Name).audience.pods
	message := s.message
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); s.state == "" && ready != nil {
		message = ready.Message // it is left as it is
	}
	return func(ctx context.Context) webhook.Outcome {
		resolved, err := r.Webhooks.Resolve(ctx, hook)
		if err != nil {
			return webhook.Outcome{Result: webhook.Retry, Reason: err.Error()} // it may be created yet
		}
		sent, err := resolved.Delivery(webhook.NewData(step, message, nt, node, pods))
		if err != nil {
			return webhook.Outcome{Result: webhook.GivenUp, Reason: err.Error()}
		}
		return r.Sender.Send(ctx, sent)
	}
}

// gather notes who is to be told of a drain, when its pods are first known.
func (r *Reconciler) gather(s *scope, pods []drain.Pod) error {
	who := audience{since: s.nt.Status.DrainStartTime.Time, cause: s.decision.cause}
	if r.memory.recall(s.nt.Name).audience.since.Equal(who.since) {
		return nil
	}
	who.annotations, who.emits = s.emits()
	if len(s.policy.Spec.Webhooks) > 0 {
		leaving, err := drain.PodsToEvict(pods, s.policy.Spec.Drain)
		if err != nil {
			return fmt.Errorf("policy %s: %w", s.policy.Name, err)
		}
		for i := range leaving {
			who.pods = append(who.pods, leaving[i].Name)
		}
	}
	r.memory.change(s.nt.Name, func(r *remembered) { r.audience = who })
	return nil
}

// told is how it stands with what a webhook is told of a step; nil if it was not tried.
func told(webhooks []v1alpha1.WebhookStatus, name string, step v1alpha1.WebhookStep) *v1alpha1.WebhookStatus {
	for i := range webhooks {
		if known := &webhooks[i]; known.Name == name && known.Step == step {
			return known
		}
	}
	return nil
}

// note writes down how a delivery stands. Where the list is full, what the policy
// does not ask for any more makes room.
func (s *scope) note(status v1alpha1.WebhookStatus) {
	if known := told(s.nt.Status.Webhooks, status.Name, status.Step); known != nil {
		*known = status
		return
	}
	if len(s.nt.Status.Webhooks) >= maxWebhooks {
		s.nt.Status.Webhooks = slices.DeleteFunc(s.nt.Status.Webhooks, func(known v1alpha1.WebhookStatus) bool { return !s.asks(&known) })
	}
	s.nt.Status.Webhooks = append(s.nt.Status.Webhooks, status)
}

// asks is whether the policy still asks for a delivery.
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
			known.LastError = truncate("policy "+s.policy.Name+" does not ask for it any more: "+known.LastError, maxReason)
		}
	}
}

// sumUpWebhooks says in a condition whether everybody was told.
func (s *scope) sumUpWebhooks() {
	var pending, delivered int
	var failed *v1alpha1.WebhookStatus
	for i := range s.policy.Spec.Webhooks {
		hook := &s.policy.Spec.Webhooks[i]
		for _, step := range s.reached() {
			if !s.tells(hook, step) {
				continue
			}
			switch known := told(s.nt.Status.Webhooks, hook.Name, step); {
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
			fmt.Sprintf("webhook %s was not told of %s: %s", failed.Name, failed.Step, failed.LastError))
	case pending > 0:
		s.condition(v1alpha1.ConditionNotified, false, v1alpha1.ReasonNotifying, fmt.Sprintf("%d deliveries are under way", pending))
	case delivered > 0:
		s.condition(v1alpha1.ConditionNotified, true, v1alpha1.ReasonNotified, fmt.Sprintf("%d deliveries", delivered))
	}
}

const (
	// maxReason is how much of a reason a status holds, in bytes.
	maxReason = 500
	// maxWebhooks is how many deliveries a status holds: each of eight webhooks of each step.
	maxWebhooks = 40
)

// truncate keeps the beginning of a text, most bytes and a sign that there was more.
func truncate(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
