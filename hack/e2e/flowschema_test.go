// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// TestEvictionsAreAFlowOfTheirOwn: the API server queues the manager's evictions apart from its other requests, which
// would else wait behind them. It names the FlowSchema in each answer.
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
func TestEvictionsAreAFlowOfTheirOwn(t *testing.T) {
	schema := &flowcontrolv1.FlowSchema{}
	if err := cluster.Get(t).Client().Get(t.Context(), client.ObjectKey{Name: "node-termination-evictions"}, schema); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.ServiceAccount}}
	token := &authenticationv1.TokenRequest{}
	if err := cluster.Get(t).Client().SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(cluster.Get(t).Config())
	config.BearerToken = token.Status.Token
	as, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	const eviction = `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "none"}}`
	for _, test := range []struct {
		method, path, body string
		own                bool
	}{
		{http.MethodPost, "/api/v1/namespaces/default/pods/none/eviction", eviction, true},
		{http.MethodPatch, "/api/v1/nodes/none", `{"spec": {"unschedulable": true}}`, false},
		{http.MethodGet, "/apis/nodetermination.dev/v1alpha1/nodeterminations", "", false},
		{http.MethodGet, "/apis/coordination.k8s.io/v1/namespaces/" + operator.Namespace + "/leases/" + v1alpha1.FieldManager, "", false},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, config.Host+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if test.method == http.MethodPatch {
			request.Header.Set("Content-Type", "application/merge-patch+json")
		}
		response, err := as.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		got := response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)
		if got == "" || (got == string(schema.UID)) != test.own {
			t.Errorf("%s %s is of FlowSchema %q; that of evictions is %s", test.method, test.path, got, schema.UID)
		}
	}
}
