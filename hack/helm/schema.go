// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// policyCRD is the file with the schema of a policy.
const policyCRD = "config/crd/bases/nodetermination.dev_nodeterminationpolicies.yaml"

// schemaKeywords are those of a CRD that JSON Schema has too. What a field is about is in docs/api.md.
var schemaKeywords = []string{
	"type", "enum", "required", "pattern", "minimum", "maximum", "minLength", "maxLength",
	"minItems", "maxItems", "minProperties", "maxProperties",
}

// valuesSchema returns values.schema.json: hack/helm/values.schema.yaml, and the CRD's schema of
// a policy in it, so that Helm refuses a misspelled field before the API server does.
func valuesSchema(root string) (string, error) {
	var schema map[string]any
	if err := readYAML(filepath.Join(root, "hack", "helm", "values.schema.yaml"), &schema); err != nil {
		return "", err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
				} `yaml:"schema"`
			} `yaml:"versions"`
		} `yaml:"spec"`
	}
	if err := readYAML(filepath.Join(root, policyCRD), &crd); err != nil {
		return "", err
	}
	if len(crd.Spec.Versions) != 1 {
		return "", fmt.Errorf("%s has %d versions: say in hack/helm/schema.go which of them the chart's policies have", policyCRD, len(crd.Spec.Versions))
	}
	properties, _ := crd.Spec.Versions[0].Schema.OpenAPIV3Schema["properties"].(map[string]any)
	spec, _ := properties["spec"].(map[string]any)
	definitions, _ := schema["definitions"].(map[string]any)
	if spec == nil || definitions == nil {
		return "", errors.New("no spec in the CRD, or no definitions in values.schema.yaml")
	}
	definitions["policySpec"] = jsonSchema(spec)
	out, err := json.MarshalIndent(schema, "", " ")
	return string(out) + "\n", err
}

// jsonSchema returns the part of a CRD's schema that JSON Schema has too. Fields that the CRD does
// not know are refused.
func jsonSchema(in map[string]any) map[string]any {
	out := map[string]any{}
	for _, keyword := range schemaKeywords {
		if value, ok := in[keyword]; ok {
			out[keyword] = value
		}
	}
	if types, ok := in["anyOf"].([]any); ok && in["x-kubernetes-int-or-string"] == true {
		out["anyOf"] = types
	}
	if items, ok := in["items"].(map[string]any); ok {
		out["items"] = jsonSchema(items)
	}
	if values, ok := in["additionalProperties"].(map[string]any); ok {
		out["additionalProperties"] = jsonSchema(values)
	}
	if properties, ok := in["properties"].(map[string]any); ok {
		fields := map[string]any{}
		for name, field := range properties {
			if field, ok := field.(map[string]any); ok {
				fields[name] = jsonSchema(field)
			}
		}
		out["properties"] = fields
		if in["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
	}
	return out
}

func readYAML(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
