// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

// TestArgoCD does with kubectl what Argo CD does in the life of an application: it installs it wave by wave, finds
// nothing OutOfSync and everything healthy, before drains, in them and after them, and deletes it. No node is left
// cordoned then, but the one that somebody else has cordoned.
func TestArgoCD(t *testing.T) {
	queue, err := aws.CreateQueue("argocd", nil)
	if err != nil {
		t.Fatal(err)
	}
	app, err := generatedApplication(t, map[string]string{"nodeTerminationQueueURL": queue, "nodeTerminationRoleARN": "arn:aws:iam::123456789012:role/argocd"})
	if err != nil {
		t.Fatal(err)
	}
	// Without Argo CD it may have been installed before: its waves and its hook come on top.
	base, samples := kustomize(t, path("config/default")), kustomize(t, path("config/samples"))
	apply(t, base)
	apply(t, samples)
	objects := app.render(t)
	order, preDelete := waves(t, objects)
	if preDelete == nil || len(order) != 4 {
		t.Fatalf("%d waves, and hook %v: want -2, -1, 0, 1, and a hook", len(order), preDelete)
	}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return o == preDelete })
	for _, wave := range order {
		apply(t, wave.objects)
	}
	nodes := newNodes(t)
	t.Run("synced before", func(t *testing.T) { checkSynced(t, slices.Concat(samples, objects)) })
	manager := startManager(t)
	untilHealth(t, policy("workers"), healthy, "up")
	untilHealth(t, policy("metadata"), healthy, "up")
	// There is no such queue.
	untilHealth(t, policy("spot"), degraded, "source queue")

	drain(t, nodes, queue)
	t.Run("synced after", func(t *testing.T) { checkSynced(t, slices.Concat(samples, objects)) })
	if err := runJob(t, preDelete, len(steps(t, preDelete))-1); err == nil {
		t.Error("the last step of the hook should fail while nodes are cordoned")
	}

	// Now the application is deleted.
	if err := runJob(t, preDelete, 0); err != nil {
		t.Fatal(err)
	}
	for _, wave := range slices.Backward(order) {
		deleteWave(t, wave)
		if wave.number == 0 {
			if err := manager.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	checkRestored(t, nodes)
}

// testNodes are those of TestArgoCD. Each is cordoned in another way.
type testNodes struct {
	interrupted, recommended, annotated, byHand *corev1.Node
}

func newNodes(t *testing.T) testNodes {
	t.Helper()
	nodes := cluster.Get(t).CreateNodes(t, 4)
	kubectl(t, "cordon", nodes[3].Name)
	return testNodes{nodes[0], nodes[1], nodes[2], nodes[3]}
}

// startManager starts the manager in the place of the Deployment's pods.
func startManager(t *testing.T) *operator.Process {
	t.Helper()
	manager, err := operator.Start(t.Context(), operator.Options{
		Binary: binary, Kubeconfig: cluster.Get(t).Kubeconfig(), Dir: t.TempDir(), Env: aws.Env(),
		Args: []string{"--watcher-image=registry.example.com/node-termination-operator:v0.1.0"}, // which it has no pod to take from
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		manager.Kill() // if it has not ended yet
		if t.Failed() {
			t.Logf("the end of the manager's log:\n%s", manager.LogTail(40))
		}
	})
	return manager
}

// drain has the nodes drained or cordoned, and looks at the health meanwhile.
func drain(t *testing.T, nodes testNodes, queue string) {
	t.Helper()
	namespace := cluster.Get(t).CreateNamespace(t)
	pod := cluster.Get(t).CreatePods(t, namespace, nodes.interrupted.Name, 1, func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{testcluster.TerminatesAfter: "5s"}
		pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(60))
	})[0]
	for _, notice := range []awssim.Notice{
		{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance(nodes.interrupted)}},
		{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instance(nodes.recommended)}},
		{Kind: awssim.SpotInterruption, InstanceIDs: []string{instance(nodes.byHand)}},
	} {
		if _, err := aws.Send(queue, notice); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "annotate", "node", nodes.annotated.Name, "nodetermination.dev/drain=test")
	untilHealth(t, nt(nodes.interrupted), progressing, "pod")
	untilHealth(t, nt(nodes.interrupted), healthy, "")
	untilState(t, nodes.interrupted, v1alpha1.StateCompleted)
	untilState(t, nodes.recommended, v1alpha1.StateCordoned)
	untilState(t, nodes.annotated, v1alpha1.StateCompleted)
	untilState(t, nodes.byHand, v1alpha1.StateCompleted)
	for _, node := range []*corev1.Node{nodes.interrupted, nodes.recommended, nodes.annotated, nodes.byHand} {
		if got := healthOf(t, get(t, nt(node))); got.Status != healthy {
			t.Errorf("the NodeTermination of %s is %+v, want %s", node.Name, got, healthy)
		}
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the pod is still there (%v)", err)
	}

	if err := aws.DeleteQueue(queue); err != nil {
		t.Fatal(err)
	}
	untilHealth(t, policy("workers"), degraded, "queue")
	kubectl(t, "patch", "ntp", "metadata", "--type=merge", "--patch={\"spec\":{\"suspend\":true}}")
	untilHealth(t, policy("metadata"), suspended, "spec.suspend is true; every source is up")
	kubectl(t, "patch", "nt", instance(nodes.recommended), "--type=merge", "--patch={\"spec\":{\"suspend\":true}}")
	untilHealth(t, nt(nodes.recommended), suspended, "spec.suspend is true")
	kubectl(t, "patch", "nt", instance(nodes.recommended), "--type=merge", "--patch={\"spec\":{\"suspend\":false}}")
	untilHealth(t, nt(nodes.recommended), healthy, "")
	kubectl(t, "patch", "ntp", "metadata", "--type=merge", "--patch={\"spec\":{\"suspend\":null}}")
}

// deleteWave deletes the objects of a wave as Argo CD does, and waits until they are gone.
func deleteWave(t *testing.T, w wave) {
	t.Helper()
	_, err := tryKubectl(t, cluster.Get(t).Kubeconfig(), document(t, w.objects),
		"delete", "--cascade=foreground", "--ignore-not-found", "--timeout=90s", "--filename=-")
	if err != nil {
		t.Fatalf("wave %d: %v", w.number, err)
	}
	eventually(t, func() error {
		if !gone(t, w.objects) {
			return fmt.Errorf("objects of wave %d are still there", w.number)
		}
		return nil
	})
}

// checkRestored checks that only the node is cordoned that somebody else has cordoned.
func checkRestored(t *testing.T, nodes testNodes) {
	t.Helper()
	var list corev1.NodeList
	if err := admin.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, node := range list.Items {
		if want := node.Name == nodes.byHand.Name; node.Spec.Unschedulable != want {
			t.Errorf("node %s: unschedulable is %t, want %t", node.Name, node.Spec.Unschedulable, want)
		}
		for _, key := range []string{v1alpha1.AnnotationApplied, v1alpha1.AnnotationDrain} {
			if value, ok := node.Annotations[key]; ok {
				t.Errorf("node %s is left with the annotation %s: %s", node.Name, key, value)
			}
		}
	}
}

// steps returns the containers of a Job in the order in which they run.
func steps(t *testing.T, object *unstructured.Unstructured) []corev1.Container {
	t.Helper()
	job := &batchv1.Job{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, job); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(job.Spec.Template.Spec.InitContainers, job.Spec.Template.Spec.Containers)
}

// runJob runs the containers of a Job whose image is kubectl's, from one on, with the rights of its service account.
// One that fails is run again, as its kubelet would, but at once.
func runJob(t *testing.T, object *unstructured.Unstructured, from int) error {
	t.Helper()
	account, _, err := unstructured.NestedString(object.Object, "spec", "template", "spec", "serviceAccountName")
	if err != nil {
		t.Fatal(err)
	}
	backoffLimit, _, err := unstructured.NestedInt64(object.Object, "spec", "backoffLimit")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := kubeconfigOf(t, object.GetNamespace(), account)
	for _, container := range steps(t, object)[from:] {
		for failures := int64(0); ; failures++ {
			_, err := tryKubectl(t, kubeconfig, "", container.Args...)
			if err == nil {
				break
			}
			if failures == backoffLimit {
				return errors.Join(fmt.Errorf("container %s", container.Name), err)
			}
		}
	}
	return nil
}

// kubeconfigOf returns the path of a kubeconfig with a token of a service account.
func kubeconfigOf(t *testing.T, namespace, account string) string {
	t.Helper()
	token := kubectl(t, "create", "token", account, "--namespace="+namespace)
	config := cluster.Get(t).Config()
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"c": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "c"}},
		CurrentContext: "c",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func instance(node *corev1.Node) string {
	id, _ := ec2node.InstanceID(node)
	return id
}

// reference returns an object with a kind and a name only.
func reference(kind, name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	object.SetName(name)
	return object
}

func policy(name string) *unstructured.Unstructured { return reference("NodeTerminationPolicy", name) }

func nt(node *corev1.Node) *unstructured.Unstructured {
	return reference("NodeTermination", instance(node))
}

// get returns an object as it is in the API server.
func get(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	return object
}

// untilHealth waits until the health check says so of an object, with a message that contains a part.
func untilHealth(t *testing.T, object *unstructured.Unstructured, status, part string) {
	t.Helper()
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		if got := healthOf(t, object); got.Status != status || got.Message == "" || !strings.Contains(got.Message, part) {
			return fmt.Errorf("%s %s is %+v, want %s with %q", object.GetKind(), object.GetName(), got, status, part)
		}
		return nil
	})
}

func untilState(t *testing.T, node *corev1.Node, state string) {
	t.Helper()
	eventually(t, func() error {
		var termination v1alpha1.NodeTermination
		if err := admin.Get(t.Context(), client.ObjectKey{Name: instance(node)}, &termination); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(termination.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != state {
			return fmt.Errorf("NodeTermination %s is %+v, want %s", termination.Name, ready, state)
		}
		return nil
	})
}
