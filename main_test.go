// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
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

// TestSecurityNamesTests: each test that SECURITY.md names is there.
func TestSecurityNamesTests(t *testing.T) {
	page, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 20 {
		t.Errorf("SECURITY.md names %d tests", len(named))
	}
	var tests strings.Builder
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		tests.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range named {
		if !strings.Contains(tests.String(), "\nfunc "+match[1]+"(t *testing.T)") {
			t.Errorf("SECURITY.md names %s, and there is no such test", match[1])
		}
	}
}
