// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// stackTemplate is the path of the CloudFormation template.
const stackTemplate = "config/aws/queue.yaml"

// account, partition and region are where stacks are in these tests.
const (
	account   = "123456789012"
	partition = "aws"
	region    = "us-east-1"
)

// stack is the template with its functions computed for values of its parameters. A resource's attributes stand as
// ${LogicalID.Attribute} and, for Ref, ${LogicalID}.
type stack struct {
	values     map[string]any
	conditions map[string]any
	template   map[string]any

	// resources are the properties of the resources whose conditions hold, kinds their types.
	resources map[string]map[string]any
	kinds     map[string]string
	outputs   map[string]any
}

// newStack computes the template, with the defaults of the parameters that are not given.
func newStack(t *testing.T, parameters map[string]string) *stack {
	t.Helper()
	s := &stack{
		template: readTemplate(t), resources: map[string]map[string]any{}, kinds: map[string]string{}, outputs: map[string]any{},
		values: map[string]any{"AWS::AccountId": account, "AWS::Partition": partition, "AWS::Region": region, "AWS::NoValue": noValue{}},
	}
	if err := s.compute(parameters); err != nil {
		t.Fatalf("%s with %v: %v", stackTemplate, parameters, err)
	}
	return s
}

// noValue stands for AWS::NoValue, which removes what it is the value of.
type noValue struct{}

func (s *stack) compute(parameters map[string]string) error {
	declared := section(s.template, "Parameters")
	for name := range parameters {
		if declared[name] == nil {
			return fmt.Errorf("there is no parameter %s", name)
		}
	}
	for name, declaration := range declared {
		value := fmt.Sprint(declaration.(map[string]any)["Default"])
		if given, ok := parameters[name]; ok {
			value = given
		}
		s.values[name] = value
		if declaration.(map[string]any)["Type"] == "Number" {
			number, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("parameter %s: %w", name, err)
			}
			s.values[name] = number
		}
	}
	s.conditions = section(s.template, "Conditions")
	for name, value := range section(s.template, "Resources") {
		resource := value.(map[string]any)
		if holds, err := s.holds(resource["Condition"]); err != nil || !holds {
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		properties, err := s.value(resource["Properties"])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.resources[name], s.kinds[name] = properties.(map[string]any), resource["Type"].(string)
	}
	for name, value := range section(s.template, "Outputs") {
		output := value.(map[string]any)
		if holds, err := s.holds(output["Condition"]); err != nil || !holds {
			continue
		}
		computed, err := s.value(output["Value"])
		if err != nil {
			return fmt.Errorf("output %s: %w", name, err)
		}
		s.outputs[name] = computed
	}
	return s.checkReferences()
}

// checkReferences reports attributes of resources that are not there in this stack.
func (s *stack) checkReferences() error {
	content, err := json.Marshal([]any{s.resources, s.outputs})
	if err != nil {
		return err
	}
	for _, part := range strings.Split(string(content), "${")[1:] {
		name, _, _ := strings.Cut(part, "}")
		name, _, _ = strings.Cut(name, ".")
		if s.resources[name] == nil {
			return fmt.Errorf("something refers to %s, which this stack does not have", name)
		}
	}
	return nil
}

// holds reports whether a named condition holds; nil always does.
func (s *stack) holds(name any) (bool, error) {
	if name == nil {
		return true, nil
	}
	condition, ok := s.conditions[name.(string)]
	if !ok {
		return false, fmt.Errorf("there is no condition %s", name)
	}
	value, err := s.value(condition)
	if err != nil {
		return false, err
	}
	return value.(bool), nil
}

// value computes a part of the template.
func (s *stack) value(node any) (any, error) {
	switch node := node.(type) {
	case []any:
		list := []any{}
		for _, element := range node {
			value, err := s.value(element)
			if err != nil {
				return nil, err
			}
			if value != (noValue{}) {
				list = append(list, value)
			}
		}
		return list, nil
	case map[string]any:
		if len(node) == 1 {
			for name, argument := range node {
				if compute, ok := functions[name]; ok {
					return compute(s, argument)
				}
			}
		}
		object := map[string]any{}
		for key, element := range node {
			value, err := s.value(element)
			if err != nil {
				return nil, err
			}
			if value != (noValue{}) {
				object[key] = value
			}
		}
		return object, nil
	}
	return node, nil
}

// functions are those that the template uses, by their long names. They are set by init, as value refers to them.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
var functions map[string]func(s *stack, argument any) (any, error)

func init() {
	functions = map[string]func(*stack, any) (any, error){
		"Ref": func(s *stack, argument any) (any, error) { return s.ref(argument.(string)) },
		"Condition": func(s *stack, argument any) (any, error) {
			return s.holds(argument)
		},
		"Fn::GetAtt": func(s *stack, argument any) (any, error) {
			name, _, _ := strings.Cut(argument.(string), ".")
			if section(s.template, "Resources")[name] == nil {
				return nil, fmt.Errorf("there is no resource %s", name)
			}
			return "${" + argument.(string) + "}", nil
		},
		"Fn::Sub": func(s *stack, argument any) (any, error) { return s.substitute(argument.(string)) },
		"Fn::If": func(s *stack, argument any) (any, error) {
			branches := argument.([]any)
			holds, err := s.holds(branches[0])
			if err != nil {
				return nil, err
			}
			if holds {
				return s.value(branches[1])
			}
			return s.value(branches[2])
		},
		"Fn::Equals": func(s *stack, argument any) (any, error) {
			values, err := s.value(argument)
			if err != nil {
				return nil, err
			}
			return values.([]any)[0] == values.([]any)[1], nil
		},
		"Fn::Not": func(s *stack, argument any) (any, error) {
			values, err := s.value(argument)
			return err == nil && !values.([]any)[0].(bool), err
		},
		"Fn::And": func(s *stack, argument any) (any, error) {
			values, err := s.value(argument)
			return err == nil && !slices.Contains(values.([]any), any(false)), err
		},
		"Fn::Or": func(s *stack, argument any) (any, error) {
			values, err := s.value(argument)
			return err == nil && slices.Contains(values.([]any), any(true)), err
		},
	}
}

// ref returns the value of a parameter, or what stands for a resource.
func (s *stack) ref(name string) (any, error) {
	if value, ok := s.values[name]; ok {
		return value, nil
	}
	if section(s.template, "Resources")[name] == nil {
		return nil, fmt.Errorf("there is no parameter or resource %s", name)
	}
	return "${" + name + "}", nil
}

// substitute replaces each ${Name} in a text.
func (s *stack) substitute(text string) (any, error) {
	parts := strings.Split(text, "${")
	var out strings.Builder
	out.WriteString(parts[0])
	for _, part := range parts[1:] {
		name, rest, _ := strings.Cut(part, "}")
		value, err := s.ref(name)
		if err != nil {
			return nil, err
		}
		fmt.Fprint(&out, value)
		out.WriteString(rest)
	}
	return out.String(), nil
}

// section returns a part of the template.
func section(template map[string]any, name string) map[string]any {
	part, _ := template[name].(map[string]any)
	return part
}

// readTemplate reads the template, with the short forms of functions, such as !Ref, made long.
func readTemplate(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile(path(stackTemplate))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatalf("%s: %v", stackTemplate, err)
	}
	value, err := decode(document.Content[0])
	if err != nil {
		t.Fatalf("%s: %v", stackTemplate, err)
	}
	return value.(map[string]any)
}

// decode returns the value of a node of YAML. CloudFormation takes no aliases.
func decode(node *yaml.Node) (any, error) {
	value, err := decodeUntagged(node)
	if err != nil || !strings.HasPrefix(node.Tag, "!") || strings.HasPrefix(node.Tag, "!!") {
		return value, err
	}
	name := strings.TrimPrefix(node.Tag, "!")
	if name != "Ref" && name != "Condition" {
		name = "Fn::" + name
	}
	if functions[name] == nil {
		return nil, fmt.Errorf("line %d: this test does not know %s", node.Line, node.Tag)
	}
	return map[string]any{name: value}, nil
}

func decodeUntagged(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i < len(node.Content); i += 2 {
			key := node.Content[i]
			value, err := decode(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			if _, twice := object[key.Value]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
			}
			object[key.Value] = value
		}
		return object, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, element := range node.Content {
			value, err := decode(element)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		if strings.HasPrefix(node.Tag, "!!") {
			var value any
			err := node.Decode(&value)
			return value, err
		}
		return node.Value, nil
	}
	return nil, fmt.Errorf("line %d: CloudFormation takes no aliases", node.Line)
}

// TestNamesAreUnique: a parameter, a condition and a resource cannot share a name in one template.
func TestNamesAreUnique(t *testing.T) {
	template := readTemplate(t)
	seen := map[string]string{}
	for _, part := range []string{"Parameters", "Conditions", "Resources"} {
		for _, name := range slices.Sorted(maps.Keys(section(template, part))) {
			if other, twice := seen[name]; twice {
				t.Errorf("%s is in %s and in %s", name, other, part)
			}
			seen[name] = part
		}
	}
}

// TestParametersAreDescribed: each has a description, a default, and is used.
func TestParametersAreDescribed(t *testing.T) {
	template := readTemplate(t)
	content, err := json.Marshal([]any{template["Conditions"], template["Resources"], template["Outputs"]})
	if err != nil {
		t.Fatal(err)
	}
	for name, declaration := range section(template, "Parameters") {
		fields := declaration.(map[string]any)
		if fields["Description"] == nil || fields["Default"] == nil {
			t.Errorf("parameter %s should have a description and a default", name)
		}
		if !strings.Contains(string(content), `{"Ref":"`+name+`"}`) && !strings.Contains(string(content), "${"+name+"}") {
			t.Errorf("parameter %s is not used", name)
		}
	}
}

// TestStacksSideBySide: without a prefix nothing has a name of its own, and with one each name begins with it.
func TestStacksSideBySide(t *testing.T) {
	names := []string{"QueueName", "Name", "RoleName", "ManagedPolicyName", "AlarmName"}
	for _, prefix := range []string{"", "blue"} {
		parameters := maps.Clone(everything)
		parameters["Prefix"] = prefix
		taken := map[string]bool{}
		for id, properties := range newStack(t, parameters).resources {
			for _, property := range names {
				name, named := properties[property].(string)
				if named && (prefix == "" || !strings.HasPrefix(name, prefix)) {
					t.Errorf("with prefix %q %s has the %s %q", prefix, id, property, name)
				}
				if key := property + name; named && taken[key] {
					t.Errorf("%s has the %s %q, which another resource has too", id, property, name)
				} else if named {
					taken[key] = true
				}
			}
		}
		if prefix != "" && len(taken) < 10 {
			t.Errorf("with a prefix %d resources have names, want all that can", len(taken))
		}
	}
}

// everything are parameters with which the stack has all that it can have, but one of the two roles.
var everything = map[string]string{
	"Prefix": "blue", "RetentionSeconds": "7200", "KMSKeyARN": "arn:aws:kms:us-east-1:123456789012:key/blue",
	"Group1": "my-asg", "Group2": "other", "GroupPrefix": "workers-", "HookName": "drain", "HookTimeoutSeconds": "600",
	"LaunchHooks": "true", "LaunchHookName": "join", "DirectDelivery": "true", "DelegatedHealth": "true",
	"AssumeRole1": "arn:aws:iam::210987654321:role/drain", "AssumeRole2": "arn:aws:iam::210987654322:role/drain",
	"Identity": "PodIdentity", "Cluster": "production", "Namespace": "nt", "ServiceAccount": "manager",
	"AlarmTopicARN": "arn:aws:sns:us-east-1:123456789012:alarms", "OldestMessageSeconds": "7200",
}

// with returns parameters with some of them changed.
func with(parameters map[string]string, changes ...string) map[string]string {
	changed := maps.Clone(parameters)
	for i := 0; i < len(changes); i += 2 {
		changed[changes[i]] = changes[i+1]
	}
	return changed
}
