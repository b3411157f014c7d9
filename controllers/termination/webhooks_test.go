// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// inbox is a receiver of webhooks.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []map[string]any
	keys   []string
	// answer is what it answers with; zero is 200.
	answer int
	// retryAfter is the answer's header of that name, where there is one.
	retryAfter string
	// arrived is called with each delivery, before it is answered. Nil: nothing is.
	arrived func(*http.Request)
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if in.arrived != nil {
			in.arrived(r)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.answer != 0 {
			if in.retryAfter != "" {
				w.Header().Set("Retry-After", in.retryAfter)
			}
			w.WriteHeader(in.answer)
			return
		}
		var decoded map[string]any
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Errorf("not JSON: %q", body)
		}
		in.bodies, in.keys = append(in.bodies, decoded), append(in.keys, r.Header.Get("X-Key"))
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) received() []map[string]any {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]map[string]any{}, in.bodies...)
}

func (in *inbox) answers(code int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.answer = code
}

const stepTemplate = `{"step": {{ .Step | toJson }}, "node": {{ .NodeName | toJson }}, "pods": {{ .Pods | len }}, "kind": {{ .Kind | toJson }}, "ip": {{ .LocalIP | toJson }}}`

// hook is a webhook to an inbox.
func (in *inbox) hook(name string, steps ...v1alpha1.WebhookStep) v1alpha1.Webhook {
	return v1alpha1.Webhook{Name: name, URL: in.URL, PlainHTTP: v1alpha1.PlainHTTPAllow, Template: stepTemplate, Steps: steps}
}

func untilNotified(s *setting, nt *v1alpha1.NodeTermination, status metav1.ConditionStatus) *v1alpha1.NodeTermination {
	s.t.Helper()
	return s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		notified := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionNotified)
		if notified == nil || notified.Status != status || nt.Status.CompletionTime == nil {
			return fmt.Errorf("Notified is %+v, want %s at the end", notified, status)
		}
		return nil
	})
}

func TestWebhooksAreNotifiedOfEachStepOnce(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{
			in.hook("all", v1alpha1.StepReceived, v1alpha1.StepDraining, v1alpha1.StepCompleted, v1alpha1.StepFailed),
			in.hook("end", v1alpha1.StepCompleted),
		}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3, terminatesAfter(2*time.Second))
	nt := untilNotified(s, s.terminate(0, notice("a", 2*time.Minute)), metav1.ConditionTrue)
	s.nudge(nt)
	steps := map[string]int{}
	for _, body := range in.received() {
		steps[body["step"].(string)]++
		if body["node"] != s.nodes[0].Name || body["pods"] != float64(3) || body["kind"] != "SPOT_ITN" || body["ip"] == "" {
			t.Errorf("received %v", body)
		}
	}
	if want := map[string]int{"Received": 1, "Draining": 1, "Completed": 2}; fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", steps, want)
	}
	for _, delivery := range nt.Status.Webhooks {
		if delivery.State != v1alpha1.WebhookDelivered || *delivery.Attempts != 1 || delivery.LastError != "" {
			t.Errorf("%+v", delivery)
		}
	}
}

// A receiver that fails does not hold up the drain, and is notified when it is back; a
// secret that is changed meanwhile counts.
func TestWebhookIsTriedAgain(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	in.answers(http.StatusServiceUnavailable)
	name := "headers-" + strings.ToLower(t.Name())
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, Labels: map[string]string{v1alpha1.LabelWebhook: "true"}},
		StringData: map[string]string{"X-Key": "old"},
	}
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		hook := in.hook("fails", v1alpha1.StepCompleted)
		hook.HeadersFrom = &v1alpha1.SecretSource{SecretRef: v1alpha1.NameReference{Name: name}}
		spec.Webhooks = []v1alpha1.Webhook{hook}
	})
	s.create(secret)
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 1)
	nt := untilNotified(s, s.terminate(0, notice("a", 2*time.Minute)), metav1.ConditionFalse)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Webhooks) != 1 || nt.Status.Webhooks[0].RetryTime == nil || !strings.Contains(nt.Status.Webhooks[0].LastError, "503") {
			return fmt.Errorf("want a failed attempt, got %+v", nt.Status.Webhooks)
		}
		return nil
	})
	if stateOfTermination(nt) != v1alpha1.StateCompleted {
		t.Errorf("the drain is %s", stateOfTermination(nt))
	}
	patch := client.MergeFrom(secret.DeepCopy())
	secret.Data = map[string][]byte{"X-Key": []byte("new")}
	if err := admin(t).Patch(t.Context(), secret, patch); err != nil {
		t.Fatal(err)
	}
	in.answers(0)
	nt = untilNotified(s, nt, metav1.ConditionTrue)
	if got := in.keys; len(got) != 1 || got[0] != "new" {
		t.Errorf("received with the keys %v, want the new one once", got)
	}
	if *nt.Status.Webhooks[0].Attempts < 2 {
		t.Errorf("%+v", nt.Status.Webhooks)
	}
}

func TestWebhookThatRefusesIsGivenUp(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	in.answers(http.StatusForbidden)
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{in.hook("no", v1alpha1.StepCompleted)}
	})
	nt := s.terminate(0, notice("a", 2*time.Minute))
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Webhooks) != 1 || nt.Status.Webhooks[0].State != v1alpha1.WebhookGivenUp || !strings.Contains(nt.Status.Webhooks[0].LastError, "403") {
			return fmt.Errorf("webhooks %+v", nt.Status.Webhooks)
		}
		return nil
	})
}

// A receiver that does not answer holds up nothing: the drain is over while it still keeps the
// first delivery waiting.
func TestStallingReceiverDelaysNoDrain(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	release, arrived := make(chan struct{}), make(chan struct{}, 100)
	in.arrived = func(*http.Request) {
		arrived <- struct{}{}
		<-release
	}
	t.Cleanup(func() { close(release) }) // before the server is closed, which waits
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{in.hook("stalls", v1alpha1.StepReceived, v1alpha1.StepDraining, v1alpha1.StepCompleted)}
	})
	cluster.Get(t).CreatePods(t, s.ns, s.nodes[0].Name, 3)
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	<-arrived // it was asked
	if got := in.received(); len(got) != 0 || nt.Status.Pods.Summary != "3/3" {
		t.Errorf("received %v, pods %s", got, nt.Status.Pods.Summary)
	}
	for _, delivery := range nt.Status.Webhooks {
		if delivery.State != v1alpha1.WebhookPending {
			t.Errorf("%+v, want it to be tried again", delivery)
		}
	}
	if notified := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionNotified); notified == nil || notified.Status != metav1.ConditionFalse {
		t.Errorf("Notified is %+v", notified)
	}
}

// untilTried waits until an attempt has failed that was not made before, and returns how it stands.
func (s *setting) untilTried(nt *v1alpha1.NodeTermination, before int32) v1alpha1.WebhookStatus {
	s.t.Helper()
	var delivery v1alpha1.WebhookStatus
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if len(nt.Status.Webhooks) != 1 || ptr.Deref(nt.Status.Webhooks[0].Attempts, 0) <= before || nt.Status.CompletionTime == nil {
			return fmt.Errorf("webhooks %+v, want more than %d attempts", nt.Status.Webhooks, before)
		}
		delivery = nt.Status.Webhooks[0]
		return nil
	})
	return delivery
}

// A receiver that asks for patience gets it; one that then answers slowly, and badly, is asked for an
// hour after the end and not for longer. Moves the clock, and so is on its own.
func TestSlowReceiverIsGivenUpAfterAnHour(t *testing.T) {
	in := newInbox(t)
	in.answer, in.retryAfter = http.StatusTooManyRequests, "600"
	var slowness atomic.Int64
	in.arrived = func(*http.Request) { testClock.by.Add(slowness.Load()) }
	testClock.shift(t, 0) // back again at the end
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = []v1alpha1.Webhook{in.hook("slow", v1alpha1.StepCompleted)}
	})
	nt := s.terminate(0, notice("a", 2*time.Minute))
	delivery := s.untilTried(nt, 0)
	nt = s.until(nt, v1alpha1.StateCompleted)
	end := nt.Status.CompletionTime.Time
	if wait := delivery.RetryTime.Sub(end); wait < 10*time.Minute || wait > 11*time.Minute || !strings.Contains(delivery.LastError, "429") {
		t.Errorf("tried again %s after the end: %+v", wait, delivery)
	}
	testClock.by.Add(int64(9 * time.Minute))
	s.nudge(nt)
	if again := s.untilTried(nt, 0); *again.Attempts != 1 {
		t.Errorf("asked for ten minutes, it was tried again before: %+v", again)
	}
	in.mu.Lock()
	in.answer, in.retryAfter = http.StatusBadGateway, ""
	in.mu.Unlock()
	slowness.Store(int64(9 * time.Second))
	for delivery.State == v1alpha1.WebhookPending {
		testClock.by.Add(int64(max(0, delivery.RetryTime.Sub(testClock.Now()))))
		s.nudge(nt)
		delivery = s.untilTried(nt, *delivery.Attempts)
		if *delivery.Attempts > 40 {
			t.Fatal("it does not end")
		}
	}
	if delivery.State != v1alpha1.WebhookGivenUp || delivery.RetryTime != nil || !strings.Contains(delivery.LastError, "502") {
		t.Errorf("%+v", delivery)
	}
	// The next attempt would have been at most six minutes later.
	if after := testClock.Now().Sub(end); after < time.Hour-6*time.Minute || after > time.Hour+time.Minute {
		t.Errorf("failed for good %s after the end", after)
	}
	untilNotified(s, nt, metav1.ConditionFalse)
}

func TestManyNodesAndWebhooks(t *testing.T) {
	t.Parallel()
	const nodes, hooks = 20, 3
	in := newInbox(t)
	s := newSetting(t, nodes, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		for i := range hooks {
			spec.Webhooks = append(spec.Webhooks, in.hook(fmt.Sprintf("hook-%d", i), v1alpha1.StepCompleted))
		}
	})
	for i := range nodes {
		s.terminate(i, notice("a", 2*time.Minute))
	}
	testcluster.Eventually(t, patience, func() error {
		if got := len(in.received()); got != nodes*hooks {
			return fmt.Errorf("%d deliveries, want %d", got, nodes*hooks)
		}
		return nil
	})
}

func TestNobodyIsNotifiedOfWhatIsLongOver(t *testing.T) {
	hook := &v1alpha1.Webhook{Name: "slack", Steps: []v1alpha1.WebhookStep{v1alpha1.StepReceived}}
	for name, test := range map[string]struct {
		ended time.Duration // ago; zero: not yet
		known bool
		step  v1alpha1.WebhookStep
		want  bool
	}{
		"under way":              {want: true, step: v1alpha1.StepReceived},
		"ended just now":         {ended: time.Minute, want: true, step: v1alpha1.StepReceived},
		"ended long ago":         {ended: 2 * time.Hour, step: v1alpha1.StepReceived},
		"ended long ago, begun":  {ended: 2 * time.Hour, known: true, want: true, step: v1alpha1.StepReceived},
		"a step it does not ask": {step: v1alpha1.StepDraining},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}}
			if test.ended > 0 {
				s.nt.Status.CompletionTime = &metav1.Time{Time: t0.Add(-test.ended)}
			}
			if test.known {
				s.nt.Status.Webhooks = []v1alpha1.WebhookStatus{{Name: hook.Name, Step: test.step}}
			}
			if got := s.subscribes(hook, test.step); got != test.want {
				t.Errorf("notified: %t, want %t", got, test.want)
			}
		})
	}
}

// A termination is kept until everybody was notified of it, but no longer than for an hour.
func TestWhoIsStillToBeNotified(t *testing.T) {
	pending := []v1alpha1.WebhookStatus{{Name: "slack", Step: v1alpha1.StepCompleted, State: v1alpha1.WebhookPending}}
	for name, test := range map[string]struct {
		webhooks []v1alpha1.WebhookStatus
		reason   string // of the condition Notified; empty: there is none
		ended    time.Duration
		want     bool
	}{
		"nobody":          {},
		"one is tried":    {webhooks: pending, reason: v1alpha1.ReasonNotificationFailed, want: true},
		"one was not yet": {reason: v1alpha1.ReasonNotifying, want: true},
		"all were":        {reason: v1alpha1.ReasonNotified},
		"it is too late":  {webhooks: pending, reason: v1alpha1.ReasonNotifying, ended: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{now: t0, nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}}
			s.nt.Status.CompletionTime, s.nt.Status.Webhooks = &metav1.Time{Time: t0.Add(-test.ended)}, test.webhooks
			if test.reason != "" {
				s.condition(v1alpha1.ConditionNotified, false, test.reason, "")
			}
			if got := s.notifying(); got != test.want {
				t.Errorf("to be notified: %t, want %t", got, test.want)
			}
		})
	}
}

// What the policy does not ask for any more makes room, or the status could not be written.
func TestDeliveriesFitTheStatus(t *testing.T) {
	s := &scope{nt: &v1alpha1.NodeTermination{}, policy: &v1alpha1.NodeTerminationPolicy{}}
	s.policy.Spec.Webhooks = []v1alpha1.Webhook{{Name: "new"}}
	for i := range maxWebhooks {
		s.setDelivery(v1alpha1.WebhookStatus{Name: fmt.Sprintf("old-%d", i), Step: v1alpha1.StepReceived, State: v1alpha1.WebhookDelivered})
	}
	s.setDelivery(v1alpha1.WebhookStatus{Name: "new", Step: v1alpha1.StepReceived, State: v1alpha1.WebhookDelivered})
	s.setDelivery(v1alpha1.WebhookStatus{Name: "new", Step: v1alpha1.StepFailed, State: v1alpha1.WebhookPending})
	if n := len(s.nt.Status.Webhooks); n > maxWebhooks || deliveryOf(s.nt.Status.Webhooks, "new", v1alpha1.StepReceived) == nil || deliveryOf(s.nt.Status.Webhooks, "new", v1alpha1.StepFailed) == nil {
		t.Errorf("%d deliveries: %+v", n, s.nt.Status.Webhooks)
	}
}
