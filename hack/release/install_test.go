// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"
)

// TestRender checks that a release installs all of config/default, with its own image.
func TestRender(t *testing.T) {
	tag, err := parseTag(releasedImage)
	if err != nil {
		t.Fatal(err)
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	s := &source{root: "../..", version: "v0.1.0", commit: "0123abc"}
	install, err := s.render("config/default", tag, digest)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# node-termination-operator v0.1.0, commit 0123abc: "; !strings.HasPrefix(string(install), want) {
		t.Errorf("install.yaml does not begin with %q", want)
	}
	images := regexp.MustCompile(`(?m)^\s+(?:- )?image: (.+)$`).FindAllStringSubmatch(string(install), -1)
	if want := releasedImage + "@" + digest.String(); len(images) != 1 || images[0][1] != want {
		t.Errorf("install.yaml has the images %v, want %s alone", images, want)
	}
	kinds := objectKinds(t, install)
	for _, kind := range []string{"Namespace", "CustomResourceDefinition", "ClusterRole", "Deployment", "ValidatingAdmissionPolicy"} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("install.yaml has no %s", kind)
		}
	}
	if kinds[0] != "Namespace" {
		t.Errorf("install.yaml begins with a %s: what is in a namespace would come before it", kinds[0])
	}
	crds, err := s.render("config/crd", tag, digest)
	if err != nil {
		t.Fatal(err)
	}
	if kinds := objectKinds(t, crds); !slices.Equal(kinds, []string{"CustomResourceDefinition", "CustomResourceDefinition"}) {
		t.Errorf("crds.yaml has %v", kinds)
	}
	if _, err := s.render("config/nowhere", tag, digest); err == nil || !strings.Contains(err.Error(), "cannot render config/nowhere") {
		t.Errorf("a kustomization that is not there: %v", err)
	}
}

func objectKinds(t *testing.T, manifests []byte) []string {
	t.Helper()
	var kinds []string
	for document := range strings.SplitSeq(string(manifests), "\n---\n") {
		var object struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, object.Kind)
	}
	return kinds
}
