// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// application is an Application of Argo CD, as far as its samples use it.
type application struct {
	Metadata struct {
		Name       string
		Finalizers []string
	}
	Spec applicationSpec
}

type applicationSpec struct {
	Sources    []source
	SyncPolicy struct{ SyncOptions []string }
}

type source struct {
	Path      string
	Kustomize struct {
		Images  []string
		Patches []any
	}
}

// sampleApplication returns the application of config/argocd/application.yaml.
func sampleApplication(t *testing.T) application {
	t.Helper()
	var app application
	readYAML(t, "config/argocd/application.yaml", &app)
	return app
}

// generatedApplication returns the application that config/argocd/applicationset.yaml makes for a cluster with the
// given annotations on its secret. Argo CD's templates are Go's with more functions, which the sample does not use.
func generatedApplication(t *testing.T, annotations map[string]string) (app application, err error) {
	t.Helper()
	var set struct {
		Spec struct {
			GoTemplate        bool
			GoTemplateOptions []string
			Template          any
		}
	}
	readYAML(t, "config/argocd/applicationset.yaml", &set)
	if !set.Spec.GoTemplate {
		t.Fatal("config/argocd/applicationset.yaml should have goTemplate: true")
	}
	content, err := sigsyaml.Marshal(set.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := template.New("").Option(set.Spec.GoTemplateOptions...).Parse(string(content))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	values := map[string]any{"name": "blue", "nameNormalized": "blue", "metadata": map[string]any{"annotations": annotations}}
	if err := parsed.Execute(&out, values); err != nil {
		return app, err
	}
	err = sigsyaml.Unmarshal(out.Bytes(), &app)
	return app, err
}

// render returns the objects of an application's sources.
func (app *application) render(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, source := range app.Spec.Sources {
		objects = append(objects, source.render(t)...)
	}
	return objects
}

// render returns what kustomize makes of a source in this repository.
func (s *source) render(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	dir, err := os.MkdirTemp(".", "render-") //nolint:usetesting // kustomize takes no absolute paths
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	images := make([]any, 0, len(s.Kustomize.Images))
	for _, image := range s.Kustomize.Images {
		name, to, _ := strings.Cut(image, "=")
		colon := strings.LastIndex(to, ":")
		images = append(images, map[string]any{"name": name, "newName": to[:colon], "newTag": to[colon+1:]})
	}
	kustomization, err := sigsyaml.Marshal(map[string]any{
		"resources": []string{"../" + path(s.Path)}, "images": images, "patches": s.Kustomize.Patches,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), kustomization, 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, dir)
}

// kustomize returns the objects of a kustomization.
func kustomize(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	cluster.Get(t) // kubectlPath is known afterwards
	out, err := exec.CommandContext(t.Context(), kubectlPath, "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("kustomize %s: %v\n%s", dir, err, out)
	}
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); err != nil {
			return objects
		}
		objects = append(objects, object)
	}
}

const (
	waveAnnotation = "argocd.argoproj.io/sync-wave"
	hookAnnotation = "argocd.argoproj.io/hook"
)

// wave is the objects that Argo CD applies, and deletes, together.
type wave struct {
	number  int
	objects []*unstructured.Unstructured
}

// waves returns the objects in the order in which Argo CD applies them, and the hook that runs before it deletes
// them. It deletes the waves in reverse order.
// https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/
func waves(t *testing.T, objects []*unstructured.Unstructured) (waves []wave, preDelete *unstructured.Unstructured) {
	t.Helper()
	byNumber := map[int][]*unstructured.Unstructured{}
	for _, object := range objects {
		annotations := object.GetAnnotations()
		switch hook := annotations[hookAnnotation]; {
		case hook == "PreDelete" && preDelete == nil:
			preDelete = object
			continue
		case hook != "":
			t.Fatalf("%s %s is a %q hook, want one PreDelete hook", object.GetKind(), object.GetName(), hook)
		}
		number := 0
		if text, ok := annotations[waveAnnotation]; ok {
			var err error
			if number, err = strconv.Atoi(text); err != nil {
				t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
		byNumber[number] = append(byNumber[number], object)
	}
	for number, objects := range byNumber {
		waves = append(waves, wave{number, objects})
	}
	slices.SortFunc(waves, func(a, b wave) int { return a.number - b.number })
	return waves, preDelete
}

// document returns objects as kubectl reads them.
func document(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	var out strings.Builder
	for _, object := range objects {
		content, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n" + string(content))
	}
	return out.String()
}

// TestApplicationSet: each cluster gets its values, and one without a value none at all.
func TestApplicationSet(t *testing.T) {
	annotations := map[string]string{
		"nodeTerminationQueueURL": "https://sqs.eu-west-1.amazonaws.com/210987654321/blue",
		"nodeTerminationRoleARN":  "arn:aws:iam::210987654321:role/blue",
	}
	app, err := generatedApplication(t, annotations)
	if err != nil {
		t.Fatal(err)
	}
	if app.Metadata.Name != "node-termination-operator-blue" {
		t.Errorf("the application is called %q", app.Metadata.Name)
	}
	rendered := document(t, slices.DeleteFunc(app.render(t), func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "CustomResourceDefinition" // its descriptions have examples
	}))
	for name, value := range annotations {
		if !strings.Contains(rendered, value) {
			t.Errorf("%s is in no object", name)
		}
		if _, err := generatedApplication(t, map[string]string{name: value}); err == nil {
			t.Errorf("a cluster with %s only gets an application, want an error", name)
		}
	}
	for _, sample := range []string{"arn:aws:iam::123456789012:role/node-termination-operator", "/123456789012/node-termination\""} {
		if strings.Contains(rendered, sample) {
			t.Errorf("the sample's value %s is left in an object", sample)
		}
	}
}

// TestApplication: the samples differ in their values only, and delete what they install.
func TestApplication(t *testing.T) {
	app := sampleApplication(t)
	generated, err := generatedApplication(t, map[string]string{"nodeTerminationQueueURL": "", "nodeTerminationRoleARN": ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range []application{app, generated} {
		if !slices.Equal(app.Metadata.Finalizers, []string{"resources-finalizer.argocd.argoproj.io"}) {
			t.Errorf("%s has the finalizers %q: without Argo CD's nothing is deleted with it", app.Metadata.Name, app.Metadata.Finalizers)
		}
		if !slices.Contains(app.Spec.SyncPolicy.SyncOptions, "ServerSideApply=true") {
			t.Errorf("%s has the sync options %q: the CRDs are too large for client-side apply", app.Metadata.Name, app.Spec.SyncPolicy.SyncOptions)
		}
	}
	rendered := document(t, app.render(t))
	for _, want := range []string{`"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/node-termination-operator"`, "registry.example.com/node-termination-operator:v0.1.0"} {
		if !strings.Contains(rendered, want) {
			t.Errorf("%s is in no object", want)
		}
	}
}
