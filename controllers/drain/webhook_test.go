// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/hack/testcluster"
)

// denyEvictions has an admission webhook deny evictions in a namespace, of pods whose names begin with "vm-", with
// an answer that looks like that of API priority and fairness.
func denyEvictions(t *testing.T, namespace string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: !strings.HasPrefix(review.Request.Name, "vm-")}
		if !review.Response.Allowed {
			review.Response.Result = &metav1.Status{Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: "it moves first",
				Details: &metav1.StatusDetails{RetryAfterSeconds: 10}}
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	c := cluster.Get(t).Client()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "vm.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      &server.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/eviction"}},
			}},
			NamespaceSelector:       matching(corev1.LabelMetadataName, namespace),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	if err := c.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(t.Context(), configuration) })
}

// A webhook that denies the eviction of one pod for hours slows down neither the pods of another node, nor others
// under the same budget.
func TestDrainDeniedByAWebhook(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 2)
	namespace := cluster.Get(t).CreateNamespace(t)
	inBudget := func(pod *corev1.Pod) { pod.Labels["app"] = "all" }
	vm := cluster.Get(t).CreatePods(t, namespace, nodes[0].Name, 1, named("vm", inBudget))[0]
	cluster.Get(t).CreatePods(t, namespace, nodes[0].Name, 3, named("web", inBudget))
	cluster.Get(t).CreatePods(t, namespace, nodes[1].Name, 20, named("plain", inBudget))
	untilCounted(t, createBudget(t, namespace, "all", "all", 0), 24)
	denyEvictions(t, namespace)
	r := newFixture(t, cluster.Get(t).Config())
	testcluster.Eventually(t, time.Minute, func() error { // the API server has learned of the webhook
		eviction := policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: vm.Name}, DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}}
		err := r.client.RESTClient().Post().Namespace(namespace).Resource("pods").Name(vm.Name).SubResource("eviction").
			Body(&eviction).MaxRetries(0).Do(t.Context()).Error()
		if answer := newResponse(Evict, err); answer.outcome != refused || answer.retryAfter != 10*time.Second {
			return fmt.Errorf("%+v", answer)
		}
		return nil
	})
	r.drain(nodes[0].Name, Input{Deadline: time.Now().Add(2 * time.Hour)})
	r.untilBlocked(nodes[0].Name, `admission webhook "vm.example.com" denied the request: it moves first`)
	began := time.Now()
	r.drain(nodes[1].Name, soft())
	r.untilDone(nodes[1].Name)
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("the other node took %s", took)
	}
}
