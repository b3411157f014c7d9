// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// matches reports whether EventBridge delivers an event to a rule with the pattern: each field of the pattern has to
// be in the event, with one of the values. An array in the event matches if one of its elements does.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
func matches(pattern, event any) (bool, error) {
	switch pattern := pattern.(type) {
	case map[string]any:
		if list, ok := event.([]any); ok {
			return anyMatches(pattern, list)
		}
		object, _ := event.(map[string]any)
		for key, part := range pattern {
			if matched, err := matches(part, object[key]); err != nil || !matched {
				return false, err
			}
		}
		return true, nil
	case []any:
		if len(pattern) == 0 {
			return false, fmt.Errorf("a list of values is empty")
		}
		for _, value := range pattern {
			if matched, err := matchesValue(value, event); err != nil || matched {
				return matched, err
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("%v should be a list of values or an object", pattern)
}

func anyMatches(pattern map[string]any, events []any) (bool, error) {
	for _, event := range events {
		if matched, err := matches(pattern, event); err != nil || matched {
			return matched, err
		}
	}
	return false, nil
}

// matchesValue reports whether a field's value, nil if it has none, is one value of a pattern.
func matchesValue(value, field any) (bool, error) {
	operator, isOperator := value.(map[string]any)
	_, isAboutExistence := operator["exists"]
	if list, ok := field.([]any); ok && !isAboutExistence {
		for _, element := range list {
			if matched, err := matchesValue(value, element); err != nil || matched {
				return matched, err
			}
		}
		return false, nil
	}
	if !isOperator {
		if _, isList := value.([]any); isList {
			return false, fmt.Errorf("%v is a list in a list", value)
		}
		return value == field && field != nil, nil
	}
	if len(operator) != 1 {
		return false, fmt.Errorf("%v should be one operator", operator)
	}
	for name, argument := range operator {
		switch name {
		case "prefix":
			text, isText := field.(string)
			return isText && strings.HasPrefix(text, argument.(string)), nil
		case "exists":
			return (field != nil) == argument.(bool), nil
		case "anything-but":
			excluded, isList := argument.([]any)
			if !isList {
				excluded = []any{argument}
			}
			return field != nil && !slices.Contains(excluded, field), nil
		default:
			return false, fmt.Errorf("this test does not know the operator %s", name)
		}
	}
	return false, nil
}

func TestMatches(t *testing.T) {
	for name, tt := range map[string]struct {
		pattern, event string
		want           bool
		err            string
	}{
		"equal":                         {pattern: `{"a": ["x", "y"]}`, event: `{"a": "y"}`, want: true},
		"not equal":                     {pattern: `{"a": ["x", "y"]}`, event: `{"a": "z"}`},
		"a number is no text":           {pattern: `{"a": ["1"]}`, event: `{"a": 1}`},
		"missing":                       {pattern: `{"a": ["x"]}`, event: `{}`},
		"other fields do not matter":    {pattern: `{"a": ["x"]}`, event: `{"a": "x", "b": "y"}`, want: true},
		"all fields have to match":      {pattern: `{"a": ["x"], "b": ["x"]}`, event: `{"a": "x", "b": "y"}`},
		"nested":                        {pattern: `{"a": {"b": ["x"]}}`, event: `{"a": {"b": "x"}}`, want: true},
		"nested in nothing":             {pattern: `{"a": {"b": ["x"]}}`, event: `{"a": "x"}`},
		"an element":                    {pattern: `{"a": ["x"]}`, event: `{"a": ["y", "x"]}`, want: true},
		"an element that is an object":  {pattern: `{"a": {"b": ["x"]}}`, event: `{"a": [{"b": "y"}, {"b": "x"}]}`, want: true},
		"fields of two elements":        {pattern: `{"a": {"b": ["x"], "c": ["x"]}}`, event: `{"a": [{"b": "x"}, {"c": "x"}]}`},
		"prefix":                        {pattern: `{"a": [{"prefix": "x"}]}`, event: `{"a": "xy"}`, want: true},
		"no prefix":                     {pattern: `{"a": [{"prefix": "x"}]}`, event: `{"a": "yx"}`},
		"exists":                        {pattern: `{"a": [{"exists": true}]}`, event: `{"a": "x"}`, want: true},
		"exists not":                    {pattern: `{"a": [{"exists": true}]}`, event: `{"b": "x"}`},
		"does not exist":                {pattern: `{"a": [{"exists": false}, "x"]}`, event: `{}`, want: true},
		"or is this value":              {pattern: `{"a": [{"exists": false}, "x"]}`, event: `{"a": "x"}`, want: true},
		"or is another":                 {pattern: `{"a": [{"exists": false}, "x"]}`, event: `{"a": "y"}`},
		"anything but":                  {pattern: `{"a": [{"anything-but": ["x", "y"]}]}`, event: `{"a": "z"}`, want: true},
		"but that":                      {pattern: `{"a": [{"anything-but": "x"}]}`, event: `{"a": "x"}`},
		"anything but, and missing":     {pattern: `{"a": [{"anything-but": "x"}]}`, event: `{}`},
		"an operator that is not known": {pattern: `{"a": [{"wildcard": "x*"}]}`, event: `{"a": "x"}`, err: "wildcard"},
		"a value that is no list":       {pattern: `{"a": "x"}`, event: `{"a": "x"}`, err: "list of values"},
		"no value":                      {pattern: `{"a": []}`, event: `{"a": "x"}`, err: "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var pattern, event any
			for text, into := range map[string]*any{tt.pattern: &pattern, tt.event: &event} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			got, err := matches(pattern, event)
			if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%t, %v, want %t, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

// meantFor are the rules that deliver the samples of the parser. All others are delivered by none: they come to the
// queue in another way, or mean nothing.
var meantFor = map[string]string{
	"spot-terminate": "InstanceEvents", "spot-hibernate": "InstanceEvents", "rebalance": "InstanceEvents",
	"capacity-reservation": "InstanceEvents", "capacity-reservation-interruptible": "InstanceEvents",
	"state-running": "InstanceStates", "state-stopping": "InstanceStates", "state-stopped": "InstanceStates",
	"state-shutting-down": "InstanceStates", "state-terminated": "InstanceStates",
	"autoscaling-terminate": "TerminationHookEvents",
	"autoscaling-launch":    "LaunchHookEvents", "autoscaling-launch-warm": "LaunchHookEvents",
	"health-reboot": "ScheduledMaintenance", "health-retirement": "ScheduledMaintenance",
	"alarm-state": "StatusChecks", "alarm-deleted": "DeletedAlarms",
}

// TestDelivery runs every sample of the parser against the rules of the template, with the parameters that change
// what is delivered.
func TestDelivery(t *testing.T) {
	for name, tt := range map[string]struct {
		parameters map[string]string
		// without are rules that there are not then.
		without []string
	}{
		"defaults":         {without: []string{"TerminationHookEvents", "LaunchHookEvents"}},
		"a group":          {parameters: map[string]string{"Group1": "my-asg"}, without: []string{"LaunchHookEvents"}},
		"the third group":  {parameters: map[string]string{"Group3": "my-asg"}, without: []string{"LaunchHookEvents"}},
		"a prefix":         {parameters: map[string]string{"GroupPrefix": "my-"}, without: []string{"LaunchHookEvents"}},
		"launch hooks":     {parameters: map[string]string{"Group2": "my-asg", "LaunchHooks": "true"}},
		"another group":    {parameters: map[string]string{"Group1": "other", "LaunchHooks": "true"}, without: []string{"TerminationHookEvents", "LaunchHookEvents"}},
		"another prefix":   {parameters: map[string]string{"GroupPrefix": "asg", "LaunchHooks": "true"}, without: []string{"TerminationHookEvents", "LaunchHookEvents"}},
		"no group":         {parameters: map[string]string{"LaunchHooks": "true"}, without: []string{"TerminationHookEvents", "LaunchHookEvents"}},
		"everything":       {parameters: everything},
		"delegated health": {parameters: map[string]string{"DelegatedHealth": "true"}, without: []string{"TerminationHookEvents", "LaunchHookEvents"}},
	} {
		t.Run(name, func(t *testing.T) {
			rules := rulesOf(newStack(t, tt.parameters))
			for sample, event := range samples(t) {
				want := meantFor[sample]
				if slices.Contains(tt.without, want) {
					want = ""
				}
				if got := strings.Join(deliveredBy(t, rules, event), ", "); got != want {
					t.Errorf("%s is delivered by %q, want %q", sample, got, want)
				}
			}
		})
	}
}

// TestDeliveryOfOtherAccounts: events of AWS Health about other accounts of the organization are delivered only
// where that is asked for.
func TestDeliveryOfOtherAccounts(t *testing.T) {
	event := samples(t)["health-reboot"]
	detail := event["detail"].(map[string]any)
	for _, tt := range []struct {
		account   any
		delegated string
		want      int
	}{{account, "false", 1}, {nil, "false", 1}, {"210987654321", "false", 0}, {"210987654321", "true", 1}} {
		delete(detail, "affectedAccount")
		if tt.account != nil {
			detail["affectedAccount"] = tt.account
		}
		rules := rulesOf(newStack(t, map[string]string{"DelegatedHealth": tt.delegated}))
		if got := deliveredBy(t, rules, event); len(got) != tt.want {
			t.Errorf("about account %v, DelegatedHealth %s: delivered by %q, want %d rules", tt.account, tt.delegated, got, tt.want)
		}
	}
}

// rulesOf returns the event patterns of a stack's rules.
func rulesOf(s *stack) map[string]any {
	rules := map[string]any{}
	for id, properties := range s.resources {
		if s.kinds[id] == "AWS::Events::Rule" {
			rules[id] = properties["EventPattern"]
		}
	}
	return rules
}

// deliveredBy returns the rules that deliver an event.
func deliveredBy(t *testing.T, rules map[string]any, event any) []string {
	t.Helper()
	var by []string
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		matched, err := matches(rules[id], event)
		if err != nil {
			t.Errorf("rule %s: %v", id, err)
		}
		if matched {
			by = append(by, id)
		}
	}
	return by
}

// samples returns the documents that the parser is tested with.
func samples(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(path("controllers/source/event/testdata/*.json"))
	if err != nil || len(files) < len(meantFor) {
		t.Fatalf("%d samples (%v)", len(files), err)
	}
	documents := map[string]map[string]any{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := json.Unmarshal(content, &document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		documents[strings.TrimSuffix(filepath.Base(file), ".json")] = document
	}
	for name := range meantFor {
		if documents[name] == nil {
			t.Errorf("there is no sample %s any more", name)
		}
	}
	return documents
}
