// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a map of YAML whose fields stay in order and have comments.
type object struct{ node *yaml.Node }

func newObject() object { return object{&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}} }

// set adds a field. The comment says which value it comes from; "" for none.
func (o object) set(key string, value any, comment string) {
	k := &yaml.Node{}
	k.SetString(key)
	v := nodeOf(value)
	if v.Kind == yaml.ScalarNode && !strings.Contains(v.Value, "\n") {
		v.LineComment = comment
	} else {
		k.HeadComment = comment
	}
	o.node.Content = append(o.node.Content, k, v)
}

// setUnlessEmpty adds a field that has something in it.
func (o object) setUnlessEmpty(key string, value object) {
	if !value.empty() {
		o.set(key, value, "")
	}
}

func (o object) empty() bool { return len(o.node.Content) == 0 }

// nodeOf returns a value as YAML: an object, a list of them, or what JSON can say.
func nodeOf(value any) *yaml.Node {
	switch value := value.(type) {
	case object:
		return value.node
	case []object:
		sequence := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, o := range value {
			sequence.Content = append(sequence.Content, o.node)
		}
		return sequence
	}
	node := &yaml.Node{}
	if err := node.Encode(plainValue(value)); err != nil {
		panic(err) // of a value that was decoded from JSON
	}
	return node
}

// plainValue returns a value by the names that it has in JSON, with whole numbers.
func plainValue(value any) any {
	if kind := reflect.ValueOf(value).Kind(); kind != reflect.Struct && kind != reflect.Slice && kind != reflect.Map && kind != reflect.Pointer {
		return scalar(value)
	}
	var out any
	if encoded, err := json.Marshal(value); err != nil || json.Unmarshal(encoded, &out) != nil {
		return nil
	}
	return wholeNumbers(out)
}

// wholeNumbers returns a decoded value with the numbers that are whole as such.
func wholeNumbers(value any) any {
	switch value := value.(type) {
	case tree:
		for key, v := range value {
			value[key] = wholeNumbers(v)
		}
	case list:
		for i, v := range value {
			value[i] = wholeNumbers(v)
		}
	}
	return scalar(value)
}

// encode returns objects as a stream of YAML.
func encode(objects ...object) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	for _, o := range objects {
		if err := encoder.Encode(o.node); err != nil {
			return nil, err
		}
	}
	err := encoder.Close()
	return out.Bytes(), err
}

// doubleQuoted returns a text as YAML and JSON write it alike.
func doubleQuoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		return `""` // never: it is a text
	}
	return string(encoded)
}
