// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// module is a Terraform module, evaluated without Terraform: what a block refers to is evaluated first, and what a
// provider would know of a resource stands as ${LogicalID.Attribute}, like in a stack of the template.
type module struct {
	mapping   *mapping
	variables map[string]cty.Value
	locals    map[string]hcl.Expression
	blocks    map[string]*hclsyntax.Block // resources and data sources, by their addresses
	outputs   map[string]hcl.Expression
	declared  map[string]*hclsyntax.Block // variables

	resources  map[string]map[string]cty.Value // arguments of each instance of a resource, by its address
	values     map[string]cty.Value            // what was evaluated, by its address
	evaluating map[string]bool
}

// readModule reads the files of the module.
func readModule(t *testing.T, mapping *mapping) *module {
	t.Helper()
	m := &module{
		mapping: mapping, variables: map[string]cty.Value{}, locals: map[string]hcl.Expression{}, blocks: map[string]*hclsyntax.Block{},
		outputs: map[string]hcl.Expression{}, declared: map[string]*hclsyntax.Block{},
		resources: map[string]map[string]cty.Value{}, values: map[string]cty.Value{}, evaluating: map[string]bool{},
	}
	files, err := filepath.Glob(path("config/aws/terraform/*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no module (%v)", err)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, problems := hclsyntax.ParseConfig(content, filepath.Base(name), hcl.InitialPos)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		for _, block := range file.Body.(*hclsyntax.Body).Blocks {
			if err := m.add(block); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// add notes a block.
func (m *module) add(block *hclsyntax.Block) error {
	switch block.Type {
	case "terraform":
	case "variable":
		m.declared[block.Labels[0]] = block
	case "output":
		m.outputs[block.Labels[0]] = block.Body.Attributes["value"].Expr
	case "locals":
		for name, attribute := range block.Body.Attributes {
			m.locals[name] = attribute.Expr
		}
	case "resource":
		m.blocks[block.Labels[0]+"."+block.Labels[1]] = block
	case "data":
		m.blocks["data."+block.Labels[0]+"."+block.Labels[1]] = block
	default:
		return fmt.Errorf("this test does not know blocks of type %s", block.Type)
	}
	return nil
}

// dataSources are what the data sources return.
var dataSources = map[string]cty.Value{
	"data.aws_caller_identity.current": cty.ObjectVal(map[string]cty.Value{"account_id": cty.StringVal(account)}),
	"data.aws_partition.current":       cty.ObjectVal(map[string]cty.Value{"partition": cty.StringVal(partition)}),
	"data.aws_region.current":          cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(region)}),
}

// terraformFunctions are those that the module uses.
// https://developer.hashicorp.com/terraform/language/functions
var terraformFunctions = map[string]function.Function{
	"can": tryfunc.CanFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "jsonencode": stdlib.JSONEncodeFunc,
	"length": stdlib.LengthFunc, "merge": stdlib.MergeFunc, "regex": stdlib.RegexFunc,
	"toset": stdlib.MakeToFunc(cty.Set(cty.String)),
}

// setVariables sets all variables, to their defaults where no value is given, and checks what they validate.
func (m *module) setVariables(given map[string]cty.Value) error {
	for name := range given {
		if m.declared[name] == nil {
			return fmt.Errorf("there is no variable %s", name)
		}
	}
	for name, block := range m.declared {
		value, isGiven := given[name]
		if !isGiven {
			var problems hcl.Diagnostics
			if value, problems = block.Body.Attributes["default"].Expr.Value(nil); problems.HasErrors() {
				return problems
			}
		}
		m.variables[name] = value
	}
	for name, block := range m.declared {
		for _, validation := range block.Body.Blocks {
			valid, err := m.value(validation.Body.Attributes["condition"].Expr, nil)
			if err != nil {
				return err
			}
			if valid.False() {
				return fmt.Errorf("variable %s: not valid", name)
			}
		}
	}
	return nil
}

// evaluate evaluates all resources.
func (m *module) evaluate() error {
	for _, address := range slices.Sorted(maps.Keys(m.blocks)) {
		if _, err := m.lookUp(address); err != nil {
			return err
		}
	}
	return nil
}

// value evaluates an expression. extra are names that only it knows, such as each.
func (m *module) value(expression hcl.Expression, extra map[string]cty.Value) (cty.Value, error) {
	context := &hcl.EvalContext{Variables: maps.Clone(extra), Functions: terraformFunctions}
	if context.Variables == nil {
		context.Variables = map[string]cty.Value{}
	}
	parts := map[string]map[string]cty.Value{} // such as local, with those that the expression needs
	for _, traversal := range expression.Variables() {
		root := traversal.RootName()
		if _, known := extra[root]; known {
			continue
		}
		address, names := addressOf(traversal)
		value, err := m.lookUp(address)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%s: %w", traversal.SourceRange(), err)
		}
		if root == "data" {
			root, names = "data", names[1:]
			if parts[root] == nil {
				parts[root] = map[string]cty.Value{}
			}
			parts[root][names[0]] = cty.ObjectVal(map[string]cty.Value{names[1]: value})
			continue
		}
		if parts[root] == nil {
			parts[root] = map[string]cty.Value{}
		}
		parts[root][names[1]] = value
	}
	for root, values := range parts {
		context.Variables[root] = cty.ObjectVal(values)
	}
	value, problems := expression.Value(context)
	if problems.HasErrors() {
		return cty.NilVal, problems
	}
	return value, nil
}

// addressOf returns the address of what a traversal refers to, and its parts.
func addressOf(traversal hcl.Traversal) (address string, names []string) {
	count := 2
	if traversal.RootName() == "data" {
		count = 3
	}
	for _, step := range traversal[:min(count, len(traversal))] {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			address, names = step.Name, []string{step.Name}
		case hcl.TraverseAttr:
			address, names = address+"."+step.Name, append(names, step.Name)
		}
	}
	return address, names
}

// lookUp returns the value of a variable, a local, a data source or a resource.
func (m *module) lookUp(address string) (cty.Value, error) {
	if value, ok := m.values[address]; ok {
		return value, nil
	}
	if m.evaluating[address] {
		return cty.NilVal, fmt.Errorf("%s refers to itself", address)
	}
	m.evaluating[address] = true
	defer delete(m.evaluating, address)
	value, err := m.evaluateOne(address)
	if err == nil {
		m.values[address] = value
	}
	return value, err
}

func (m *module) evaluateOne(address string) (cty.Value, error) {
	var kind, name string
	if n, _ := fmt.Sscanf(address, "var.%s", &name); n == 1 {
		if value, ok := m.variables[name]; ok {
			return value, nil
		}
	}
	if n, _ := fmt.Sscanf(address, "local.%s", &name); n == 1 {
		if expression, ok := m.locals[name]; ok {
			return m.value(expression, nil)
		}
	}
	if value, ok := dataSources[address]; ok && m.blocks[address] != nil {
		return value, nil
	}
	block, ok := m.blocks[address]
	if !ok || block.Type != "resource" {
		return cty.NilVal, fmt.Errorf("there is no %s", address)
	}
	kind = block.Labels[0]
	attributes := block.Body.Attributes
	switch {
	case attributes["count"] != nil:
		return m.counted(address, kind, block)
	case attributes["for_each"] != nil:
		return m.each(address, kind, block)
	}
	return m.instance(address, kind, block, nil)
}

// counted evaluates a resource with count.
func (m *module) counted(address, kind string, block *hclsyntax.Block) (cty.Value, error) {
	value, err := m.value(block.Body.Attributes["count"].Expr, nil)
	if err != nil {
		return cty.NilVal, err
	}
	count, _ := value.AsBigFloat().Int64()
	instances := []cty.Value{}
	for i := range count {
		index := map[string]cty.Value{"count": cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(i)})}
		instance, err := m.instance(fmt.Sprintf("%s[%d]", address, i), kind, block, index)
		if err != nil {
			return cty.NilVal, err
		}
		instances = append(instances, instance)
	}
	return cty.TupleVal(instances), nil
}

// each evaluates a resource with for_each.
func (m *module) each(address, kind string, block *hclsyntax.Block) (cty.Value, error) {
	all, err := m.value(block.Body.Attributes["for_each"].Expr, nil)
	if err != nil {
		return cty.NilVal, err
	}
	if all.Type().IsListType() || all.Type().IsTupleType() {
		return cty.NilVal, fmt.Errorf("%s: for_each takes a set or a map, not %s", address, all.Type().FriendlyName())
	}
	instances := map[string]cty.Value{}
	for elements := all.ElementIterator(); elements.Next(); {
		key, value := elements.Element()
		each := map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		if instances[key.AsString()], err = m.instance(fmt.Sprintf("%s[%q]", address, key.AsString()), kind, block, each); err != nil {
			return cty.NilVal, err
		}
	}
	return cty.ObjectVal(instances), nil
}

// instance evaluates the arguments of one instance of a resource, checks its preconditions, and returns what others
// may refer to of it.
func (m *module) instance(address, kind string, block *hclsyntax.Block, extra map[string]cty.Value) (cty.Value, error) {
	id, ok := m.mapping.Resources[address]
	if !ok {
		return cty.NilVal, fmt.Errorf("testdata/terraform.yaml has no %s", address)
	}
	known := map[string]cty.Value{}
	for attribute, of := range m.mapping.Attributes[kind] {
		known[attribute] = cty.StringVal(placeholder(id, of))
	}
	m.resources[address] = map[string]cty.Value{}
	for name, attribute := range block.Body.Attributes {
		if name == "count" || name == "for_each" {
			continue
		}
		value, err := m.value(attribute.Expr, extra)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%s: %w", address, err)
		}
		m.resources[address][name] = value
	}
	return cty.ObjectVal(known), m.checkPreconditions(block)
}

func (m *module) checkPreconditions(block *hclsyntax.Block) error {
	for _, lifecycle := range block.Body.Blocks {
		for _, precondition := range lifecycle.Body.Blocks {
			holds, err := m.value(precondition.Body.Attributes["condition"].Expr, nil)
			if err != nil {
				return err
			}
			if holds.False() {
				message, _ := m.value(precondition.Body.Attributes["error_message"].Expr, nil)
				return fmt.Errorf("%s", message.AsString())
			}
		}
	}
	return nil
}

// placeholder returns what stands for an attribute of a resource of the template.
func placeholder(id, attribute string) string {
	if attribute == "Ref" {
		return "${" + id + "}"
	}
	return "${" + id + "." + attribute + "}"
}

// toCty returns a value of a variable of the given type, as its declaration says it.
func toCty(value cty.Value, kind string) (cty.Value, error) {
	types := map[string]cty.Type{"string": cty.String, "number": cty.Number, "bool": cty.Bool, "list(string)": cty.List(cty.String)}
	wanted, ok := types[kind]
	if !ok {
		return cty.NilVal, fmt.Errorf("this test does not know the type %s", kind)
	}
	return convert.Convert(value, wanted)
}
