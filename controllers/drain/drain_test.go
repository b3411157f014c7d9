// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// soft is a drain without a deadline that does not time out.
func soft() Input {
	return Input{Drain: &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](3600)}}
}

func TestDrain(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	daemon := createDaemonPod(t, namespace, node)
	agent := cluster.Get(t).CreatePods(t, namespace, node, 1, named("agent"))[0]
	cluster.Get(t).CreatePods(t, namespace, node, 3, named("web"))
	slow := cluster.Get(t).CreatePods(t, namespace, node, 1, named("slow", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{testcluster.TerminatesAfter: "1h"}
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
	}))[0]
	r := newFixture(t, cluster.Get(t).Config())
	in := soft()
	in.Drain.Skip = []v1alpha1.PodRule{{PodSelector: selector("app", "agent")}}
	r.drain(node, in)
	r.until("only one is left", node, func(plan Plan) bool {
		return plan.Counts == Counts{Remaining: 1, Terminating: 1}
	})
	if sent := r.traffic.sent(); sent != 4 {
		t.Errorf("%d requests for 4 pods", sent)
	}

	// A deadline: the hour that it was given is cut short.
	in.Deadline = time.Now().Add(8 * time.Second)
	r.drain(node, in)
	testcluster.Eventually(t, time.Minute, func() error {
		var pod corev1.Pod
		err := cluster.Get(t).Client().Get(t.Context(), client.ObjectKeyFromObject(slow), &pod)
		if err == nil && pod.DeletionTimestamp.After(in.Deadline) {
			return fmt.Errorf("ends at %s, after %s", pod.DeletionTimestamp, in.Deadline)
		}
		return client.IgnoreNotFound(err)
	})
	if sent := r.traffic.sent(); sent != 5 {
		t.Errorf("%d requests, want one more", sent)
	}
	r.untilDone(node)
	for _, pod := range []*corev1.Pod{daemon, agent} {
		if err := cluster.Get(t).Client().Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || pod.DeletionTimestamp != nil {
			t.Errorf("%s did not stay: %v", pod.Name, err)
		}
	}
}

// A pod is kept as long as its annotation says so, and not a moment longer.
func TestDrainKeptByAnnotation(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	kept := cluster.Get(t).CreatePods(t, namespace, node, 1, named("kept", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"karpenter.sh/do-not-disrupt": "true"}
	}))[0]
	r := newFixture(t, cluster.Get(t).Config())
	r.drain(node, soft())
	r.untilBlocked(node, `kept by its annotation karpenter.sh/do-not-disrupt: "true"`)
	if sent := r.traffic.sent(); sent != 0 {
		t.Errorf("%d requests", sent)
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":null}}`))
	if err := cluster.Get(t).Client().Patch(t.Context(), kept, patch); err != nil {
		t.Fatal(err)
	}
	r.untilDone(node)
}

// createDaemonPod creates a DaemonSet for one node, and returns its pod.
func createDaemonPod(t *testing.T, namespace, node string) *corev1.Pod {
	t.Helper()
	c := cluster.Get(t).Client()
	err := c.Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "daemon"},
		Spec: appsv1.DaemonSetSpec{
			Selector: matching("app", "daemon"),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "daemon"}},
				Spec: corev1.PodSpec{
					Containers:   []corev1.Container{{Name: "main", Image: "example.com/daemon"}},
					NodeSelector: map[string]string{corev1.LabelHostname: node},
				},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var pods corev1.PodList
	testcluster.Eventually(t, time.Minute, func() error {
		err := c.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{"app": "daemon"})
		if err == nil && len(pods.Items) == 0 {
			err = fmt.Errorf("no pod of the DaemonSet")
		}
		return err
	})
	return &pods.Items[0]
}

func TestDrainBlockedAndFreed(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 2)
	namespace := cluster.Get(t).CreateNamespace(t)
	cluster.Get(t).CreatePods(t, namespace, nodes[0].Name, 6, named("web"))
	budget := createBudget(t, namespace, "web", "web", 6)
	untilCounted(t, budget, 6)
	cluster.Get(t).CreatePods(t, namespace, nodes[1].Name, 3, named("free"))
	r := newFixture(t, cluster.Get(t).Config())
	r.drain(nodes[0].Name, soft())
	r.untilBlocked(nodes[0].Name, "budget "+namespace+"/web: needs 6 healthy pods and has 6 currently")
	if sent := r.traffic.sent(); sent != 0 {
		t.Errorf("%d requests although the budget blocks", sent)
	}
	r.drain(nodes[1].Name, soft())
	r.untilDone(nodes[1].Name)

	budget.Spec.MinAvailable.IntVal = 0
	if err := cluster.Get(t).Client().Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	r.untilDone(nodes[0].Name)
	if sent := r.traffic.sent(); sent > 12 {
		t.Errorf("%d requests for 9 pods", sent)
	}
}

func TestDrainDeletesBlockedBeforeTheDeadline(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	cluster.Get(t).CreatePods(t, namespace, node, 2, named("web"))
	untilCounted(t, createBudget(t, namespace, "web", "web", 2), 2)
	cluster.Get(t).CreatePods(t, namespace, node, 2, named("both"))
	createBudget(t, namespace, "both-1", "both", 0)
	createBudget(t, namespace, "both-2", "both", 0)
	r := newFixture(t, cluster.Get(t).Config())
	in := Input{Earliest: time.Now(), Deadline: time.Now().Add(time.Hour)}
	r.drain(node, in)
	r.untilBlocked(node, "budgets "+namespace+"/both-1, "+namespace+"/both-2: ")

	in.Earliest, in.Deadline = time.Now().Add(-time.Minute), time.Now().Add(33*time.Second) // three seconds before they are deleted
	r.drain(node, in)
	r.untilDone(node)
	if left := time.Until(in.Deadline); left > 31*time.Second || left < 0 {
		t.Errorf("deleted %s before the deadline", left)
	}
	for pod, n := range r.traffic.requests {
		if pod != "other" && n != 2 {
			t.Errorf("%d requests for pod %s, want its condition and its deletion", n, pod)
		}
	}
}

// The budget's controller is away, and so is that of namespaces.
func TestDrainWithoutControllers(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 2)
	namespace, ending := cluster.Get(t).CreateNamespace(t), cluster.Get(t).CreateNamespace(t)
	web := cluster.Get(t).CreatePods(t, namespace, nodes[0].Name, 2, named("web"))
	budget := createBudget(t, namespace, "web", "web", 0)
	untilCounted(t, budget, 2)
	ended := cluster.Get(t).CreatePods(t, ending, nodes[1].Name, 2, named("ended"))
	r := newFixture(t, cluster.Get(t).Config())

	cluster.Get(t).StopComponent(t, testcluster.ControllerManager)
	budget.Spec.Selector.MatchLabels["app"] = "web"
	budget.Spec.MinAvailable.IntVal = 1
	c := cluster.Get(t).Client()
	if err := c.Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ending}}); err != nil {
		t.Fatal(err)
	}
	if answer := send(t, r.client, Evict, NewPod(ended[0])); answer.outcome != namespaceTerminating {
		t.Errorf("evicting in a terminating namespace: %+v", answer)
	}
	if answer := send(t, r.client, Evict, NewPod(web[0])); answer.outcome != lagging || answer.retryAfter != 10*time.Second {
		t.Errorf("evicting under a budget that was not processed: %+v", answer)
	}
	r.drain(nodes[1].Name, soft())
	r.untilDone(nodes[1].Name)
	r.drain(nodes[0].Name, soft())
	r.untilBlocked(nodes[0].Name, "is still being processed")
	cluster.Get(t).StartComponent(t, testcluster.ControllerManager)
	r.until("one is gone", nodes[0].Name, func(plan Plan) bool { return plan.Counts.Remaining == 1 })
	r.untilBlocked(nodes[0].Name, "needs 1 healthy pods and has 1 currently")
}

func TestDrainWithoutPermission(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	cluster.Get(t).CreatePods(t, namespace, node, 2, named("web"))
	r := newFixture(t, cluster.Get(t).Config())
	nobody := cluster.Get(t).Config()
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	var err error
	if r.executor.client, err = NewClient(nobody, nil); err != nil {
		t.Fatal(err)
	}
	r.drain(node, soft())
	r.untilBlocked(node, `User "nobody" cannot create resource "pods/eviction"`)
}

// A Deployment under a strict budget: pods go one by one, each as soon as the
// one before has been replaced, with hardly a request that is refused.
func TestDrainDeployment(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 2)
	namespace := cluster.Get(t).CreateNamespace(t)
	c := cluster.Get(t).Client()
	const replicas = 12
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](replicas),
			Selector: matching("app", "web"),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec: corev1.PodSpec{
					Containers:   []corev1.Container{{Name: "main", Image: "example.com/web"}},
					NodeSelector: map[string]string{"drain-test": namespace},
				},
			},
		},
	}
	// Both nodes take them; then the first is cordoned.
	first, second := nodes[0], nodes[1]
	label := func(node *corev1.Node, unschedulable bool) {
		t.Helper()
		patch := fmt.Sprintf(`{"metadata":{"labels":{"drain-test":%q}},"spec":{"unschedulable":%t}}`, namespace, unschedulable)
		if err := c.Patch(t.Context(), node, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	label(first, false)
	if err := c.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	budget := createBudget(t, namespace, "web", "web", replicas-2)
	untilCounted(t, budget, replicas)
	label(first, true)
	label(second, false)

	r := newFixture(t, cluster.Get(t).Config())
	r.drain(first.Name, soft())
	r.untilDone(first.Name)
	if sent := r.traffic.sent(); sent > replicas*12/10+1 {
		t.Errorf("%d requests for %d pods: %v", sent, replicas, r.traffic.results)
	}
}

// Pods that are blocked for good, on twenty nodes, do not hold up another node.
func TestDrainNotHeldUp(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 6)
	namespace := cluster.Get(t).CreateNamespace(t)
	const each = 5
	for _, node := range nodes[:5] {
		cluster.Get(t).CreatePods(t, namespace, node.Name, each, named("web"))
	}
	untilCounted(t, createBudget(t, namespace, "web", "web", 5*each), 5*each)
	cluster.Get(t).CreatePods(t, namespace, nodes[5].Name, each, named("free"))
	r := newFixture(t, cluster.Get(t).Config())
	for _, node := range nodes[:5] {
		r.drain(node.Name, Input{Deadline: time.Now().Add(10 * time.Minute)})
	}
	for _, node := range nodes[:5] {
		r.untilBlocked(node.Name, "needs 25 healthy pods")
	}
	before := r.traffic.sent()
	began := time.Now()
	r.drain(nodes[5].Name, Input{Deadline: time.Now().Add(20 * time.Minute)})
	r.until("evicted", nodes[5].Name, func(plan Plan) bool {
		return plan.Done || plan.Counts.Terminating == plan.Counts.Remaining && plan.Counts.Remaining > 0
	})
	t.Logf("evicted after %s", time.Since(began))
	if sent := r.traffic.sent() - before; sent > each+1 {
		t.Errorf("%d requests for %d pods", sent, each)
	}
}

// Many nodes at once under all sorts of budgets: every pod is evicted once, a few
// at a time under a budget and not too many in all.
func TestDrainManyNodes(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 8)
	namespace := cluster.Get(t).CreateNamespace(t)
	apps := []string{"one", "two", "three", "free"}
	pods := 0
	for _, node := range nodes {
		for _, app := range apps {
			cluster.Get(t).CreatePods(t, namespace, node.Name, 2, named(app))
			pods += 2
		}
	}
	for _, app := range apps[:3] {
		untilCounted(t, createBudget(t, namespace, app, app, 0), 2*len(nodes))
	}
	r := newFixture(t, cluster.Get(t).Config())
	for _, node := range nodes {
		r.drain(node.Name, Input{Deadline: time.Now().Add(10 * time.Minute)})
	}
	for _, node := range nodes {
		r.untilDone(node.Name)
	}
	r.traffic.mu.Lock()
	defer r.traffic.mu.Unlock()
	t.Logf("results %v, most in flight %v", r.traffic.results, r.traffic.most)
	for _, app := range apps[:3] {
		if r.traffic.most[app] > perBudget {
			t.Errorf("%d in flight under one budget", r.traffic.most[app])
		}
	}
	if r.traffic.most["all"] > DefaultMaxInFlight {
		t.Errorf("%d in flight", r.traffic.most["all"])
	}
	sent := 0
	for _, n := range r.traffic.results {
		sent += n
	}
	if sent > pods*12/10 {
		t.Errorf("%d requests for %d pods: %v", sent, pods, r.traffic.results)
	}
}
