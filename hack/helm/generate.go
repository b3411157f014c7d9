// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// chartFolder is where the chart is, in the repository.
const chartFolder = "config/helm"

// header begins a template that is generated.
const header = "{{- /* Generated from config/%s by \"make helm\": change it there, or in hack/helm/changes.go. */ -}}\n"

// generate writes what is generated of the chart: the templates of config's objects, the
// dashboard, the schema of the values and the table of them.
func generate(root string) error {
	chart := filepath.Join(root, chartFolder)
	if err := os.MkdirAll(filepath.Join(chart, "files"), 0o755); err != nil {
		return err
	}
	templates, err := renderTemplates(root)
	if err != nil {
		return err
	}
	if err := removeGenerated(filepath.Join(chart, "templates")); err != nil {
		return err
	}
	for folder, content := range templates {
		if err := write(filepath.Join(chart, "templates", folder+".yaml"), fmt.Sprintf(header, folder)+content); err != nil {
			return err
		}
	}
	dashboard, err := os.ReadFile(filepath.Join(root, "config", "prometheus", "dashboard.json"))
	if err != nil {
		return err
	}
	if err := write(filepath.Join(chart, "files", "dashboard.json"), string(dashboard)); err != nil {
		return err
	}
	schema, err := valuesSchema(root)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(chart, "values.schema.json"), schema); err != nil {
		return err
	}
	readme, err := valuesTable(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	return write(filepath.Join(chart, "README.md"), readme)
}

// removeGenerated removes the templates that were generated before: a folder of config may be gone.
func removeGenerated(dir string) error {
	before, _, _ := strings.Cut(header, "%s")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(content), before) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes a file of the sources.
func write(path, content string) error {
	return os.WriteFile(path, []byte(content), 0o644)
}

// renderTemplates returns the templates by the folder of config that their objects are from.
func renderTemplates(root string) (map[string]string, error) {
	objects, err := build(filepath.Join(root, "hack", "helm"))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, o := range objects {
		names[o.id()] = true
	}
	for _, c := range changes {
		if !names[c.object] {
			return nil, fmt.Errorf("changes.go: %s: config has no such object", c.object)
		}
	}
	templates := map[string]string{}
	for _, o := range objects {
		if omitted[o.id()] {
			continue
		}
		out, err := render(o, names)
		if err != nil {
			return nil, err
		}
		templates[o.folder] += "---\n" + out
	}
	return templates, nil
}

// build returns the objects of a kustomization, in its order.
func build(dir string) ([]*object, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	var objects []*object
	for _, resource := range built.Resources() {
		origin, err := resource.GetOrigin()
		if err != nil {
			return nil, err
		}
		o := &object{kind: resource.GetKind(), name: resource.GetName()}
		if origin != nil {
			// An object of a generator has the kustomization instead of a path.
			_, path, _ := strings.Cut(cmp.Or(origin.Path, origin.ConfiguredIn), "config/")
			o.folder, _, _ = strings.Cut(path, "/")
			if err := resource.SetOrigin(nil); err != nil {
				return nil, err
			}
		}
		out, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		node, err := yaml.Parse(strings.TrimSpace(string(out)))
		if err != nil {
			return nil, err
		}
		o.root = node.YNode()
		objects = append(objects, o)
	}
	return objects, nil
}
