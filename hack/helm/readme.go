// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

const readmeHead = `# node-termination-operator

Gets the pods off EC2 nodes that are interrupted, stopped or retired, in the time that remains.

` + "```" + `
helm upgrade --install node-termination-operator <chart> --namespace node-termination-system --create-namespace \
  --values values.yaml --wait
` + "```" + `

The values, of which [values.yaml](values.yaml) has the defaults in full. [docs/install-helm.md](../../docs/install-helm.md) says
more, and how to upgrade, roll back and uninstall.

| value | default | meaning |
|---|---|---|
`

// valuesTable returns README.md, with a row for each value that has a comment in values.yaml.
func valuesTable(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	values, err := yaml.Parse(string(content))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var table strings.Builder
	table.WriteString(readmeHead)
	if err := writeRows(&table, "", values.YNode()); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return table.String(), nil
}

// writeRows writes the rows of a mapping's values. A mapping in it whose keys have comments is a
// group of values, any other is one value.
func writeRows(table *strings.Builder, prefix string, values *yaml.Node) error {
	for k := 0; k < len(values.Content); k += 2 {
		key, value := values.Content[k], values.Content[k+1]
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && value.Content[0].HeadComment != "" {
			if err := writeRows(table, name+".", value); err != nil {
				return err
			}
			continue
		}
		if key.HeadComment == "" {
			return fmt.Errorf("%s: write a comment before it, which says what it is for", name)
		}
		_, _ = fmt.Fprintf(table, "| `%s` | %s | %s |\n", name, shown(value), meaning(key.HeadComment))
	}
	return nil
}

// shown returns a default as the table has it: one line, or a word that it is longer.
func shown(value *yaml.Node) string {
	switch {
	case value.Kind == yaml.ScalarNode && value.Value == "":
		return "`\"\"`"
	case value.Kind == yaml.ScalarNode:
		return "`" + value.Value + "`"
	case len(value.Content) == 0 && value.Kind == yaml.MappingNode:
		return "`{}`"
	case len(value.Content) == 0:
		return "`[]`"
	case value.Style&yaml.FlowStyle != 0:
		out, err := yaml.NewRNode(value).String()
		if err == nil {
			return "`" + strings.TrimSpace(out) + "`"
		}
	}
	return "see values.yaml"
}

// meaning returns the last paragraph of a comment as one line: those before are about several values.
func meaning(comment string) string {
	paragraphs := strings.Split(comment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "#"))...)
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", `\|`)
}
