// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// fieldTemplate is one that a user of NTH brings along.
const fieldTemplate = `{"text": ":rotating_light: *EC2 Spot instance is about to be interrupted.*\n *_Account:_* ` + "`{{ .AccountId }}`" +
	`\n *_Instance ID:_* ` + "`{{ .InstanceID }}`" + `\n *_Node Name:_* ` + "`{{ .NodeName }}`" + `\n *_Instance Type:_* ` + "`{{ .InstanceType }}`" +
	`\n *_Start Time:_* ` + "`{{ .StartTime }}`" + `\n *_Description:_* {{ .Description }}\n *_Affected Pod(s):_* ` + "`{{ .Pods }}`" + `"}`

// chat is a receiver of webhooks.
type chat struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	keys   []string
}

// newChat starts a receiver. onDelivery is called with each delivery before it is answered.
func newChat(t *testing.T, onDelivery func(r *http.Request)) *chat {
	t.Helper()
	c := &chat{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		c.bodies, c.keys = append(c.bodies, string(body)), append(c.keys, r.Header.Get("X-Key"))
		c.mu.Unlock()
		if onDelivery != nil {
			onDelivery(r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *chat) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.bodies...)
}

// webhook returns a policy's webhook that goes to the chat.
func (c *chat) webhook(name string, steps ...v1alpha1.WebhookStep) v1alpha1.Webhook {
	return v1alpha1.Webhook{Name: name, URL: c.URL, PlainHTTP: v1alpha1.PlainHTTPAllow, Steps: steps}
}

// forWebhooks returns the metadata of a Secret or ConfigMap in the manager's namespace that webhooks may use.
func forWebhooks(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: operator.Namespace, Name: name, Labels: map[string]string{v1alpha1.LabelWebhook: "true"}}
}

func (f *fixture) untilNotified(node *corev1.Node) *v1alpha1.NodeTermination {
	f.t.Helper()
	var nt *v1alpha1.NodeTermination
	eventually(f.t, func() (err error) {
		if nt, err = f.termination(node); err != nil {
			return err
		}
		if nt.Status.CompletionTime == nil || !meta.IsStatusConditionTrue(nt.Status.Conditions, v1alpha1.ConditionNotified) {
			return fmt.Errorf("not delivered yet: %s", describe(nt.Status.Conditions))
		}
		return nil
	})
	return nt
}

func TestWebhooks(t *testing.T) {
	m := startManager(t)
	t.Run("a template of NTH's, an address and a header from secrets", func(t *testing.T) {
		t.Parallel()
		c := newChat(t, nil)
		f := emptyFixture(t, aws)
		name := f.queueName
		f.create(&corev1.Secret{
			ObjectMeta: forWebhooks(name), StringData: map[string]string{"url": c.URL, "X-Key": "first"},
		})
		headers := &corev1.Secret{
			ObjectMeta: forWebhooks(name + "-headers"), StringData: map[string]string{"X-Key": "first"},
		}
		f.create(headers)
		f.create(&corev1.ConfigMap{
			ObjectMeta: forWebhooks(name), Data: map[string]string{"slack": fieldTemplate},
		})
		f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Webhooks = []v1alpha1.Webhook{{
				Name: "slack", PlainHTTP: v1alpha1.PlainHTTPAllow,
				URLFrom:      &v1alpha1.SecretKeySource{SecretKeyRef: v1alpha1.KeyReference{Name: name, Key: "url"}},
				HeadersFrom:  &v1alpha1.SecretSource{SecretRef: v1alpha1.NameReference{Name: name + "-headers"}},
				TemplateFrom: &v1alpha1.ConfigMapKeySource{ConfigMapKeyRef: v1alpha1.KeyReference{Name: name, Key: "slack"}},
			}}
		})
		f.untilReady()
		node := f.nodes(1)[0]
		pod := f.pods(node, 1, stopsIn(20*time.Second))[0]
		f.interrupt(node)
		eventually(t, func() error {
			if len(c.received()) == 0 {
				return errors.New("the beginning was not delivered")
			}
			return nil
		})
		headers.StringData = map[string]string{"X-Key": "second"} // rotated in mid-drain
		if err := admin(t).Update(t.Context(), headers); err != nil {
			t.Fatal(err)
		}
		nt := f.untilNotified(node)
		bodies := c.received()
		if len(bodies) != 2 {
			t.Fatalf("delivered %d times, want the beginning and the end: %v", len(bodies), bodies)
		}
		var message struct{ Text string }
		if err := json.Unmarshal([]byte(bodies[0]), &message); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"`123456789012`", "`" + nt.Name + "`", "`" + node.Name + "`", "`m6i.2xlarge`", "`[" + pod.Name + "]`"} {
			if !strings.Contains(message.Text, part) {
				t.Errorf("%q does not say %s", message.Text, part)
			}
		}
		if c.keys[0] != "first" || c.keys[1] != "second" {
			t.Errorf("delivered with the keys %v", c.keys)
		}
	})
	t.Run("a hundred nodes with three webhooks", func(t *testing.T) {
		t.Parallel()
		const nodes, hooks = 100, 3
		c := newChat(t, nil)
		f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
			for i := range hooks {
				spec.Webhooks = append(spec.Webhooks, c.webhook(fmt.Sprintf("hook-%d", i), v1alpha1.StepCompleted))
			}
		})
		created := f.nodes(nodes)
		for _, node := range created {
			f.interrupt(node)
		}
		for _, node := range created {
			f.untilNotified(node)
		}
		if n := len(c.received()); n != nodes*hooks {
			t.Errorf("%d deliveries, want %d", n, nodes*hooks)
		}
	})
	t.Run("through a proxy, to a receiver whose certificate is given later", testTrustedLater)
	t.Run("secrets are shown to nobody else", func(t *testing.T) { testSecretsStaySecret(t, m) })
	t.Run("events of Kubernetes, one for what happens again and again", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.budgetForGood()
		node := f.nodes(1)[0]
		f.pods(node, 1, stuck)
		f.interrupt(node)
		f.until(node, v1alpha1.StateDraining)
		for range 2 {
			for _, suspend := range []bool{true, false} {
				f.suspend(node, suspend)
			}
		}
		eventually(t, func() error {
			var list eventsv1.EventList
			if err := admin(t).List(t.Context(), &list); err != nil {
				return err
			}
			for i := range list.Items {
				e := &list.Items[i]
				if e.Regarding.Kind == "Node" && e.Regarding.Name == node.Name && e.Reason == v1alpha1.StateSuspended && e.Series != nil {
					return nil
				}
			}
			return fmt.Errorf("no event of node %s names two suspensions", node.Name)
		})
	})
}

// suspend suspends a node's termination, or has it go on.
func (f *fixture) suspend(node *corev1.Node, suspend bool) {
	f.t.Helper()
	nt, err := f.termination(node)
	if err != nil {
		f.t.Fatal(err)
	}
	patch := client.MergeFrom(nt.DeepCopy())
	nt.Spec.Suspend = ptr.To(suspend)
	if err := admin(f.t).Patch(f.t.Context(), nt, patch); err != nil {
		f.t.Fatal(err)
	}
	state := v1alpha1.StateDraining
	if suspend {
		state = v1alpha1.StateSuspended
	}
	f.until(node, state)
}

// TestKilledWhileItDelivers: the manager dies between a delivery and its record in the status. The next
// one delivers again, as nothing may be lost.
func TestKilledWhileItDelivers(t *testing.T) {
	first := startManager(t)
	first.mayEnd = true
	var once sync.Once
	c := newChat(t, func(*http.Request) { once.Do(first.Kill) })
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{c.webhook("chat", v1alpha1.StepCompleted)}
	})
	node := f.nodes(1)[0]
	f.pods(node, 2)
	f.interrupt(node)
	eventually(t, func() error {
		if len(c.received()) == 0 {
			return fmt.Errorf("nothing was delivered")
		}
		return nil
	})
	startManager(t)
	f.untilNotified(node)
	if n := len(c.received()); n != 2 {
		t.Errorf("delivered %d times, want once by each manager", n)
	}
}
