// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	readme     = "../../README.md"
	pages      = "../../docs/*.md"
	samples    = "../../config/samples/*.yaml"
	fullSample = "../../config/samples/nodetermination_v1alpha1_nodeterminationpolicy_full.yaml"
)

// TestDocsApply applies what people copy: the manifests of every page and sample.
// A block of YAML without an apiVersion is a fragment, of which only the syntax counts.
func TestDocsApply(t *testing.T) {
	files := append(glob(t, pages), append(glob(t, samples), readme)...)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			manifests := manifestsIn(t, file)
			if len(manifests) == 0 && mustHaveOne(file) {
				t.Error("has no manifest to copy: give it a block of ```yaml with an apiVersion")
			}
			for _, object := range manifests {
				if err := admin(t).Create(t.Context(), object, client.DryRunAll); err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
			}
		})
	}
}

// mustHaveOne is whether a file is worth nothing without a manifest. References, of
// the API or of what is measured, and a list of samples have none.
func mustHaveOne(file string) bool {
	switch filepath.Base(file) {
	case "api.md", "compatibility.md", "metrics.md", "performance.md", "kustomization.yaml":
		return false
	}
	return true
}

// TestFullSampleIsFull: the sample that promises every field has every field.
func TestFullSampleIsFull(t *testing.T) {
	manifests := manifestsIn(t, fullSample)
	if len(manifests) != 1 {
		t.Fatalf("%d manifests in %s, want 1", len(manifests), fullSample)
	}
	spec := reflect.TypeFor[v1alpha1.NodeTerminationPolicySpec]()
	for _, field := range missingFields(spec, manifests[0].Object["spec"], "spec") {
		if excludedBy[field] == "" {
			t.Errorf("%s is missing", field)
		}
	}
}

// excludedBy has the fields that cannot stand beside another one, of which there is one at most. The sample has them in
// comments.
var excludedBy = map[string]string{
	"spec.sources[].imds.endpoint":                                          "endpointMode",
	"spec.sources[].imds.podTemplate.updateStrategy.rollingUpdate.maxSurge": "metricsPort",
}

// missingFields lists the fields of a type that nothing sets in a value: of a list,
// one element is enough. Types of other packages are not looked into.
func missingFields(typ reflect.Type, value any, path string) []string {
	if typ.Kind() == reflect.Pointer {
		return missingFields(typ.Elem(), value, path)
	}
	if typ.Kind() == reflect.Slice {
		return missingInList(typ.Elem(), value, path+"[]")
	}
	if typ.Kind() != reflect.Struct || !strings.HasSuffix(typ.PkgPath(), "/api/v1alpha1") {
		return nil
	}
	object, _ := value.(map[string]any)
	var missing []string
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if set, found := object[name]; found {
			missing = append(missing, missingFields(field.Type, set, path+"."+name)...)
		} else {
			missing = append(missing, path+"."+name)
		}
	}
	return missing
}

// missingInList lists the fields that no element of a list sets.
func missingInList(typ reflect.Type, value any, path string) []string {
	list, _ := value.([]any)
	elements := map[string]int{} // that lack a field
	for _, element := range list {
		for _, field := range missingFields(typ, element, path) {
			elements[field]++
		}
	}
	var missing []string
	for field, n := range elements {
		if n == len(list) {
			missing = append(missing, field)
		}
	}
	return missing
}

func TestMissingFieldsAreFound(t *testing.T) {
	spec := map[string]any{"events": []any{
		map[string]any{"kind": "Manual", "action": "Cordon"},
		map[string]any{"kind": "ScheduledMaintenance", "startBeforeSeconds": 60},
	}}
	missing := strings.Join(missingFields(reflect.TypeFor[v1alpha1.NodeTerminationPolicySpec](), spec, "spec"), " ")
	for field, want := range map[string]bool{
		"spec.mode": true, "spec.events[].uncordonAfterSeconds": true,
		"spec.events[].action": false, "spec.events[].startBeforeSeconds": false,
	} {
		if got := strings.Contains(missing, field); got != want {
			t.Errorf("%s is missing: %t, want %t", field, got, want)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	return files
}

// manifestsIn are the objects that can be applied as they stand in a page or a sample.
func manifestsIn(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := []string{string(text)}
	if filepath.Ext(file) == ".md" {
		if documents, err = blocks(string(text)); err != nil {
			t.Fatal(err)
		}
	}
	var manifests []*unstructured.Unstructured
	for _, document := range documents {
		for part := range strings.SplitSeq(document, "\n---\n") {
			if object := parse(t, part); object.GetAPIVersion() != "" && object.GetKind() != "Kustomization" {
				manifests = append(manifests, object)
			}
		}
	}
	return manifests
}

// blocks are the blocks of YAML in a page. One that is never closed is an error.
func blocks(page string) ([]string, error) {
	const fence = "```"
	var found []string
	var block *strings.Builder // nil outside of one
	yaml := false
	for line := range strings.Lines(page) {
		switch trimmed := strings.TrimSpace(line); {
		case block == nil && strings.HasPrefix(trimmed, fence):
			block, yaml = &strings.Builder{}, trimmed == fence+"yaml"
		case block != nil && trimmed == fence:
			if yaml {
				found = append(found, block.String())
			}
			block = nil
		case block != nil:
			block.WriteString(line)
		}
	}
	if block != nil {
		return nil, fmt.Errorf("a block is not closed: %s", block)
	}
	return found, nil
}
