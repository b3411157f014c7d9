// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// object is JSON as one finds one's way in it.
type object map[string]any

// at is the value at a path such as a.0.b, nil if there is none.
func (o object) at(path string) any {
	var value any = map[string]any(o)
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			if value = nil; step == "0" && len(v) > 0 {
				value = v[0]
			}
		default:
			return nil
		}
	}
	return value
}

// text fails the test unless there is a text of 1 to so many characters.
func (o object) text(t *testing.T, path string, most int) string {
	t.Helper()
	text, ok := o.at(path).(string)
	if n := utf8.RuneCountInString(text); !ok || n == 0 || n > most {
		t.Errorf("%s: %d characters, want 1 to %d: %v", path, n, most, o.at(path))
	}
	return text
}

// readyMade says what each service requires, and what it refuses.
var readyMade = map[string]func(t *testing.T, o object, data *Data){
	"slack.tmpl": func(t *testing.T, o object, _ *Data) {
		o.text(t, "text", 40000)
		o.text(t, "blocks.0.text.text", 150)
		blocks, _ := o.at("blocks").([]any)
		for _, block := range blocks {
			b, _ := block.(map[string]any)
			texts, _ := b["fields"].([]any)
			for _, text := range append(texts, b["text"]) {
				if text != nil {
					v, _ := text.(map[string]any)
					object(v).text(t, "text", 3000)
				}
			}
			if len(texts) > 10 {
				t.Errorf("%d fields, 10 is the limit", len(texts))
			}
		}
	},
	"teams.tmpl": func(t *testing.T, o object, _ *Data) {
		for path, want := range map[string]string{
			"type":                               "message",
			"attachments.0.contentType":          "application/vnd.microsoft.card.adaptive",
			"attachments.0.content.type":         "AdaptiveCard",
			"attachments.0.content.version":      "1.4",
			"attachments.0.content.body.0.type":  "TextBlock",
			"attachments.0.content.$schema.none": "",
		} {
			if got, _ := o.at(path).(string); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		o.text(t, "attachments.0.content.body.0.text", 4000)
	},
	"pagerduty.tmpl": func(t *testing.T, o object, data *Data) {
		if key := o.text(t, "routing_key", 32); len(key) != 32 {
			t.Errorf("a routing key of %d characters", len(key))
		}
		action := o.text(t, "event_action", 16)
		if want := map[string]string{"Completed": "resolve", "Cancelled": "resolve"}[data.Step]; action != want && (want != "" || action != "trigger") {
			t.Errorf("%s at step %s", action, data.Step)
		}
		o.text(t, "dedup_key", 255)
		o.text(t, "payload.summary", 1024)
		o.text(t, "payload.source", 1024)
		if severity := o.text(t, "payload.severity", 16); !slices.Contains([]string{"critical", "error", "warning", "info"}, severity) {
			t.Errorf("severity %s", severity)
		}
	},
	"opsgenie.tmpl": func(t *testing.T, o object, _ *Data) {
		o.text(t, "message", 130)
		o.text(t, "alias", 512)
		o.text(t, "description", 15000)
		if priority := o.text(t, "priority", 2); !slices.Contains([]string{"P1", "P2", "P3", "P4", "P5"}, priority) {
			t.Errorf("priority %s", priority)
		}
		details, _ := o.at("details").(map[string]any)
		for key, value := range details {
			if _, ok := value.(string); !ok {
				t.Errorf("details.%s is no text: %v", key, value)
			}
		}
	},
	"json.tmpl": func(t *testing.T, o object, data *Data) {
		for path, want := range map[string]string{
			"step": data.Step, "cause": data.Cause, "eventID": data.EventID, "description": data.Description,
			"node.name": data.NodeName, "instance.id": data.InstanceID, "policy": data.Policy, "instance.accountID": data.AccountId,
		} {
			if got, ok := o.at(path).(string); !ok || got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
		for _, list := range []string{"pods", "blocked"} {
			if _, ok := o.at(list).([]any); !ok {
				t.Errorf("%s is no list: %v", list, o.at(list))
			}
		}
		if _, ok := o.at("node.labels").(map[string]any); !ok {
			t.Errorf("labels: %v", o.at("node.labels"))
		}
	},
	"cloudevents.tmpl": func(t *testing.T, o object, _ *Data) {
		if version := o.text(t, "specversion", 3); version != "1.0" {
			t.Errorf("version %s", version)
		}
		for _, name := range []string{"id", "source", "type", "subject", "datacontenttype"} {
			o.text(t, name, 4096)
		}
		if _, ok := o.at("data").(map[string]any); !ok {
			t.Errorf("data: %v", o.at("data"))
		}
	},
}

func TestReadyMadeTemplates(t *testing.T) {
	const folder = "../../../docs/webhooks"
	files, err := filepath.Glob(folder + "/*")
	if err != nil || len(files) != len(readyMade) {
		t.Errorf("%d templates, %d tested: %v", len(files), len(readyMade), err)
	}
	long := nasty()
	long.Description, long.Blocked = strings.Repeat("é ", 5000), slices.Repeat([]string{strings.Repeat("é", 500)}, 10)
	empty := Data{InstanceID: "i-0abc1234def567890", Step: "Failed", Cause: "Manual"}
	for name, requires := range readyMade {
		t.Run(name, func(t *testing.T) {
			template, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), string(template), DefaultContentType); err != nil {
				t.Fatal(err)
			}
			var all []Data
			for kind := range nthKinds {
				for _, step := range []v1alpha1.WebhookStep{"Received", "Draining", "Completed", "Failed", "Cancelled"} {
					all = append(all, samples(kind, step)...)
				}
			}
			for _, data := range append(all, nasty(), long, empty) {
				// Escapes are for templates that do without toJson: these are right without.
				parsed, err := parseTemplate(string(template))
				if err != nil {
					t.Fatal(err)
				}
				out, err := execute(parsed, data)
				if err != nil {
					t.Fatal(err)
				}
				var o object
				if err := json.Unmarshal(out, &o); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				requires(t, o, &data)
			}
		})
	}
}

// TestDocsNameEveryName keeps the table of names whole.
func TestDocsNameEveryName(t *testing.T) {
	page, err := os.ReadFile("../../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[Data]().Fields() {
		if !strings.Contains(string(page), "`"+field.Name+"`") {
			t.Errorf("docs/webhooks.md does not have %s", field.Name)
		}
	}
}
