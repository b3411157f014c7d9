// SPDX-License-Identifier: Apache-2.0

// Package template renders what webhooks receive, from templates that users write. What a
// rendering can take of memory and time is bounded (guard.go).
package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"text/template"
)

// Default is for webhooks without a template: a sentence in the form that Slack,
// Mattermost, Google Chat and others take. It says what was received, and at the end how it went.
const Default = `{"text": {{ printf "%s of node %s (instance %s): %s. %s" .Cause .NodeName .InstanceID .Step ` +
	`(ternary .Description .Message (has .Step (list "Received" "Draining"))) | toJson }}}`

// DefaultContentType is that of a body whose webhook does not say.
const DefaultContentType = "application/json"

// maxTemplate bounds a template out of a config map, in bytes.
const maxTemplate = 64 << 10

// turn is held by whoever parses or renders: one at a time, so that the bound on the
// memory that one takes is one on that of all.
var turn = make(chan struct{}, 1)

// takeTurn waits for the turn, which endTurn gives back, or for the end of ctx.
func takeTurn(ctx context.Context) error {
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func endTurn() { <-turn }

// Render returns the body of a delivery, of at most 256 KiB. It returns an error for a
// template that Check refuses, whatever the data.
//
// If the content type is JSON, so is the body: where a template puts values between quotes as
// they are, as NTH's do, and one of them would break the JSON, the values are
// put there with escapes. The error says what in the template is wrong.
func Render(ctx context.Context, text, contentType string, data Data) ([]byte, error) {
	if err := takeTurn(ctx); err != nil {
		return nil, err
	}
	defer endTurn()
	if err := checkOnce(text, contentType); err != nil {
		return nil, err
	}
	parsed, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	return render(parsed, contentType, data)
}

// render returns the body that a parsed template makes of the data.
func render(parsed *template.Template, contentType string, data Data) ([]byte, error) {
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
	return parsed, new(guard).apply(parsed)
}

func execute(parsed *template.Template, data Data) ([]byte, error) {
	b := &budget{left: budgetBytes}
	var out body
	if err := parsed.Funcs(b.functions()).Execute(&out, data); err != nil {
		return nil, explain(err)
	}
	return out.Bytes(), nil
}

// explain returns an error that says what to write instead, where text/template only says
// what is wrong.
func explain(err error) error {
	for _, known := range []error{errTooLarge, errTooMuch} {
		if errors.Is(err, known) {
			return known
		}
	}
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "template: "), " | "+useFunc, "")
	switch {
	case strings.Contains(text, "function ") && strings.HasSuffix(text, " not defined"):
		text += ": sprig's functions can be used but for those that multiply or compare much, read the environment or the network, " +
			`or draw lots; docs/webhooks.md names them. A time is written as {{ .StartTime.Format "15:04:05" }}, a loop as {{ range 10 }}`
	case strings.Contains(text, "can't evaluate field "):
		text += ": docs/webhooks.md has the names that can be used"
	}
	return errors.New(text)
}

// isJSON reports whether a body of this content type is JSON.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
