// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// An object of what kustomize builds.
type object struct {
	kind, name string
	// folder is the one of config that it is from.
	folder string
	root   *yaml.Node
}

func (o *object) id() string { return o.kind + "/" + o.name }

// render returns an object's part of a template.
func render(o *object, names map[string]bool) (string, error) {
	var placed []template // what stands at the i-th mark
	for _, c := range changes {
		if c.object != o.id() {
			continue
		}
		if err := mark(o.root, strings.Split(c.field, "/"), len(placed)); err != nil {
			return "", fmt.Errorf("%s: %s: %w", c.object, c.field, err)
		}
		placed = append(placed, c.to)
	}
	rename(o, names)
	out, err := encode(o.root)
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.id(), err)
	}
	out = expand(out, placed)
	for _, condition := range []string{conditions[o.id()], folders[o.folder]} {
		if condition != "" {
			out = "{{- if " + condition + " }}\n" + out + "{{- end }}\n"
		}
	}
	return out, nil
}

// encode writes an object as kustomize does. Braces that are config's own are none of a template.
func encode(node *yaml.Node) (string, error) {
	var buffer bytes.Buffer
	encoder := yaml.NewEncoderWithOptions(&buffer, &yaml.EncoderOptions{SeqIndent: yaml.CompactSequenceStyle})
	if err := encoder.Encode(node); err != nil {
		return "", err
	}
	if err := encoder.Close(); err != nil {
		return "", err
	}
	return strings.ReplaceAll(buffer.String(), "{{", `{{ "{{" }}`), nil
}

// mark puts the i-th mark in place of a field. What leads to it has to be there: a change that
// config has outlived is an error.
func mark(node *yaml.Node, field []string, i int) error {
	step := field[0]
	if len(field) == 1 {
		return markLast(node, step, i)
	}
	if node.Kind == yaml.MappingNode {
		for k := 0; k < len(node.Content); k += 2 {
			if node.Content[k].Value == step {
				return mark(node.Content[k+1], field[1:], i)
			}
		}
		if field[1] == "" { // a list that begins here
			list := &yaml.Node{Kind: yaml.SequenceNode}
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: step}, list)
			return mark(list, field[1:], i)
		}
		return fmt.Errorf("config has no %s", step)
	}
	for k, item := range node.Content {
		if strconv.Itoa(k) == step || nameIn(item) == step {
			return mark(item, field[1:], i)
		}
	}
	return fmt.Errorf("config has no item %s", step)
}

// markLast puts a mark in place of a key, or after all keys or items.
func markLast(node *yaml.Node, key string, i int) error {
	marked := &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprintf("MARK%d=%s=", i, key)}
	if node.Kind == yaml.SequenceNode {
		if key != "" {
			return fmt.Errorf("item %s: items can only be added", key)
		}
		node.Style = 0 // [] is no list to which a line can be added
		node.Content = append(node.Content, marked)
		return nil
	}
	null := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	for k := 0; k < len(node.Content); k += 2 {
		if node.Content[k].Value == key {
			node.Content[k], node.Content[k+1] = marked, null
			return nil
		}
	}
	node.Content = append(node.Content, marked, null)
	return nil
}

// marks finds the line of a mark: its column, dashes included, its number and its key.
var marks = regexp.MustCompile(`(?m)^( *)(- )?MARK(\d+)=([^=]*)=(: null)?\n`)

// expand puts the templates in place of their marks, and what stands for names and namespaces.
func expand(out string, placed []template) string {
	out = marks.ReplaceAllStringFunc(out, func(line string) string {
		parts := marks.FindStringSubmatch(line)
		i, _ := strconv.Atoi(parts[3])
		if column := len(parts[1]); parts[2] == "" || parts[5] == "" {
			return placed[i].at(column, parts[4])
		}
		// The first key of a list's item, which is after the item's dash.
		return parts[1] + "- " + strings.TrimLeft(placed[i].at(len(parts[1])+2, parts[4]), " ")
	})
	return tokens.ReplaceAllStringFunc(out, func(token string) string {
		parts := tokens.FindStringSubmatch(token)
		if parts[1] == "NAMESPACE" {
			return namespaces[parts[2]]
		}
		kind, name, _ := strings.Cut(parts[2], "/")
		return nameOf(kind, name)
	})
}

// tokens finds what stands for a name or a namespace until the object is written.
var tokens = regexp.MustCompile(`(NAME|NAMESPACE)=([^=]*)=`)

// rename puts tokens in place of the names of objects and of the namespaces.
func rename(o *object, names map[string]bool) {
	kind := o.kind
	if kind == "CustomResourceDefinition" {
		return // its name follows from the API
	}
	var walk func(node *yaml.Node, parent string)
	walk = func(node *yaml.Node, parent string) {
		if node.Kind == yaml.ScalarNode {
			for from := range namespaces {
				node.Value = strings.ReplaceAll(node.Value, from, "NAMESPACE="+from+"=")
			}
			return
		}
		if node.Kind == yaml.SequenceNode {
			for _, item := range node.Content {
				walk(item, parent)
			}
			return
		}
		for k := 0; k < len(node.Content); k += 2 {
			key, value := node.Content[k].Value, node.Content[k+1]
			named := kindNamed(parent, key, node)
			if parent == "metadata" && key == "name" {
				named = kind
			}
			if named != "" && named != "Namespace" && names[named+"/"+value.Value] {
				value.Value = "NAME=" + named + "/" + value.Value + "="
				continue
			}
			walk(value, key)
		}
	}
	walk(o.root, "")
}

// kindNamed returns the kind of the object that a field names, or "" if it names none.
func kindNamed(parent, key string, node *yaml.Node) string {
	switch {
	case key == "serviceAccountName":
		return "ServiceAccount"
	case key == "policyName":
		return "ValidatingAdmissionPolicy"
	case key == "name" && slices.Contains([]string{"roleRef", "subjects"}, parent):
		for k := 0; k < len(node.Content); k += 2 {
			if node.Content[k].Value == "kind" {
				return node.Content[k+1].Value
			}
		}
	}
	return ""
}

// nameIn returns the name of a list's item.
func nameIn(item *yaml.Node) string {
	for k := 0; k+1 < len(item.Content); k += 2 {
		if item.Content[k].Value == "name" {
			return item.Content[k+1].Value
		}
	}
	return ""
}
