// SPDX-License-Identifier: Apache-2.0

package overlays

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/hack/operator"
)

// installed is an overlay in the cluster, until the end of the test.
type installed struct {
	t          *testing.T
	deployment *appsv1.Deployment // of the manager
	manager    *operator.Process
}

// noPods is added to each overlay: the image of the tests, and no pods of the manager, as a process stands for it.
const noPods = `
images:
- {name: node-termination-operator, newName: registry.example.com/node-termination-operator, newTag: v1}
replicas:
- {name: node-termination-manager, count: 0}
`

// install applies an overlay with more in its kustomization.
func install(t *testing.T, overlay, more string) *installed {
	t.Helper()
	cluster.Get(t)
	top := t.TempDir()
	overlay, err := filepath.Abs(overlay)
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(top, overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "kustomization.yaml"), []byte("resources: ["+relative+"]"+noPods+more), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := kubectl(context.Background(), "delete", "--ignore-not-found", "--timeout=60s", "-k", top); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", top},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/nodeterminations.nodetermination.dev", "crd/nodeterminationpolicies.nodetermination.dev"},
	} {
		if _, err := kubectl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	var deployments appsv1.DeploymentList
	if err := admin.List(t.Context(), &deployments); err != nil || len(deployments.Items) != 1 {
		t.Fatalf("%d Deployments were installed: %v", len(deployments.Items), err)
	}
	return &installed{t: t, deployment: &deployments.Items[0]}
}

// container returns the manager's.
func (i *installed) container() *corev1.Container {
	return &i.deployment.Spec.Template.Spec.Containers[0]
}

// start starts the manager in the place of a pod that the Deployment would have.
func (i *installed) start(env []string, args ...string) {
	t := i.t
	t.Helper()
	node := cluster.Get(t).CreateNodes(t, 1)[0]
	pod := cluster.Get(t).CreatePods(t, i.deployment.Namespace, node.Name, 1, func(pod *corev1.Pod) {
		template := i.deployment.Spec.Template.DeepCopy()
		pod.Labels, pod.Annotations = template.Labels, template.Annotations
		pod.Spec = template.Spec
		pod.Spec.NodeName = node.Name
	})[0]
	var err error
	i.manager, err = operator.Start(t.Context(), operator.Options{
		Binary: program("manager"), Kubeconfig: cluster.Get(t).Kubeconfig(), Dir: t.TempDir(), Args: args,
		Deployment: client.ObjectKeyFromObject(i.deployment), Env: slices.Concat(env, []string{"POD_NAME=" + pod.Name}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.manager.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of the manager's log:\n%s", i.manager.LogTail(40))
		}
	})
}

// create creates an object, which is deleted at the end of the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	cluster.Get(t)
	if err := admin.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.Background(), object) })
}

// exists reports whether the cluster has an object of a kind and name.
func exists(t *testing.T, object client.Object, namespace, name string) bool {
	t.Helper()
	err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil
}

// meta returns a name for an object that has no namespace.
func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
