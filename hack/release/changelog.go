// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// sectionHeading is the first line of what a version brings. https://keepachangelog.com/en/1.1.0/
var sectionHeading = regexp.MustCompile(`(?m)^## \[(\S+)\](?: - (\d{4}-\d\d-\d\d))?$`)

// linkLine is one that says where a version in brackets links to.
var linkLine = regexp.MustCompile(`(?m)^\[\S+\]: \S+$`)

// section is what one version brings.
type section struct {
	version string // without a leading v
	date    string // empty for what is not released
	text    string
}

// sections returns the sections of a changelog, as they are in it.
func sections(changelog string) []section {
	var all []section
	found := sectionHeading.FindAllStringSubmatchIndex(changelog, -1)
	for i, at := range found {
		end := len(changelog)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		s := section{version: changelog[at[2]:at[3]]}
		if at[4] >= 0 {
			s.date = changelog[at[4]:at[5]]
		}
		s.text = strings.TrimSpace(linkLine.ReplaceAllString(changelog[at[1]:end], ""))
		all = append(all, s)
	}
	return all
}

// notes returns the release notes: what the changelog says about this version.
func (s *source) notes() ([]byte, error) {
	changelog, err := os.ReadFile(filepath.Join(s.root, "CHANGELOG.md"))
	if err != nil {
		return nil, fmt.Errorf("cannot write release notes: %w", err)
	}
	version := strings.TrimPrefix(s.version, "v")
	for _, found := range sections(string(changelog)) {
		if found.version != version {
			continue
		}
		if found.date == "" || found.text == "" {
			break
		}
		var notes bytes.Buffer
		fmt.Fprintf(&notes, "%s\n\nCommit %s. checksums.txt has the SHA-256 of each file, image.txt the image's name with its digest.\n", found.text, s.commit)
		return notes.Bytes(), nil
	}
	return nil, fmt.Errorf("CHANGELOG.md has nothing about %s: write what it brings under the heading \"## [%s] - %s\"",
		s.version, version, s.date.Format("2006-01-02"))
}
