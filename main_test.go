// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for text, want := range map[string]int64{"": math.MaxInt64, "268435456": 241591910, "100": 90} {
		if got, err := memoryLimit(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"256Mi", "0", "-1", "1e9", " "} {
		if got, err := memoryLimit(text); err == nil || !strings.Contains(err.Error(), "limits.memory") {
			t.Errorf("%q: %d, %v; want an error that says what to write", text, got, err)
		}
	}
}
