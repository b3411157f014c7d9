// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// tree and list are YAML as it is decoded.
type (
	tree = map[string]any
	list = []any
)

// setting is a value that somebody has set.
type setting struct {
	value any
	from  string // how it is written there: a value's key, NAME= of a variable, --name= of a flag
}

// settings are the options of one installation of NTH.
type settings struct {
	name      string             // of the policies
	origin    string             // for people
	namespace string             // of NTH
	set       map[string]setting // by key
	env       []corev1.EnvVar    // variables that are not NTH's
	account   string             // the service account that runs. Empty: it was not read
	urlKey    string             // of the Secret webhookURLSecretName
	errs      []error
	notes     notes
}

func newSettings(name, origin, namespace string) *settings {
	return &settings{name: name, origin: origin, namespace: namespace, set: map[string]setting{}, urlKey: "webhookurl"}
}

// fail adds an error about an option: what is wrong, and what to write instead.
func (s *settings) fail(key, format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf("%s: %s", s.written(key), fmt.Sprintf(format, args...)))
}

// err returns the errors so far, each once.
func (s *settings) err() error {
	var kept []error
	known := map[string]bool{}
	for _, err := range s.errs {
		if !known[err.Error()] {
			known[err.Error()] = true
			kept = append(kept, err)
		}
	}
	return errors.Join(kept...)
}

// written returns how an option is written where it was read, without its value.
func (s *settings) written(key string) string {
	if set, found := s.set[key]; found {
		return strings.TrimSuffix(set.from, "=")
	}
	return key
}

// value returns the value of an option: what is set, or the chart's default.
func (s *settings) value(key string) any {
	if set, found := s.set[key]; found {
		return set.value
	}
	if o := optionOf(func(o *option) bool { return o.key == key }); o != nil {
		return o.fallback
	}
	return nil
}

// changed reports whether an option is set to something else than the chart's default.
func (s *settings) changed(key string) bool {
	set, found := s.set[key]
	o := optionOf(func(o *option) bool { return o.key == key })
	return found && !empty(set.value) && (o == nil || !equal(set.value, o.fallback))
}

// plain are values that can stand in a comment.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/=%-]{1,64}$`)

// says returns an option and its value for a comment. What is long, or could be a secret, is left out.
func (s *settings) says(key string) string {
	text := fmt.Sprint(s.value(key))
	switch s.value(key).(type) {
	case tree, list, nil:
		text = ""
	}
	set, found := s.set[key]
	if !found {
		return strings.TrimSuffix(key+": "+text, ": ") + ", the default of NTH"
	}
	if !plain.MatchString(text) || strings.HasPrefix(key, "webhook") {
		return strings.TrimSuffix(set.from, "=")
	}
	if strings.HasSuffix(set.from, "=") {
		return set.from + text
	}
	return set.from + ": " + text
}

// boolean returns an option that is true or false. NTH reads it as text, so text will do.
func (s *settings) boolean(key string) bool {
	switch value := s.value(key).(type) {
	case bool:
		return value
	case string:
		if on, err := strconv.ParseBool(value); err == nil {
			return on
		} else if value == "" {
			return s.fallback(key) == true
		}
	case nil:
		return s.fallback(key) == true
	}
	s.fail(key, "%s is neither true nor false: write one of them", quote(s.value(key)))
	return false
}

// fallback returns the chart's default of an option.
func (s *settings) fallback(key string) any {
	return optionOf(func(o *option) bool { return o.key == key }).fallback
}

// number returns an option that is a whole number.
func (s *settings) number(key string) int {
	value := s.value(key)
	if empty(value) {
		value = s.fallback(key)
	}
	if n, ok := whole(value); ok {
		return n
	}
	s.fail(key, "%s is no whole number: write one, such as %v", quote(s.value(key)), s.fallback(key))
	n, _ := whole(s.fallback(key))
	return n
}

// whole returns a value as a whole number.
func whole(value any) (int, bool) {
	switch value := value.(type) {
	case int:
		return value, true
	case float64:
		return int(value), value == math.Trunc(value) && math.Abs(value) < 1<<53
	case string:
		n, err := strconv.Atoi(strings.TrimSpace(value))
		return n, err == nil
	}
	return 0, false
}

// text returns an option that is a text.
func (s *settings) text(key string) string {
	switch value := s.value(key).(type) {
	case nil:
		return ""
	case string:
		return value
	case bool, int:
		return fmt.Sprint(value)
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	s.fail(key, "it is no text: write one, in quotes if need be")
	return ""
}

// texts returns an option that is a map of texts, such as labels.
func (s *settings) texts(key string) map[string]string {
	value, ok := s.value(key).(tree)
	if !ok {
		if !empty(s.value(key)) {
			s.fail(key, "it is no map of names and texts: write {name: text}")
		}
		return nil
	}
	texts := map[string]string{}
	for name, value := range value {
		text, ok := value.(string)
		if !ok {
			s.fail(key, "the value of %q is no text: write it in quotes, such as %q", name, fmt.Sprint(scalar(value)))
		}
		texts[name] = text
	}
	return texts
}

// decode reads an option into a type of Kubernetes, and reports whether it is one.
func (s *settings) decode(key string, into any, example string) bool {
	encoded, err := json.Marshal(s.value(key))
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
		s.fail(key, "it is not what Kubernetes has there (%s): write it like %s", oneLine(err.Error()), example)
	}
	return err == nil
}

// firstSet returns the first of the options that is not empty, or "": so the chart chooses between the values
// for Linux, for all pods and for the DaemonSet.
func (s *settings) firstSet(keys ...string) string {
	for _, key := range keys {
		if !empty(s.value(key)) {
			return key
		}
	}
	return ""
}

// empty reports whether a template would take a value for unset.
func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case tree:
		return len(value) == 0
	case list:
		return len(value) == 0
	}
	return false
}

// equal reports whether two values are the same in YAML, or as the text that NTH reads.
func equal(a, b any) bool {
	return reflect.DeepEqual(normal(a), normal(b))
}

// normal returns a value with every scalar as the text that NTH reads.
func normal(value any) any {
	switch value := value.(type) {
	case tree:
		out := tree{}
		for key, v := range value {
			out[key] = normal(v)
		}
		return out
	case list:
		out := list{}
		for _, v := range value {
			out = append(out, normal(v))
		}
		return out
	}
	return fmt.Sprint(scalar(value))
}

// scalar returns a whole number as one: YAML is decoded by way of JSON, which has floats only.
func scalar(value any) any {
	if n, ok := value.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		return int64(n)
	}
	return value
}

// quote returns a value as it stands in an error, shortened.
func quote(value any) string {
	const most = 40
	text := fmt.Sprint(scalar(value))
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.Quote(text)
}

// oneLine returns a text in one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
