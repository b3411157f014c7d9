// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	chartName = "aws-node-termination-handler"
	// maxInput is how much is read of anything: Kubernetes stores less.
	maxInput = 4 << 20
)

// parseValues reads a file of Helm values.
func parseValues(name string, r io.Reader) (tree, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(content) > maxInput {
		return nil, fmt.Errorf("%s: it has more than %d MiB: write only the values that differ from the chart's", name, maxInput>>20)
	}
	document, err := onlyDocument(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	values := tree{}
	if err := yaml.UnmarshalStrict(document, &values); err != nil {
		return nil, fmt.Errorf("%s: it is no map of values as Helm reads them (%s): write lines such as dryRun: true", name, oneLine(err.Error()))
	}
	if values["kind"] != nil && values["apiVersion"] != nil {
		return nil, fmt.Errorf("%s: it is a manifest, a %v, and no file of Helm values: write --from-cluster to read what runs, or --release", name, quote(values["kind"]))
	}
	return values, nil
}

// onlyDocument returns the document of a file of YAML that has one, or none.
func onlyDocument(content []byte) ([]byte, error) {
	var found []byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, errors.New(oneLine(err.Error()))
		}
		var content any
		if yaml.Unmarshal(document, &content) == nil && content == nil {
			continue // nothing but comments
		}
		if found != nil {
			return nil, errors.New("it has several documents: write each into a file of its own, and give -f several times")
		}
		found = document
	}
}

// merge puts values over others as Helm does: maps key by key, null removes, anything else replaces.
func merge(under, over tree) tree {
	merged := maps.Clone(under)
	if merged == nil {
		merged = tree{}
	}
	for key, value := range over {
		if value == nil {
			delete(merged, key)
			continue
		}
		below, wasMap := merged[key].(tree)
		above, isMap := value.(tree)
		if isMap && wasMap {
			value = merge(below, above)
		}
		merged[key] = value
	}
	return merged
}

// ofChart returns the values of NTH among those of a chart that depends on it, else all.
func ofChart(values tree) tree {
	if own, ok := values[chartName].(tree); ok {
		return own
	}
	return values
}

// readValues reads Helm values into the settings. It returns those that the chart does not have, each as a
// sentence: the rest is converted all the same.
func (s *settings) readValues(values tree) (unknown []string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		unknown = append(unknown, s.readValue(key, values[key])...)
	}
	if !empty(s.value("extraEnv")) {
		var env []corev1.EnvVar
		if s.decode("extraEnv", &env, `[{name: HTTPS_PROXY, value: "http://proxy.example.com:3128"}]`) {
			s.readEnv(env)
		}
	}
	return unknown
}

// readValue reads one value, at the top or within a group such as image.
func (s *settings) readValue(key string, value any) (unknown []string) {
	if o := optionOf(func(o *option) bool { return o.key == key }); o != nil && o.chart() {
		if value != nil {
			s.set[key] = setting{value: value, from: key}
		}
		return nil
	}
	switch {
	case key == "global", value == nil && strings.HasSuffix(key, "-SUPPLIED VALUES"), value == nil && key == "COMPUTED VALUES":
		return nil // Helm's own, and the first line of "helm get values"
	case isGroup(key):
		group, ok := value.(tree)
		if !ok && value != nil {
			s.fail(key, "%s is no map: write its values below it, such as %s", quote(value), nearestKey(key+"."))
		}
		for _, name := range slices.Sorted(maps.Keys(group)) {
			unknown = append(unknown, s.readValue(key+"."+name, group[name])...)
		}
		return unknown
	}
	return []string{fmt.Sprintf("%s: the chart of NTH has no such value: %s", printable(key), suggestion(key))}
}

// isGroup reports whether the chart has values below a key.
func isGroup(key string) bool {
	return optionOf(func(o *option) bool { return strings.HasPrefix(o.key, key+".") }) != nil
}

// suggestion returns what to write instead of an unknown key.
func suggestion(key string) string {
	if near := nearestKey(key); near != "" {
		return "write " + near + " if that is what you mean, else leave it out"
	}
	return "leave it out"
}

// nearestKey returns the chart's key that is most like an unknown one, or "" if none is.
func nearestKey(key string) string {
	lower := strings.ToLower(key)
	best, least := "", max(2, len(key)/3)+1
	for i := range options {
		if !options[i].chart() {
			continue
		}
		known := strings.ToLower(options[i].key)
		distance := editDistance(lower, known)
		if last := known[strings.LastIndex(known, ".")+1:]; last == lower || strings.HasPrefix(known, lower) && strings.HasSuffix(lower, ".") {
			distance = 0 // a value at the top that belongs below a group
		}
		if distance < least {
			best, least = options[i].key, distance
		}
	}
	return best
}

// editDistance returns how many letters have to be changed, added or removed to make one text of another.
func editDistance(a, b string) int {
	const longest = 80 // no key is longer, and the work grows with the product
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// printable returns a name as it was written, or quoted if that would not be safe on a terminal.
func printable(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return quote(name)
}
