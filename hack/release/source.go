// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// source is what is built: everything in an image follows from it.
type source struct {
	root    string
	version string
	commit  string
	// date is when it was committed: the only time that is written anywhere.
	date time.Time
}

// versions are what a release may be called. https://semver.org
var versions = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z][0-9A-Za-z.-]*)?$`)

// newSource returns what a checkout holds. A release has to be of a commit alone: what was
// changed since is refused, as nobody could build the same again.
func newSource(ctx context.Context, root, version string) (*source, error) {
	if version != "" && !versions.MatchString(version) {
		return nil, fmt.Errorf("version %q: write it like v0.1.0 or v0.1.0-rc.1", version)
	}
	commit, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, err
	}
	hash, at, _ := strings.Cut(commit, " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("git log said %q: %w", commit, err)
	}
	changed, err := git(ctx, root, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return nil, err
	}
	if changed != "" {
		if version != "" {
			return nil, fmt.Errorf("version %s: commit or stash the changes of the working tree first:\n%s", version, changed)
		}
		hash += "-dirty"
	}
	if version == "" {
		version = "v0.0.0-" + hash[:12]
		if changed != "" {
			version += "-dirty"
		}
	}
	return &source{root: root, version: version, commit: hash, date: time.Unix(seconds, 0).UTC()}, nil
}

// git returns what a git command prints.
func git(ctx context.Context, root string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], errors.Join(err, errors.New(strings.TrimSpace(stderr.String()))))
	}
	return strings.TrimSpace(string(out)), nil
}
