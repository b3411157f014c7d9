// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// roundTripper answers requests in the API server's place.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func fakeClient(t *testing.T, f roundTripper) corev1client.CoreV1Interface {
	t.Helper()
	client, err := NewClient(&rest.Config{Host: "http://api.invalid"}, &http.Client{Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// answer is an HTTP response with a Status in its body.
func answer(status metav1.Status) *http.Response {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	status.Status = metav1.StatusFailure
	if status.Code < 300 {
		status.Status = metav1.StatusSuccess
	}
	body, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	response := &http.Response{
		StatusCode: int(status.Code),
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(body)),
	}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		response.Header.Set("Retry-After", "10")
	}
	return response
}

// flowControl is what API priority and fairness answers.
func flowControl() *http.Response {
	return &http.Response{
		StatusCode: http.StatusTooManyRequests,
		Header:     http.Header{"Content-Type": {"text/plain"}, "Retry-After": {"1"}},
		Body:       io.NopCloser(strings.NewReader("Too many requests, please try again later.")),
	}
}

func becauseOf(cause metav1.CauseType, message string, retryAfter int32) *metav1.StatusDetails {
	return &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: cause, Message: message}}, RetryAfterSeconds: retryAfter}
}

func TestResponses(t *testing.T) {
	const budget = policyv1.DisruptionBudgetCause
	for name, test := range map[string]struct {
		answer *http.Response
		err    error
		want   response
	}{
		"success": {answer(metav1.Status{Code: 201}), nil, response{outcome: evicted}},
		"blocked": {answer(metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: "Cannot evict pod",
			Details: becauseOf(budget, "The disruption budget web needs 1 healthy pods and has 1 currently", 0)}), nil,
			response{outcome: blocked, reason: "The disruption budget web needs 1 healthy pods and has 1 currently"}},
		"lagging": {answer(metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: "Cannot evict pod",
			Details: becauseOf(budget, "The disruption budget web is still being processed by the server.", 10)}), nil,
			response{outcome: lagging, reason: "The disruption budget web is still being processed by the server.", retryAfter: 10 * time.Second}},
		"priority and fairness": {flowControl(), nil,
			response{outcome: throttled, reason: "the server has received too many requests and has asked us to try again later (post pods web)", retryAfter: time.Second}},
		"a webhook's 429": {answer(metav1.Status{Code: 429, Message: `admission webhook "vm" denied the request: it moves first`}), nil,
			response{outcome: refused, reason: `admission webhook "vm" denied the request: it moves first`}},
		"a webhook's 429 with a time": {answer(metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: `admission webhook "vm" denied the request: it moves first`,
			Details: &metav1.StatusDetails{RetryAfterSeconds: 10}}), nil,
			response{outcome: refused, reason: `admission webhook "vm" denied the request: it moves first`, retryAfter: 10 * time.Second}},
		"a webhook's 429 in the words of a budget": {answer(metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: `admission webhook "vm" denied the request: wait`,
			Details: becauseOf(budget, "needs more", 0)}), nil,
			response{outcome: refused, reason: `admission webhook "vm" denied the request: wait`}},
		"a webhook's 404": {answer(metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Message: `admission webhook "vm" denied the request: no such machine`}), nil,
			response{outcome: refused, reason: `admission webhook "vm" denied the request: no such machine`}},
		"a webhook's 503": {answer(metav1.Status{Code: 503, Message: `admission webhook "vm" denied the request without explanation`}), nil,
			response{outcome: refused, reason: `admission webhook "vm" denied the request without explanation`}},
		"a webhook that is away": {answer(metav1.Status{Code: 500, Reason: metav1.StatusReasonInternalError,
			Message: `Internal error occurred: failed calling webhook "vm": connection refused`}), nil,
			response{outcome: failed, reason: `Internal error occurred: failed calling webhook "vm": connection refused`}},
		"several budgets": {answer(metav1.Status{Code: 500, Message: "This pod has more than one PodDisruptionBudget"}), nil,
			response{outcome: failed, reason: "This pod has more than one PodDisruptionBudget"}},
		"gone": {answer(metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Message: `pods "web" not found`}), nil,
			response{outcome: gone, reason: `pods "web" not found`}},
		"conflict": {answer(metav1.Status{Code: 409, Reason: metav1.StatusReasonConflict, Message: "the UID in the precondition"}), nil,
			response{outcome: conflict, reason: "the UID in the precondition"}},
		"terminating namespace": {answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "is being terminated",
			Details: becauseOf("NamespaceTerminating", "namespace x is being terminated", 0)}), nil,
			response{outcome: namespaceTerminating, reason: "is being terminated"}},
		"no permission": {answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "cannot create resource"}), nil,
			response{outcome: refused, reason: "cannot create resource"}},
		"too many evictions not yet counted": {answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "DisruptedPods map too big",
			Details: &metav1.StatusDetails{Group: "policy", Kind: "poddisruptionbudget", Name: "web"}}), nil,
			response{outcome: blocked, reason: "DisruptedPods map too big"}},
		"server's timeout": {answer(metav1.Status{Code: 504, Reason: metav1.StatusReasonTimeout, Message: "due to conflicts",
			Details: &metav1.StatusDetails{RetryAfterSeconds: 10}}), nil,
			response{outcome: timeout, reason: "due to conflicts", retryAfter: 10 * time.Second}},
		"shutting down": {answer(metav1.Status{Code: 503, Message: "apiserver is shutting down"}), nil,
			response{outcome: unreachable, reason: "apiserver is shutting down"}},
		"no words":    {answer(metav1.Status{Code: 422}), nil, response{outcome: refused, reason: "the API server answered 422"}},
		"our timeout": {nil, context.DeadlineExceeded, response{outcome: timeout, reason: "no answer from the API server in 12s"}},
		"no connection": {nil, errors.New("connection refused"), response{outcome: unreachable,
			reason: `Post "http://api.invalid/api/v1/namespaces/default/pods/web/eviction": connection refused`}},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			client := fakeClient(t, func(*http.Request) (*http.Response, error) {
				requests++
				return test.answer, test.err
			})
			err := sendAction(t.Context(), client.RESTClient(), &Action{Pod: newPod("web"), Method: Evict}, start)
			got := newResponse(Evict, err)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(response{})); diff != "" {
				t.Errorf("(-want +got):\n%s\nfrom %v", diff, err)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

func TestBlockerFitsAStatus(t *testing.T) {
	long := newBlocker(BlockedByServer, strings.Repeat("ä", 400))
	if n := len(long.Reason); n > maxReason || n < maxReason-4 || !strings.HasSuffix(long.Reason, "ä…") {
		t.Errorf("%d bytes: %s", n, long.Reason)
	}
}
