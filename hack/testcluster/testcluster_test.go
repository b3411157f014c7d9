package testcluster_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/hack/testcluster"
)

var cluster testcluster.Shared

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

const timeout = time.Minute

// The disruption controller, the deployment controller and the scheduler are real, and so is what an
// eviction answers.
func TestEvictionBlockedByPDB(t *testing.T) {
	c := cluster.Get(t).Client()
	cluster.Get(t).CreateNodes(t, 2)
	namespace := cluster.Get(t).CreateNamespace(t)
	labels := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/web"}}},
			},
		},
	}
	pdb := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(2)),
			Selector:     &metav1.LabelSelector{MatchLabels: labels},
		},
	}
	for _, obj := range []client.Object{deployment, pdb} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	testcluster.Eventually(t, timeout, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
			return err
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(pdb), pdb); err != nil {
			return err
		}
		if deployment.Status.ReadyReplicas != 2 || pdb.Status.CurrentHealthy != 2 {
			return fmt.Errorf("deployment %+v, PDB %+v", deployment.Status, pdb.Status)
		}
		return nil
	})

	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	err := c.SubResource("eviction").Create(t.Context(), &pods.Items[0], &policyv1.Eviction{})
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("evicting a pod that the PDB needs: got %v, want 429 with cause DisruptionBudget", err)
	}
}

func TestTerminatesAfter(t *testing.T) {
	tests := []struct {
		name     string
		after    string
		grace    int64
		min, max time.Duration // max allows for a busy machine
	}{
		{name: "its own time", after: "2s", grace: 30, min: 2 * time.Second, max: 10 * time.Second},
		{name: "two units", after: "1s500ms", grace: 30, min: 1500 * time.Millisecond, max: 10 * time.Second},
		{name: "killed when the grace period is over", after: "5m", grace: 1, min: time.Second, max: 10 * time.Second},
		{name: "at once", grace: 30, max: 8 * time.Second},
	}
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	namespace := cluster.Get(t).CreateNamespace(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := cluster.Get(t).CreatePods(t, namespace, node.Name, 1, func(p *corev1.Pod) {
				p.Spec.TerminationGracePeriodSeconds = new(tt.grace)
				if tt.after != "" {
					p.Annotations = map[string]string{testcluster.TerminatesAfter: tt.after}
				}
			})[0]
			start := time.Now()
			if err := cluster.Get(t).Client().Delete(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			waitGone(t, pod)
			if took := time.Since(start); took < tt.min || took > tt.max {
				t.Errorf("gone after %s, want %s to %s", took, tt.min, tt.max)
			}
		})
	}
}

// A second deletion with a shorter grace counts from the first.
func TestTerminatesAfterShorterGrace(t *testing.T) {
	c := cluster.Get(t).Client()
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	pod := cluster.Get(t).CreatePods(t, cluster.Get(t).CreateNamespace(t), node.Name, 1, func(p *corev1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = new(int64(3600))
		p.Annotations = map[string]string{testcluster.TerminatesAfter: "30m"}
	})[0]
	for _, grace := range []client.GracePeriodSeconds{3600, 1} {
		if err := c.Delete(t.Context(), pod, grace); err != nil {
			t.Fatal(err)
		}
	}
	waitGone(t, pod)
}

func waitGone(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	testcluster.Eventually(t, timeout, func() error {
		err := cluster.Get(t).Client().Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("pod %s is still there", pod.Name), err)
	})
}

// Tokens of service accounts that are bound to a pod name its node.
func TestBoundTokenNamesNode(t *testing.T) {
	c := cluster.Get(t).Client()
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	pod := cluster.Get(t).CreatePods(t, cluster.Get(t).CreateNamespace(t), node.Name, 1)[0]
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: pod.Namespace}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if err := c.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}

	parts := strings.Split(token.Status.Token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q is no JWT", token.Status.Token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Kubernetes struct {
			Node struct{ Name string } `json:"node"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if got := claims.Kubernetes.Node.Name; got != node.Name {
		t.Errorf("the token names node %q, want %q", got, node.Name)
	}

	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if got := review.Status.User.Extra["authentication.kubernetes.io/node-name"]; !review.Status.Authenticated || len(got) != 1 || got[0] != node.Name {
		t.Errorf("review of the token: %+v, want node name %q", review.Status, node.Name)
	}
}

func TestAPIServerComesBack(t *testing.T) {
	c := cluster.Get(t).Client()
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	namespace := cluster.Get(t).CreateNamespace(t)
	pod := cluster.Get(t).CreatePods(t, namespace, node.Name, 1)[0]

	cluster.Get(t).StopAPIServer(t)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); err == nil {
		t.Error("the API server answers although it was stopped")
	}
	cluster.Get(t).StartAPIServer(t)

	var after corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), &after); err != nil {
		t.Fatal(err)
	}
	if after.UID != pod.UID {
		t.Errorf("the pod has UID %s, before it was %s", after.UID, pod.UID)
	}
	// What depends on the API server has found it again.
	if err := c.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pod)
}
