// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// encodePlain returns an object of kustomize as YAML.
func encodePlain(o *object) (string, error) {
	return yaml.NewRNode(o.root).String()
}
