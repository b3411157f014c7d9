// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	admissioncel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// oldest is the oldest version of Kubernetes that is supported. What a newer one has added to CEL is missing there.
var oldest = version.MajorMinor(1, 34)

// TestCRDsInOldestKubernetes compiles every rule of the CRDs as the oldest version would.
func TestCRDsInOldestKubernetes(t *testing.T) {
	compiled := 0
	for _, file := range manifests(t, "../../config/crd/bases/*.yaml") {
		var crd apiextensionsv1.CustomResourceDefinition
		unmarshal(t, file, &crd)
		for _, v := range crd.Spec.Versions {
			var internal apiextensions.JSONSchemaProps
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
				t.Fatal(err)
			}
			structural, err := schema.NewStructural(&internal)
			if err != nil {
				t.Fatal(err)
			}
			compiled += compileRules(t, crd.Name, structural, true)
		}
	}
	if compiled < 50 {
		t.Errorf("only %d rules were found", compiled)
	}
}

// compileRules compiles the rules of a schema and of all below it, and returns their number.
func compileRules(t *testing.T, path string, s *schema.Structural, isRoot bool) int {
	t.Helper()
	results, err := schemacel.Compile(s, model.SchemaDeclType(s, isRoot), celconfig.PerCallLimit, environment.MustBaseEnvSet(oldest), schemacel.NewExpressionsEnvLoader())
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	for i, result := range results {
		if result.Error != nil {
			t.Errorf("%s: not in Kubernetes %s: %s: %v", path, oldest, s.XValidations[i].Rule, result.Error)
		}
		if result.MessageExpressionError != nil {
			t.Errorf("%s: not in Kubernetes %s: %s: %v", path, oldest, s.XValidations[i].MessageExpression, result.MessageExpressionError)
		}
	}
	n := len(results)
	for name, property := range s.Properties {
		n += compileRules(t, path+"."+name, &property, false)
	}
	if s.Items != nil {
		n += compileRules(t, path+"[]", s.Items, false)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		n += compileRules(t, path+"{}", s.AdditionalProperties.Structural, false)
	}
	return n
}

// expression is one of an admission policy.
type expression struct {
	name, text string
	types      []*cel.Type
}

func (e *expression) GetName() string          { return e.name }
func (e *expression) GetExpression() string    { return e.text }
func (e *expression) ReturnTypes() []*cel.Type { return e.types }

// TestAdmissionPoliciesInOldestKubernetes compiles every expression of the admission policies as the oldest version would.
func TestAdmissionPoliciesInOldestKubernetes(t *testing.T) {
	for _, file := range manifests(t, "../../config/admission/*_policy.yaml") {
		var policy admissionregistrationv1.ValidatingAdmissionPolicy
		unmarshal(t, file, &policy)
		compiler, err := admissioncel.NewCompositedCompiler(environment.MustBaseEnvSet(oldest))
		if err != nil {
			t.Fatal(err)
		}
		declared := admissioncel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil, HasAuthorizer: true}
		for _, v := range policy.Spec.Variables {
			variable := &expression{v.Name, v.Expression, []*cel.Type{cel.AnyType, cel.DynType}}
			if result := compiler.CompileAndStoreVariable(variable, declared, environment.NewExpressions); result.Error != nil {
				t.Errorf("%s: variable %s: not in Kubernetes %s: %v", policy.Name, v.Name, oldest, result.Error)
			}
		}
		for _, e := range expressions(&policy) {
			if result := compiler.CompileCELExpression(e, declared, environment.NewExpressions); result.Error != nil {
				t.Errorf("%s: %s: not in Kubernetes %s: %v", policy.Name, e.text, oldest, result.Error)
			}
		}
	}
}

// expressions returns those of an admission policy that may use its variables.
func expressions(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []*expression {
	var all []*expression
	for _, c := range policy.Spec.MatchConditions {
		all = append(all, &expression{text: c.Expression, types: []*cel.Type{cel.BoolType}})
	}
	for _, v := range policy.Spec.Validations {
		all = append(all, &expression{text: v.Expression, types: []*cel.Type{cel.BoolType}})
		if v.MessageExpression != "" {
			all = append(all, &expression{text: v.MessageExpression, types: []*cel.Type{cel.StringType}})
		}
	}
	return all
}

// manifests returns the files of a pattern, of which there are some.
func manifests(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < 2 {
		t.Fatalf("%s: found %q, %v", pattern, files, err)
	}
	return slices.Sorted(slices.Values(files))
}

// unmarshal reads a manifest. A field that this version of Kubernetes does not know is an error.
func unmarshal(t *testing.T, file string, object any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(content, object)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
