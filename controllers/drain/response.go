// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outcome is what became of a request. Its value is the metric's label.
type outcome string

const (
	evicted outcome = "evicted"
	deleted outcome = "deleted"
	// gone: the pod is not there, or another one of its name is.
	gone outcome = "gone"
	// absent: nothing was sent, as the pod is not there as far as is known.
	absent outcome = "absent"
	// blocked by one or more budgets.
	blocked outcome = "blocked"
	// lagging: the budget's controller has not seen its latest change yet.
	lagging outcome = "budget_lagging"
	// namespaceTerminating: nothing can be evicted there, only deleted.
	namespaceTerminating outcome = "namespace_terminating"
	// throttled by API priority and fairness.
	throttled outcome = "throttled"
	// unreachable: no answer from the API server.
	unreachable outcome = "unreachable"
	// timeout: no answer came in time, here or inside the server.
	timeout outcome = "timeout"
	// conflict: the pod changed while the server was evicting it, again and again.
	conflict outcome = "conflict"
	// refused for another reason.
	refused outcome = "refused"
	// failed: an internal error of the API server.
	failed outcome = "error"
)

// response is the answer to one request.
type response struct {
	outcome outcome
	// reason is for people; empty where it was successful.
	reason string
	// retryAfter is what the API server asks for when throttled, or a webhook that refuses.
	retryAfter time.Duration
}

// newResponse returns what the API server's answer means. The many meanings of 429:
// a budget blocks (cause DisruptionBudget); the budget's controller is behind
// (the same cause, with a Retry-After); priority and fairness (Retry-After, and
// a body that is no Status); an admission webhook, which may answer with any code
// and details, and is told by the message that the API server gives it.
func newResponse(method Method, err error) response {
	if err == nil {
		if method == Delete {
			return response{outcome: deleted}
		}
		return response{outcome: evicted}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		if errors.Is(err, context.DeadlineExceeded) {
			return response{outcome: timeout, reason: fmt.Sprintf("no answer from the API server in %s", callTimeout)}
		}
		return response{outcome: unreachable, reason: err.Error()}
	}
	answer := response{outcome: refused, reason: message(status.Status())}
	retryAfter, asksToWait := apierrors.SuggestsClientDelay(err)
	answer.retryAfter = time.Duration(retryAfter) * time.Second

	code := int(status.Status().Code)
	switch {
	case deniedByWebhook(status.Status().Message):
		answer.reason = status.Status().Message
	case apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		answer.outcome = blocked
		if retryAfter > 0 {
			answer.outcome = lagging
		}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		answer.outcome = namespaceTerminating
	case code == http.StatusForbidden && isBudget(status.Status().Details):
		answer.outcome = blocked // its status is invalid, or too many evictions were not counted yet
	case code == http.StatusNotFound:
		answer.outcome = gone
	case code == http.StatusConflict:
		answer.outcome = conflict
	case code == http.StatusTooManyRequests && asksToWait:
		answer.outcome = throttled
	case code == http.StatusServiceUnavailable || code == http.StatusBadGateway:
		answer.outcome = unreachable
	case code == http.StatusGatewayTimeout:
		answer.outcome = timeout
	case code == http.StatusInternalServerError:
		answer.outcome = failed
	}
	return answer
}

// deniedByWebhook reports whether an error's message is how the API server introduces the answer
// of an admission webhook that denies a request.
func deniedByWebhook(message string) bool {
	webhook, introduced := strings.CutPrefix(message, `admission webhook "`)
	return introduced && strings.Contains(webhook, `" denied the request`)
}

// isBudget reports whether an error is about a budget rather than about the pod.
func isBudget(details *metav1.StatusDetails) bool {
	return details != nil && details.Group == policyv1.GroupName && strings.HasPrefix(details.Kind, "poddisruptionbudget")
}

// message returns what people should read of an error: the budget's own message where there is one.
func message(status metav1.Status) string {
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			if cause.Type == policyv1.DisruptionBudgetCause && cause.Message != "" {
				return cause.Message
			}
		}
	}
	if status.Message == "" {
		return fmt.Sprintf("the API server answered %d", status.Code)
	}
	return status.Message
}
