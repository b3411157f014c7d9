// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestChangelog checks that the changelog is one: https://keepachangelog.com/en/1.1.0/
func TestChangelog(t *testing.T) {
	changelog := readFile(t, "../../CHANGELOG.md")
	found := sections(changelog)
	if headings := strings.Count(changelog, "\n## "); headings != len(found) {
		t.Errorf("%d of %d headings are like \"## [0.1.0] - 2026-11-29\"", len(found), headings)
	}
	if len(found) < 2 || found[0].version != "Unreleased" || found[0].date != "" {
		t.Fatalf("the changelog begins with %+v, want the section Unreleased", found)
	}
	before := ""
	for _, s := range found {
		if !strings.Contains(changelog, "\n["+s.version+"]: https://") {
			t.Errorf("%s has no link at the end", s.version)
		}
		for _, heading := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(s.text, -1) {
			if kinds := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}; !slices.Contains(kinds, heading[1]) {
				t.Errorf("%s: heading %q, want one of %v", s.version, heading[1], kinds)
			}
		}
		if s.version == "Unreleased" {
			continue
		}
		if _, err := time.Parse(time.DateOnly, s.date); err != nil {
			t.Errorf("%s: %v", s.version, err)
		}
		if !versions.MatchString("v" + s.version) {
			t.Errorf("%s is no version", s.version)
		}
		if before != "" && s.date > before {
			t.Errorf("%s is of %s, after the one above it: the newest comes first", s.version, s.date)
		}
		before = s.date
	}
}

func TestNotes(t *testing.T) {
	const changelog = `# Changelog

## [Unreleased]

### Added

- Something.

## [0.3.0]

- Undated.

## [0.2.0] - 2026-12-24

## [0.1.0] - 2026-11-29

The first.

### Added

- All.

[Unreleased]: https://example.com/main
[0.1.0]: https://example.com/0.1.0
`
	root := t.TempDir()
	s := &source{root: root, version: "v0.1.0", commit: "0123abc", date: time.Date(2026, 12, 24, 8, 0, 0, 0, time.UTC)}
	if _, err := s.notes(); err == nil {
		t.Error("notes without a changelog")
	}
	if err := os.WriteFile(filepath.Join(root, "CHANGELOG.md"), []byte(changelog), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "The first.\n\n### Added\n\n- All.\n\nCommit 0123abc. "
	if notes, err := s.notes(); err != nil || !strings.HasPrefix(string(notes), want) || strings.Contains(string(notes), "example.com") {
		t.Errorf("%q, %v, want %q", notes, err, want)
	}
	for _, version := range []string{"v0.2.0", "v0.3.0", "v0.4.0", "v0.1.0-rc.1"} {
		s.version = version
		if notes, err := s.notes(); err == nil || !strings.Contains(err.Error(), `under the heading "## [`+version[1:]+`] - 2026-12-24"`) {
			t.Errorf("%s: %q, %v", version, notes, err)
		}
	}
}
