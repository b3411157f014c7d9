// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// mapping is testdata/terraform.yaml.
type mapping struct {
	Variables map[string][]string
	Outputs   map[string]string
	Resources map[string]string
	// Arguments and Attributes are by the type of a resource.
	Arguments  map[string]map[string]string
	Attributes map[string]map[string]string
}

func readMapping(t *testing.T) *mapping {
	t.Helper()
	m := &mapping{}
	readYAML(t, "hack/deploy/testdata/terraform.yaml", m)
	return m
}

// newModule evaluates the module with the values that parameters of the template have.
func newModule(t *testing.T, parameters map[string]string) (*module, error) {
	t.Helper()
	mapping := readMapping(t)
	m := readModule(t, mapping)
	given := map[string]cty.Value{}
	for variable, names := range mapping.Variables {
		if m.declared[variable] == nil {
			t.Fatalf("there is no variable %s any more", variable)
		}
		value, isGiven := valueOf(parameters, names)
		if !isGiven {
			continue
		}
		var err error
		if given[variable], err = toCty(value, typeOf(m.declared[variable])); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	if err := m.setVariables(given); err != nil {
		return nil, err
	}
	err := m.evaluate()
	return m, err
}

// valueOf returns the value of a variable that stands for parameters: for several, a list of those that are not empty.
func valueOf(parameters map[string]string, names []string) (cty.Value, bool) {
	if len(names) == 1 {
		text, ok := parameters[names[0]]
		return cty.StringVal(text), ok
	}
	var list []cty.Value
	for _, name := range names {
		if parameters[name] != "" {
			list = append(list, cty.StringVal(parameters[name]))
		}
	}
	return cty.TupleVal(list), len(list) > 0
}

// typeOf returns the type that a variable is declared with.
func typeOf(block *hclsyntax.Block) string {
	expression := block.Body.Attributes["type"].Expr
	if call, ok := expression.(*hclsyntax.FunctionCallExpr); ok {
		return call.Name + "(" + call.Args[0].Variables()[0].RootName() + ")"
	}
	return expression.Variables()[0].RootName()
}

// translate returns the resources of the module as those of the template.
func (m *module) translate(t *testing.T) map[string]map[string]any {
	t.Helper()
	resources := map[string]map[string]any{}
	for address, arguments := range m.resources {
		id := m.mapping.Resources[address]
		if resources[id] == nil {
			resources[id] = map[string]any{}
		}
		kind, _, _ := strings.Cut(address, ".")
		for argument, value := range arguments {
			to, ok := m.mapping.Arguments[kind][argument]
			if !ok {
				t.Errorf("testdata/terraform.yaml has no argument %s of %s", argument, kind)
			}
			if value.IsNull() {
				continue
			}
			plain := plainValue(t, value)
			if to != "Ref" {
				set(resources[id], strings.Split(to, "."), plain)
			} else if plain != placeholder(id, "Ref") {
				t.Errorf("%s.%s is %v, want %s", address, argument, plain, id)
			}
		}
	}
	return resources
}

// plainValue returns a value as JSON has it.
func plainValue(t *testing.T, value cty.Value) (plain any) {
	t.Helper()
	content, err := ctyjson.Marshal(value, value.Type())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// set sets a value at a path, in which numbers are places in lists of one element.
func set(object map[string]any, path []string, value any) {
	if len(path) == 1 {
		object[path[0]] = value
		return
	}
	if path[1] != "0" {
		panic("only the first place of a list can be set")
	}
	if len(path) == 2 {
		object[path[0]] = []any{value}
		return
	}
	list, _ := object[path[0]].([]any)
	if list == nil {
		list = []any{map[string]any{}}
	}
	set(list[0].(map[string]any), path[2:], value)
	object[path[0]] = list
}

// normal returns a value in a form in which two that mean the same are equal: documents are decoded, lists of texts
// are sorted, as those of IAM and of event patterns have no order, and numbers and dimensions are of one form.
func normal(value any) any {
	switch value := value.(type) {
	case string:
		var document any
		if strings.HasPrefix(value, "{\"") || strings.HasPrefix(value, "{\n") {
			if err := json.Unmarshal([]byte(value), &document); err == nil {
				return normal(document)
			}
		}
		return value
	case int:
		return float64(value)
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = normal(element)
		}
		slices.SortStableFunc(list, func(a, b any) int {
			one, isText := a.(string)
			other, bothText := b.(string)
			if !isText || !bothText {
				return 0
			}
			return strings.Compare(one, other)
		})
		return list
	case map[string]any:
		object := map[string]any{}
		for key, element := range value {
			object[key] = normal(element)
		}
		if list, ok := object["Dimensions"].([]any); ok {
			dimensions := map[string]any{}
			for _, dimension := range list {
				dimensions[dimension.(map[string]any)["Name"].(string)] = dimension.(map[string]any)["Value"]
			}
			object["Dimensions"] = dimensions
		}
		return object
	}
	return value
}

// TestModuleIsTheStack: translated by testdata/terraform.yaml, the module has the resources of the template, with
// the same event patterns, IAM statements, hooks and alarms. What the arguments are called cannot be checked without
// the provider.
func TestModuleIsTheStack(t *testing.T) {
	for name, parameters := range map[string]map[string]string{
		"defaults": {}, "everything": everything,
		"IRSA":               with(everything, "Identity", "IRSA", "OIDCProvider", "oidc.eks.us-east-1.amazonaws.com/id/BLUE", "KMSKeyARN", ""),
		"no prefix":          with(everything, "Prefix", ""),
		"one group":          {"Group1": "my-asg"},
		"group prefix only":  {"GroupPrefix": "workers-", "LaunchHooks": "true"},
		"one role to assume": {"AssumeRole2": "arn:aws-us-gov:iam::210987654321:role/drain"},
		"no cluster":         {"Identity": "PodIdentity"},
		"own account only":   with(everything, "DelegatedHealth", "false"),
		"no direct delivery": with(everything, "DirectDelivery", "false", "LaunchHooks", "false"),
	} {
		t.Run(name, func(t *testing.T) {
			module, err := newModule(t, parameters)
			if err != nil {
				t.Fatal(err)
			}
			s := newStack(t, parameters)
			want, got := map[string]any{}, map[string]any{}
			for id, properties := range s.resources {
				want[id] = normal(properties)
			}
			for id, properties := range module.translate(t) {
				if parameters["Prefix"] == "" {
					delete(properties, "AlarmName") // which only Terraform needs
				}
				got[id] = normal(properties)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-template +module)\n%s", diff)
			}
			for output, id := range module.mapping.Outputs {
				value, err := module.value(module.outputs[output], nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := plainValue(t, value); got != s.outputs[id] {
					t.Errorf("output %s is %v, want %v", output, got, s.outputs[id])
				}
			}
			if len(module.outputs) != len(module.mapping.Outputs) {
				t.Errorf("the module has %d outputs, testdata/terraform.yaml %d", len(module.outputs), len(module.mapping.Outputs))
			}
		})
	}
}

// TestVariablesAreTheParameters: same defaults, same descriptions.
func TestVariablesAreTheParameters(t *testing.T) {
	mapping := readMapping(t)
	m := readModule(t, mapping)
	parameters := section(readTemplate(t), "Parameters")
	mapped := 0
	for variable, names := range mapping.Variables {
		mapped += len(names)
		attributes := m.declared[variable].Body.Attributes
		value, problems := attributes["default"].Expr.Value(nil)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		parameter := parameters[names[0]].(map[string]any)
		if len(names) > 1 { // a list
			continue
		}
		if got, want := fmt.Sprint(plainValue(t, value)), fmt.Sprint(parameter["Default"]); got != want {
			if number, err := strconv.ParseFloat(want, 64); err != nil || fmt.Sprint(number) != got {
				t.Errorf("%s is %s by default, %s is %s", variable, got, names[0], want)
			}
		}
	}
	if len(m.declared) != len(mapping.Variables) || len(parameters) != mapped {
		t.Errorf("%d variables and %d parameters, in testdata/terraform.yaml %d and %d", len(m.declared), len(parameters), len(mapping.Variables), mapped)
	}
}

// TestWrongVariables: what the template refuses, the module does, too.
func TestWrongVariables(t *testing.T) {
	for _, parameters := range []map[string]string{
		{"Prefix": "with space"}, {"RetentionSeconds": "60"}, {"KMSKeyARN": "alias/x"}, {"HookTimeoutSeconds": "10"},
		{"Identity": "Node"}, {"Identity": "IRSA"}, {"OIDCProvider": "https://x"}, {"OldestMessageSeconds": "1"},
	} {
		if _, err := newModule(t, parameters); err == nil {
			t.Errorf("%v is accepted", parameters)
		}
	}
}

// TestModuleIsFormatted: as "terraform fmt" writes it.
func TestModuleIsFormatted(t *testing.T) {
	files, err := filepath.Glob(path("config/aws/terraform/*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(hclwrite.Format(content)), string(content)); diff != "" {
			t.Errorf("%s is not formatted (-want +got)\n%s", filepath.Base(file), diff)
		}
	}
}

// TestMappingIsUsed: nothing in testdata/terraform.yaml is left over.
func TestMappingIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, parameters := range []map[string]string{everything, with(everything, "Identity", "IRSA", "OIDCProvider", "x")} {
		module, err := newModule(t, parameters)
		if err != nil {
			t.Fatal(err)
		}
		for address := range module.resources {
			used[address] = true
		}
	}
	for _, address := range slices.Sorted(maps.Keys(readMapping(t).Resources)) {
		if !used[address] {
			t.Errorf("the module has no %s", address)
		}
	}
}
