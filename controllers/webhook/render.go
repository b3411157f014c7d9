// SPDX-License-Identifier: Apache-2.0

// Package webhook tells a receiver of a termination: it renders what is sent, sends it, and
// says when to send again. It holds no state but open connections; who is told of what, and
// how often that was tried, is in the status of the NodeTermination.
//
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,namespace=node-termination-system,verbs=list;watch
package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"text/template"
)

// defaultTemplate is for webhooks without one: a sentence in the form that Slack,
// Mattermost, Google Chat and others take. It says what was heard, and at the end how it went.
const defaultTemplate = `{"text": {{ printf "%s of node %s (instance %s): %s. %s" .Cause .NodeName .InstanceID .Step ` +
	`(ternary .Description .Message (has .Step (list "Received" "Draining"))) | toJson }}}`

// defaultContentType is that of a body whose webhook does not say.
const defaultContentType = "application/json"

// maxTemplate bounds a template out of a config map, in bytes.
const maxTemplate = 64 << 10

// render is the body of a delivery. It takes at most about a second and 256 KiB.
//
// If the content type is JSON, so is the body: where a template puts values between quotes as
// they are, as NTH's do, and one of them would break the JSON, the values are
// put there with escapes. The error says what in the template is wrong.
func render(text, contentType string, data Data) ([]byte, error) {
	parsed, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	out, err := execute(parsed, data)
	if err != nil || !isJSON(contentType) || json.Valid(out) {
		return out, err
	}
	if again, err := execute(parsed, data.escaped()); err == nil && json.Valid(again) {
		return again, nil
	}
	var value any
	return nil, fmt.Errorf("the result is not JSON (%w): put texts in as {{ .Description | toJson }}, without quotes around it, "+
		"or set another Content-Type in headersFrom", json.Unmarshal(out, &value))
}

// parseTemplate reads a template, so that it spends of the budget of its execution.
func parseTemplate(text string) (*template.Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the template is %d bytes long: write at most %d", len(text), maxTemplate)
	}
	parsed, err := template.New("template").Funcs(new(budget).functions()).Parse(text)
	if err != nil {
		return nil, explain(err)
	}
	return parsed, instrument(parsed)
}

func execute(parsed *template.Template, data Data) ([]byte, error) {
	b := &budget{left: budgetBytes}
	var out body
	if err := parsed.Funcs(b.functions()).Execute(&out, data); err != nil {
		return nil, explain(err)
	}
	return out.Bytes(), nil
}

// explain says what to write instead, where text/template only says what is wrong.
func explain(err error) error {
	for _, known := range []error{errTooLarge, errTooMuch} {
		if errors.Is(err, known) {
			return known
		}
	}
	text := strings.TrimPrefix(err.Error(), "template: ")
	switch {
	case strings.Contains(text, "function ") && strings.HasSuffix(text, " not defined"):
		text += ": sprig's functions can be used but for those that read the clock, the environment or the network, or draw lots; " +
			`a time is written as {{ .StartTime.Format "15:04:05" }}`
	case strings.Contains(text, "can't evaluate field "):
		text += ": docs/webhooks.md has the names that can be used"
	}
	return errors.New(text)
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
