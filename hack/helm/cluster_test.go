// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/hack/testcluster"
)

var cluster testcluster.Shared

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

var (
	crdKind        = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	namespaceKind  = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	policyKind     = schema.GroupVersionKind{Group: "nodetermination.dev", Version: "v1alpha1", Kind: "NodeTerminationPolicy"}
)

const policyCRDName = "nodeterminationpolicies.nodetermination.dev"

// A life is that of a release, from a cluster without a trace of it to one without a trace again.
type life struct {
	c client.Client
	h helm
	// keeps: Helm leaves the policies that the release had.
	keeps bool
}

func TestLifeOfARelease(t *testing.T) {
	t.Setenv("KUBECACHEDIR", t.TempDir())
	c := cluster.Get(t)
	c.CreateNodes(t, 3)
	t.Run("v3", func(t *testing.T) { (&life{c.Client(), newHelm3(c.Kubeconfig(), namespace, "nto"), false}).live(t) })
	t.Run("v4", func(t *testing.T) { (&life{c.Client(), newHelm4(c.Kubeconfig(), namespace, "nto"), true}).live(t) })
}

// live installs the chart as it was before, upgrades it, rolls it back, uninstalls it and installs it again.
func (l *life) live(t *testing.T) {
	t.Helper()
	// Revision 1. The cluster does not know policies before, and the release has one.
	before := parse(t, `{replicas: 3, policies: {spot: {spec: {priority: 1, sources: [{name: m, imds: {}}]}}}}`)
	notes := do(t)(l.h.install(chartBefore(t), before))
	if !strings.Contains(notes, "kubectl label namespace "+namespace+" pod-security.kubernetes.io/enforce=restricted") {
		t.Errorf("the notes do not say how to restrict the namespace:\n%s", notes)
	}
	if strings.Contains(columns(t, l.c), "Suspend") {
		t.Error("the chart before has the column Suspend")
	}
	if !l.keeps { // "Run the same command once more"
		do(t)(l.h.upgrade(chartBefore(t), before))
	}
	spot := l.policy(t, "spot", "", 1)
	mine := l.createPolicy(t, "mine")

	// The CRDs are upgraded, and the policy is the same, changed.
	do(t)(l.h.upgrade(chart, parse(t, `policies: {spot: {spec: {priority: 2, sources: [{name: m, imds: {}}]}}, other: {spec: {sources: [{name: m, imds: {}}]}}}`)))
	if !strings.Contains(columns(t, l.c), "Suspend") {
		t.Error("the CRD was not upgraded")
	}
	l.policy(t, "spot", spot, 2)
	sameInCluster(t, l.c)
	upgraded := 2
	if !l.keeps {
		upgraded = 3
	}

	// A policy that is no longer among the values.
	notes = do(t)(l.h.upgrade(chart, parse(t, `{replicas: 1, policies: {spot: {spec: {priority: 3, sources: [{name: m, imds: {}}]}}}}`)))
	l.policy(t, "spot", spot, 3)
	if said := strings.Contains(notes, "kubectl delete ntp other"); said != l.keeps {
		t.Errorf("the notes name the policy that is left: %v:\n%s", said, notes)
	}
	if !l.keeps {
		gone(t, l.c, policyKind, "", "other")
	}

	if err := l.h.rollback(upgraded); err != nil {
		t.Fatal(err)
	}
	l.policy(t, "spot", spot, 2)
	l.policy(t, "other", "", 0)
	sameInCluster(t, l.c)
	if err := l.h.rollback(upgraded - 1); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(columns(t, l.c), "Suspend") {
		t.Error("the CRD was not rolled back")
	}
	if l.keeps { // with that revision its policies came after it
		l.policy(t, "spot", spot, 2)
	} else {
		l.policy(t, "spot", spot, 1)
	}

	if err := l.h.uninstall(); err != nil {
		t.Fatal(err)
	}
	gone(t, l.c, deploymentKind, namespace, "node-termination-manager")
	gone(t, l.c, namespaceKind, "", "node-termination-watchers")
	l.policy(t, "mine", mine, 0)
	if !l.keeps {
		gone(t, l.c, policyKind, "", "spot")
		spot = ""
	}

	// Installed again it finds its own, and nothing is kept if that is asked for.
	do(t)(l.h.install(chart, parse(t, `policies: {spot: {spec: {priority: 4, sources: [{name: m, imds: {}}]}}}`)))
	l.policy(t, "spot", spot, 4)
	do(t)(l.h.upgrade(chart, parse(t, `crds: {keep: false}`)))
	if err := l.h.uninstall(); err != nil {
		t.Fatal(err)
	}
	gone(t, l.c, crdKind, "", policyCRDName)
	gone(t, l.c, crdKind, "", "nodeterminations.nodetermination.dev")
	gone(t, l.c, namespaceKind, "", "node-termination-watchers")
}

// policy checks a policy's priority, and its UID unless that is empty, and returns the UID.
func (l *life) policy(t *testing.T, name string, uid types.UID, priority int64) types.UID {
	t.Helper()
	policy := get(t, l.c, policyKind, "", name)
	is, _, err := unstructured.NestedInt64(policy.Object, "spec", "priority")
	if err != nil || is != priority || uid != "" && policy.GetUID() != uid {
		t.Errorf("policy %s has priority %d and UID %s, want %d and %s (%v)", name, is, policy.GetUID(), priority, uid, err)
	}
	return policy.GetUID()
}

// createPolicy creates a policy as users do, without Helm, and returns its UID.
func (l *life) createPolicy(t *testing.T, name string) types.UID {
	t.Helper()
	policy := &unstructured.Unstructured{Object: parse(t, `spec: {sources: [{name: m, imds: {}}]}`)}
	policy.SetGroupVersionKind(policyKind)
	policy.SetName(name)
	if err := l.c.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	return policy.GetUID()
}

// TestOtherNamesInACluster has the API server accept what is called otherwise.
func TestOtherNamesInACluster(t *testing.T) {
	t.Setenv("KUBECACHEDIR", t.TempDir())
	c := cluster.Get(t)
	c.CreateNodes(t, 2)
	h := newHelm4(c.Kubeconfig(), "acme", "acme")
	do(t)(h.install(chart, parse(t, `{namePrefix: acme-, watchers: {namespace: acme-watchers}, crds: {keep: false}}`)))
	get(t, c.Client(), deploymentKind, "acme", "acme-node-termination-manager")
	if err := h.uninstall(); err != nil {
		t.Fatal(err)
	}
	gone(t, c.Client(), crdKind, "", policyCRDName)
}

// chartBefore returns the chart as it could have been one version ago, in a folder of the test.
func chartBefore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(dir, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ file, from, to string }{
		{"Chart.yaml", "version: 0.0.0\n", "version: 0.0.0-before\n"},
		{"templates/crd.yaml", "    - jsonPath: .spec.suspend\n      name: Suspend\n      type: boolean\n", ""},
		{"templates/manager.yaml", "          periodSeconds: 20\n", "          periodSeconds: 30\n"},
	} {
		path := filepath.Join(dir, change.file)
		content := readFile(t, path)
		if strings.Count(content, change.from) != 1 {
			t.Fatalf("%s: no %q to change", change.file, change.from)
		}
		if err := write(path, strings.Replace(content, change.from, change.to, 1)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sameInCluster applies what kustomize builds over what Helm installed, for a try: nothing changes.
func sameInCluster(t *testing.T, c client.Client) {
	t.Helper()
	objects, err := build(root + "/config/default")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.id() == "Namespace/"+namespace {
			continue
		}
		out, err := encodePlain(o)
		if err != nil {
			t.Fatal(err)
		}
		want := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(out), &want.Object); err != nil {
			t.Fatal(err)
		}
		is := get(t, c, want.GroupVersionKind(), want.GetNamespace(), want.GetName())
		would := want.DeepCopy()
		err = c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(would), client.FieldOwner("kustomize"), client.ForceOwnership, client.DryRunAll)
		if err != nil {
			t.Errorf("%s: %v", o.id(), err)
			continue
		}
		for _, field := range [][]string{{"metadata", "managedFields"}, {"metadata", "resourceVersion"}, {"status"}} {
			unstructured.RemoveNestedField(is.Object, field...)
			unstructured.RemoveNestedField(would.Object, field...)
		}
		if diff := cmp.Diff(is.Object, would.Object); diff != "" {
			t.Errorf("%s: Helm's (-), with kustomize's applied over it (+):\n%s", o.id(), diff)
		}
	}
}

// do fails the test if Helm did not do what it was told, and returns the notes else.
func do(t *testing.T) func(notes string, err error) string {
	t.Helper()
	return func(notes string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return notes
	}
}

// get returns an object of the cluster, which has to be there.
func get(t *testing.T, c client.Client, kind schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

// gone waits until an object is not there any more.
func gone(t *testing.T, c client.Client, kind schema.GroupVersionKind, namespace, name string) {
	t.Helper()
	testcluster.Eventually(t, timeout, func() error {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(kind)
		err := c.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, o)
		if err == nil {
			return fmt.Errorf("%s %s is there", kind.Kind, name)
		}
		return client.IgnoreNotFound(err)
	})
}

// columns returns the columns that "kubectl get ntp" prints, as JSON.
func columns(t *testing.T, c client.Client) string {
	t.Helper()
	versions, _, err := unstructured.NestedSlice(get(t, c, crdKind, "", policyCRDName).Object, "spec", "versions")
	if err != nil || len(versions) == 0 {
		t.Fatalf("versions of the CRD: %v %v", versions, err)
	}
	version, _ := versions[0].(map[string]any)
	out, err := json.Marshal(version["additionalPrinterColumns"])
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
