// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// tunnel is a proxy that lets clients through to one server, whatever host they ask for.
func tunnel(t *testing.T, to string) (proxy *httptest.Server, asked *atomic.Value) {
	t.Helper()
	asked = &atomic.Value{}
	proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host)
		server, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
		_ = client.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy, asked
}

// testTrustedLater: a receiver behind a proxy is not trusted until its certificate is in the config
// map that the webhook names, and receives then what the template is by then. Nothing is restarted.
func testTrustedLater(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 10)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	}))
	t.Cleanup(receiver.Close)
	proxy, asked := tunnel(t, receiver.Listener.Addr().String())
	config := rest.CopyConfig(cluster.Get(t).Config())
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	somebodys := config.CAData // the cluster's: not the receiver's
	f := emptyFixture(t, aws)
	files := &corev1.ConfigMap{
		ObjectMeta: forWebhooks(f.queueName),
		Data:       map[string]string{"template": `{"said": "before"}`, "ca.crt": string(somebodys)},
	}
	f.create(files)
	key := func(name string) *v1alpha1.ConfigMapKeySource {
		return &v1alpha1.ConfigMapKeySource{ConfigMapKeyRef: v1alpha1.KeyReference{Name: files.Name, Key: name}}
	}
	f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{{
			Name: "audit", URL: "https://example.com/hook", ProxyURL: proxy.URL, CAFrom: key("ca.crt"), TemplateFrom: key("template"),
			Steps: []v1alpha1.WebhookStep{v1alpha1.StepCompleted},
		}}
	})
	f.untilReady()
	node := f.nodes(1)[0]
	f.interrupt(node)
	f.untilWebhook(node, func(status *v1alpha1.WebhookStatus) error {
		if status.State != v1alpha1.WebhookPending || !strings.Contains(status.LastError, "caFrom") {
			return fmt.Errorf("want it not to be trusted: %+v", status)
		}
		return nil
	})
	if got := asked.Load(); got != "CONNECT example.com:443" {
		t.Errorf("the proxy was asked to %v", got)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})
	files.Data = map[string]string{"template": `{"said": {{ .Step | toJson }}}`, "ca.crt": string(certificate)}
	if err := admin(t).Update(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	f.untilNotified(node)
	if got := <-bodies; got != `{"said": "Completed"}` || len(bodies) > 0 {
		t.Errorf("delivered %s, and %d more", got, len(bodies))
	}
}

// untilWebhook waits until the only delivery about a node stands as check wants it.
func (f *fixture) untilWebhook(node *corev1.Node, check func(*v1alpha1.WebhookStatus) error) {
	f.t.Helper()
	eventually(f.t, func() error {
		nt, err := f.termination(node)
		if err != nil {
			return err
		}
		if len(nt.Status.Webhooks) != 1 || nt.Status.CompletionTime == nil {
			return fmt.Errorf("webhooks %+v", nt.Status.Webhooks)
		}
		return check(&nt.Status.Webhooks[0])
	})
}

// testSecretsStaySecret: neither an address, nor a header, nor what a receiver answers is in a status,
// an event or the log, however a delivery fails.
func testSecretsStaySecret(t *testing.T, m *manager) {
	t.Parallel()
	const hidden = "hunter2"
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		address string // instead of the receiver's
		wrong   bool   // the policy says so before anything is sent
	}{
		"refuses": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no "+r.Header.Get("X-Key")+" at "+r.URL.String(), http.StatusUnauthorized)
		}},
		"fails": {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hidden, http.StatusInternalServerError) }},
		"redirects": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+hidden+".invalid", http.StatusFound)
		}},
		"cannot be":    {address: "http://" + hidden + ".invalid/" + hidden},
		"is not there": {address: "http://127.0.0.1:1/" + hidden},
		"is no URL":    {address: "://" + hidden, wrong: true},
		"has a user":   {address: "http://user:" + hidden + "@127.0.0.1:1/", wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := emptyFixture(t, aws)
			address := test.address
			if test.answer != nil {
				receiver := httptest.NewServer(test.answer)
				t.Cleanup(receiver.Close)
				address = receiver.URL + "/" + hidden + "?token=" + hidden
			}
			f.create(&corev1.Secret{
				ObjectMeta: forWebhooks(f.queueName), StringData: map[string]string{"url": address},
			})
			f.create(&corev1.Secret{
				ObjectMeta: forWebhooks(f.queueName + "-headers"), StringData: map[string]string{"X-Key": hidden},
			})
			f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
				spec.Webhooks = []v1alpha1.Webhook{{
					Name: "chat", PlainHTTP: v1alpha1.PlainHTTPAllow, Steps: []v1alpha1.WebhookStep{v1alpha1.StepCompleted},
					URLFrom:     &v1alpha1.SecretKeySource{SecretKeyRef: v1alpha1.KeyReference{Name: f.queueName, Key: "url"}},
					HeadersFrom: &v1alpha1.SecretSource{SecretRef: v1alpha1.NameReference{Name: f.queueName + "-headers"}},
				}}
			})
			eventually(t, func() error {
				ready, err := f.policyCondition(v1alpha1.ConditionReady)
				if err == nil && (ready.Reason == v1alpha1.ReasonInvalidWebhook) != test.wrong {
					err = fmt.Errorf("the policy says %+v", ready)
				}
				return err
			})
			node := f.nodes(1)[0]
			f.interrupt(node)
			f.untilWebhook(node, func(status *v1alpha1.WebhookStatus) error {
				if ptr.Deref(status.Attempts, 0) == 0 || status.LastError == "" {
					return fmt.Errorf("it was not tried yet: %+v", status)
				}
				return nil
			})
			f.checkNowhere(node, m, hidden)
		})
	}
}

// checkNowhere checks that a text is in nothing that the operator has said of a node.
func (f *fixture) checkNowhere(node *corev1.Node, m *manager, text string) {
	f.t.Helper()
	nt, err := f.termination(node)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.policyCondition(v1alpha1.ConditionReady); err != nil {
		f.t.Fatal(err)
	}
	var events eventsv1.EventList
	if err := admin(f.t).List(f.t.Context(), &events); err != nil {
		f.t.Fatal(err)
	}
	log, err := os.ReadFile(m.Log())
	if err != nil {
		f.t.Fatal(err)
	}
	for what, said := range map[string]any{"the status": nt, "the policy's status": f.policy.Status, "an event": events.Items, "the log": string(log)} {
		if content, err := json.Marshal(said); err != nil || strings.Contains(string(content), text) {
			f.t.Errorf("%s has %q in it, or cannot be read: %v", what, text, err)
		}
	}
}
