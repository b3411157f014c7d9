// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// workflow is what is checked of a GitHub workflow.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses  string
		Steps []struct {
			Uses string
			Run  string
			With map[string]any
		}
	}
}

// pinned is an action by its commit, with the version that it had.
var pinned = regexp.MustCompile(`^\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

// TestWorkflows checks that workflows do nothing that a developer cannot: they call targets of the
// Makefile, and a release besides signs and uploads what these have made.
func TestWorkflows(t *testing.T) {
	makefile := readFile(t, "../../Makefile")
	files, err := filepath.Glob("../../.github/workflows/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows %v, %v", files, err)
	}
	for _, file := range files {
		programs := []string{"make"}
		if filepath.Base(file) == "release.yaml" {
			programs = append(programs, "cosign", "gh", "echo")
		}
		text := readFile(t, file)
		for line := range strings.Lines(text) {
			if line = strings.TrimRight(line, "\n"); strings.Contains(line, "uses: ") && !strings.Contains(line, "uses: ./") && !pinned.MatchString(line) {
				t.Errorf("%s: %q, want a commit and its version: owner/action@commit # v1.2.3", file, line)
			}
		}
		var w workflow
		if err := yaml.Unmarshal([]byte(text), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions %v, want contents: read; a job asks for more", file, w.Permissions)
		}
		for name, job := range w.Jobs {
			if job.Uses == "" && len(job.Steps) == 0 {
				t.Errorf("%s: job %s does nothing", file, name)
			}
			for _, step := range job.Steps {
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves its token in the checkout", file, name)
				}
				words := strings.Fields(step.Run)
				if len(words) == 0 {
					continue
				}
				if !slices.Contains(programs, words[0]) || strings.Contains(strings.TrimSpace(step.Run), "\n") {
					t.Errorf("%s: job %s runs %q, want one line that begins with one of %v", file, name, step.Run, programs)
				}
				if words[0] == "make" && (len(words) != 2 || !strings.Contains(makefile, "\n"+words[1]+":")) {
					t.Errorf("%s: job %s runs %q, want \"make\" and a target", file, name, step.Run)
				}
			}
		}
	}
}
