// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"testing"

	"github.com/awslabs/goformation/v7"
	"github.com/awslabs/goformation/v7/schema"
	"github.com/xeipuuv/gojsonschema"
)

// stacks are the parameters that the template is checked with besides.
var stacks = map[string]map[string]string{
	"defaults":   {},
	"everything": everything,
	"IRSA":       with(everything, "Identity", "IRSA", "OIDCProvider", "oidc.eks.us-east-1.amazonaws.com/id/BLUE", "KMSKeyARN", ""),
	"plain":      {"Group1": "workers", "Identity": "PodIdentity"},
}

// TestSchema checks the types, names and required properties of all resources with CloudFormation's specification,
// which goformation has embedded.
func TestSchema(t *testing.T) {
	for name, parameters := range stacks {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, parameters)
			resources := map[string]any{}
			for id, properties := range s.resources {
				if text, ok := properties["AssumeRolePolicyDocument"].(string); ok {
					properties["AssumeRolePolicyDocument"] = decodeJSON(t, text) // CloudFormation takes both
				}
				resources[id] = map[string]any{"Type": s.kinds[id], "Properties": properties}
			}
			content, err := json.Marshal(map[string]any{
				"AWSTemplateFormatVersion": s.template["AWSTemplateFormatVersion"], "Description": s.template["Description"], "Resources": resources,
			})
			if err != nil {
				t.Fatal(err)
			}
			result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(schema.CloudformationSchema), gojsonschema.NewBytesLoader(content))
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range result.Errors() {
				t.Error(problem)
			}
			// It refuses properties that it does not know.
			if _, err := goformation.ParseJSON(content); err != nil {
				t.Error(err)
			}
		})
	}
}

func decodeJSON(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}
