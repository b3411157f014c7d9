// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// Error says why a message cannot be used, and what would make it usable.
type Error struct {
	// Field is the place in the document, such as detail.instance-id.
	Field string
	// Found is what is there, quoted and cut where it comes from the document.
	Found string
	// Expected is what should be there.
	Expected string
}

// Error returns one line such as: detail.instance-id is missing, expected ….
func (e *Error) Error() string {
	return e.Field + " is " + e.Found + ", expected " + e.Expected
}

func unexpected(field, found, expected string) error {
	return &Error{Field: field, Found: found, Expected: expected}
}

// required returns an error if the field is empty.
func required(field, value, expected string) error {
	if value == "" {
		return unexpected(field, "missing", expected)
	}
	return nil
}

// quote shows a value of the document in an error or a reason, whatever its length.
func quote(s string) string {
	return strconv.Quote(cut(s, 64))
}

// decode reads JSON. within is the path of raw inside the document, with a
// closing dot, for errors. Nesting is bounded by the json package.
func decode(raw []byte, within string, into any) error {
	err := json.Unmarshal(raw, into)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := within + wrong.Field
		if wrong.Field == "" {
			field = place(within)
		}
		return unexpected(field, "a JSON "+cut(wrong.Value, 64), jsonName(wrong.Type))
	}
	return unexpected(place(within), fmt.Sprintf("not JSON (%s)", err), documents)
}

// place names the value that decode reads.
func place(within string) string {
	if within == "" {
		return "the message"
	}
	return within[:len(within)-1]
}

func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}
