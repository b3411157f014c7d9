// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	root  = "../.."
	chart = root + "/" + chartFolder
	// The names of config, which are those of a release in the namespace of config.
	namespace = "node-termination-system"
	policyAPI = "nodetermination.dev/v1alpha1/NodeTerminationPolicy"
)

// helm is a version of Helm, with a release in a namespace.
type helm interface {
	// template returns what is rendered without a cluster, the notes too. The cluster that is assumed has
	// the APIs given.
	template(chart string, values map[string]any, apis ...string) (manifest, notes string, err error)
	lint(chart string, values map[string]any) error

	// The others are about a cluster.
	install(chart string, values map[string]any) (notes string, err error)
	upgrade(chart string, values map[string]any) (notes string, err error)
	rollback(revision int) error
	uninstall() error
}

// helms are the versions that the chart is tested with, each for a cluster, or without one if
// kubeconfig is empty.
var helms = map[string]func(kubeconfig, namespace, release string) helm{"v3": newHelm3, "v4": newHelm4}

// eachHelm runs a test that needs no cluster with each version.
func eachHelm(t *testing.T, namespace string, test func(t *testing.T, h helm)) {
	t.Helper()
	for version, newHelm := range helms {
		t.Run(version, func(t *testing.T) {
			test(t, newHelm("", namespace, "nto"))
		})
	}
}

// parse returns what a YAML document says, as JSON has it.
func parse(t *testing.T, document string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(document), &out); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	return out
}

// byName returns the objects of a manifest by kind, namespace and name.
func byName(t *testing.T, manifest string) map[string]map[string]any {
	t.Helper()
	objects := map[string]map[string]any{}
	for document := range strings.SplitSeq("\n"+manifest, "\n---") {
		o := parse(t, document)
		if len(o) == 0 {
			continue
		}
		metadata, _ := o["metadata"].(map[string]any)
		if o["kind"] == "FlowSchema" {
			delete(metadata, "namespace") // kustomize takes the kind for a namespaced one; the API server clears it
		}
		key := strings.Join([]string{asString(o["kind"]), asString(metadata["namespace"]), asString(metadata["name"])}, "/")
		if objects[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		objects[key] = o
	}
	return objects
}

// asString returns a value that is a string, or an empty one.
func asString(value any) string {
	s, _ := value.(string)
	return s
}

// rendered returns the objects that Helm renders.
func rendered(t *testing.T, h helm, values string) map[string]map[string]any {
	t.Helper()
	manifest, _, err := h.template(chart, parse(t, values), policyAPI)
	if err != nil {
		t.Fatal(err)
	}
	return byName(t, manifest)
}

// built returns the objects that kustomize builds, without those that the chart has not.
func built(t *testing.T, dirs ...string) map[string]map[string]any {
	t.Helper()
	objects := map[string]map[string]any{}
	for _, dir := range dirs {
		list, err := build(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.kind == "Namespace" && strings.HasSuffix(o.name, "-system") {
				continue // Helm creates the release's
			}
			out, err := encodePlain(o)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(objects, byName(t, out))
		}
	}
	return objects
}

// TestSameAsKustomize compares what Helm renders with what kustomize builds, with the same choices.
func TestSameAsKustomize(t *testing.T) {
	for name, test := range map[string]struct {
		namespace, values string
		overlay           []string
	}{
		"defaults":    {namespace, "", []string{root + "/config/default"}},
		"other names": {"acme-system", "{namePrefix: acme-, watchers: {namespace: acme-watchers}}", []string{root + "/config/overlays/names"}},
		"with monitors": {namespace, `
serviceMonitor: {create: true}
podMonitor: {create: true}
prometheusRule: {create: true}
grafanaDashboard: {create: true}
`, []string{root + "/config/default", root + "/config/prometheus"}},
		"every choice": {namespace, readFile(t, "testdata/choices/values.yaml"), []string{"testdata/choices"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachHelm(t, test.namespace, func(t *testing.T, h helm) {
				want := built(t, test.overlay...)
				for key := range want {
					if strings.HasPrefix(key, "CustomResourceDefinition/") {
						annotate(want[key], "helm.sh/resource-policy", "keep")
					}
				}
				compare(t, want, rendered(t, h, test.values))
			})
		})
	}
}

// compare reports the objects in which kustomize and Helm differ.
func compare(t *testing.T, kustomize, helm map[string]map[string]any) {
	t.Helper()
	for key, want := range kustomize {
		if got := helm[key]; got == nil {
			t.Errorf("Helm renders no %s", key)
		} else if diff := cmp.Diff(any(want), withoutNulls(got)); diff != "" {
			t.Errorf("%s: kustomize (-) and Helm (+) differ:\n%s", key, diff)
		}
	}
	for key := range helm {
		if kustomize[key] == nil {
			t.Errorf("kustomize builds no %s", key)
		}
	}
}

// withoutNulls returns a value without its keys that are null, which to the API server is as good as none.
func withoutNulls(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range value {
			if value != nil {
				out[key] = withoutNulls(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = withoutNulls(value[i])
		}
		return out
	}
	return value
}

// TestGenerated checks that every file is as generated; "make check-generated" does so too, of a copy.
func TestGenerated(t *testing.T) {
	templates, err := renderTemplates(root)
	if err != nil {
		t.Fatal(err)
	}
	for folder, want := range templates {
		got := readFile(t, filepath.Join(chart, "templates", folder+".yaml"))
		if !strings.HasSuffix(got, want) {
			t.Errorf("templates/%s.yaml is not as generated: make helm", folder)
		}
	}
}

// TestNames gives everything another name and finds nothing that refers to the old ones.
func TestNames(t *testing.T) {
	values := `
namePrefix: acme-
watchers: {namespace: acme-watchers}
serviceMonitor: {create: true}
podMonitor: {create: true}
prometheusRule: {create: true}
grafanaDashboard: {create: true}
`
	eachHelm(t, "acme", func(t *testing.T, h helm) {
		objects := rendered(t, h, values)
		for key, o := range objects {
			kind, rest, _ := strings.Cut(key, "/")
			ns, name, _ := strings.Cut(rest, "/")
			if kind == "CustomResourceDefinition" {
				continue
			}
			if !strings.HasPrefix(name, "acme-") {
				t.Errorf("%s has no prefix", key)
			}
			if ns != "" && ns != "acme" && ns != "acme-watchers" {
				t.Errorf("%s is in another namespace", key)
			}
			for _, referred := range references(o) {
				if objects[referred] == nil {
					t.Errorf("%s refers to %s, which is not there", key, referred)
				}
			}
			out, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			for from := range namespaces {
				if kind != "ConfigMap" && strings.Contains(strings.ReplaceAll(string(out), "acme-"+from, ""), from) {
					t.Errorf("%s names the namespace %s:\n%s", key, from, out)
				}
			}
		}
	})
}

// references returns the keys of the objects that one refers to.
func references(o map[string]any) []string {
	metadata, _ := o["metadata"].(map[string]any)
	ns := asString(metadata["namespace"])
	var found []string
	if role, ok := o["roleRef"].(map[string]any); ok {
		kind := asString(role["kind"])
		if kind == "ClusterRole" {
			ns = ""
		}
		found = append(found, kind+"/"+ns+"/"+asString(role["name"]))
	}
	subjects, _ := o["subjects"].([]any)
	for _, subject := range subjects {
		s, _ := subject.(map[string]any)
		found = append(found, asString(s["kind"])+"/"+asString(s["namespace"])+"/"+asString(s["name"]))
	}
	spec, _ := o["spec"].(map[string]any)
	if name := asString(spec["policyName"]); name != "" {
		found = append(found, "ValidatingAdmissionPolicy//"+name)
	}
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	if name := asString(pod["serviceAccountName"]); name != "" {
		found = append(found, "ServiceAccount/"+ns+"/"+name)
	}
	return found
}

// TestPolicies renders policies as the cluster and Helm can take them.
func TestPolicies(t *testing.T) {
	values := parse(t, `policies: {spot: {labels: {team: a}, annotations: {note: b}, spec: {priority: 100, sources: [{name: m, imds: {}}]}}}`)
	kept := map[string]string{"helm.sh/resource-policy": "keep"}
	hook := map[string]string{
		"helm.sh/resource-policy": "keep", "helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "none",
		"meta.helm.sh/release-name": "nto", "meta.helm.sh/release-namespace": namespace,
	}
	const look, again = "kubectl get ntp spot", "once more, as an upgrade"
	for _, test := range []struct {
		name        string
		newHelm     func(kubeconfig, namespace, release string) helm
		apis        []string
		missing     bool
		annotations map[string]string
		notes       string
	}{
		{"v3, the kind is known", newHelm3, []string{policyAPI}, false, nil, look},
		{"v3, the kind is not known", newHelm3, nil, true, nil, again},
		{"v4, the kind is known", newHelm4, []string{policyAPI}, false, kept, look},
		{"v4, the kind is not known", newHelm4, nil, false, hook, look},
	} {
		t.Run(test.name, func(t *testing.T) {
			manifest, notes, err := test.newHelm("", namespace, "nto").template(chart, values, test.apis...)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if !test.missing {
				want = parse(t, `{apiVersion: nodetermination.dev/v1alpha1, kind: NodeTerminationPolicy, metadata: {name: spot,
labels: {app.kubernetes.io/name: node-termination-operator, app.kubernetes.io/managed-by: Helm, team: a},
annotations: {note: b}}, spec: {priority: 100, sources: [{name: m, imds: {}}]}}`)
				for key, value := range test.annotations {
					annotate(want, key, value)
				}
			}
			if diff := cmp.Diff(want, byName(t, manifest)["NodeTerminationPolicy//spot"]); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !strings.Contains(notes, test.notes) {
				t.Errorf("the notes have no %q:\n%s", test.notes, notes)
			}
		})
	}
}

// TestNotes says what to do when there is no policy yet; what the notes say to write is accepted.
func TestNotes(t *testing.T) {
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		_, notes, err := h.template(chart, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, values, found := strings.Cut(notes, "\n  policies:")
		if !found {
			t.Fatalf("the notes name no policy to begin with:\n%s", notes)
		}
		values, _, _ = strings.Cut(values, "\n\n")
		if rendered(t, h, "  policies:"+values)["NodeTerminationPolicy//default"] == nil {
			t.Errorf("the notes' values make no policy: %s", values)
		}
	})
}

// annotate sets an annotation of an object.
func annotate(o map[string]any, key, value string) {
	metadata, _ := o["metadata"].(map[string]any)
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{}
		metadata["annotations"] = annotations
	}
	annotations[key] = value
}
