// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nodetermination/operator/hack/testcluster"
)

// send sends one request and returns the answer.
func send(t *testing.T, client corev1Client, method Method, pod Pod) response {
	t.Helper()
	return newResponse(method, sendAction(context.Background(), client.RESTClient(), &Action{Pod: pod, Method: method}, time.Now()))
}

type corev1Client interface{ RESTClient() rest.Interface }

// What the API server really answers.
func TestAnswersOfTheAPIServer(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	api, err := NewClient(cluster.Get(t).Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	nobody := cluster.Get(t).Config()
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	nobodysAPI, err := NewClient(nobody, nil)
	if err != nil {
		t.Fatal(err)
	}
	web := cluster.Get(t).CreatePods(t, namespace, node, 1, named("web"))[0]
	both := cluster.Get(t).CreatePods(t, namespace, node, 1, named("both"))[0]
	going := cluster.Get(t).CreatePods(t, namespace, node, 1, named("web", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{testcluster.TerminatesAfter: "1m"}
	}))[0]
	untilCounted(t, createBudget(t, namespace, "web", "web", 2), 2)
	createBudget(t, namespace, "both-1", "both", 1)
	createBudget(t, namespace, "both-2", "both", 1)
	pending := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pending", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}},
			NodeSelector: map[string]string{"no": "such-node"}},
	}
	if err := cluster.Get(t).Client().Create(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Get(t).Client().Delete(t.Context(), going); err != nil {
		t.Fatal(err)
	}
	another := func(pod *corev1.Pod) Pod {
		small := NewPod(pod)
		small.UID = types.UID(strings.Replace(string(small.UID), string(small.UID[0]), "f", 1) + "f")
		return small
	}
	for _, test := range []struct {
		name   string
		client corev1Client
		method Method
		pod    Pod
		want   outcome
		reason string
	}{
		{"blocked", api, Evict, NewPod(web), blocked, "needs 2 healthy pods and has "},
		{"two budgets", api, Evict, NewPod(both), failed, "more than one PodDisruptionBudget"},
		{"terminating", api, Evict, NewPod(going), evicted, ""},
		{"pending", api, Evict, NewPod(pending), evicted, ""},
		{"gone", api, Evict, newPod("gone", inNamespace(namespace)), gone, "not found"},
		{"another pod of the name", api, Delete, another(web), conflict, "UID"},
		{"no permission", nobodysAPI, Evict, NewPod(web), refused, "cannot create resource"},
		{"no permission to delete", nobodysAPI, Delete, NewPod(web), refused, "cannot delete resource"},
		{"past the budget", api, Delete, NewPod(web), deleted, ""},
	} {
		answer := send(t, test.client, test.method, test.pod)
		if answer.outcome != test.want || !strings.Contains(answer.reason, test.reason) {
			t.Errorf("%s: %+v", test.name, answer)
		}
	}
}
