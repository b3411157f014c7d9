// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	// toolchain is the version of Go in go.mod that compiles everything: another one makes other bytes.
	toolchain string
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
	toolchain, err := toolchainOf(root)
	if err != nil {
		return nil, err
	}
	head, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, err
	}
	commit, at, _ := strings.Cut(head, " ")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("git log said %q: %w", head, err)
	}
	changed, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return nil, err
	}
	switch {
	case version != "" && changed != "":
		return nil, fmt.Errorf("version %s: commit, stash or remove what differs from the commit first:\n%s", version, changed)
	case version != "":
		if err := checkTag(ctx, root, version, commit); err != nil {
			return nil, err
		}
	default:
		version = "v0.0.0-" + commit[:12]
		if changed != "" {
			commit, version = commit+"-dirty", version+"-dirty"
		}
	}
	return &source{root: root, version: version, commit: commit, toolchain: toolchain, date: time.Unix(seconds, 0).UTC()}, nil
}

// toolchainLine is the line of go.mod with the version of Go.
var toolchainLine = regexp.MustCompile(`(?m)^toolchain (go\S+)$`)

// toolchainOf returns the version of Go that the repository is built with.
func toolchainOf(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("--root: name the repository's root: %w", err)
	}
	found := toolchainLine.FindSubmatch(data)
	if found == nil {
		return "", errors.New("go.mod: add the line \"toolchain goX.Y.Z\", the version of Go that everybody builds with")
	}
	return string(found[1]), nil
}

// checkTag returns an error if the tag of a version is on another commit.
func checkTag(ctx context.Context, root, version, commit string) error {
	tagged, err := git(ctx, root, "for-each-ref", "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)", "refs/tags/"+version)
	if err != nil {
		return err
	}
	if tagged != "" && tagged != commit {
		return fmt.Errorf("version %s: its tag is on commit %s, not on %s: check the tag out, or choose the next version", version, tagged, commit)
	}
	return nil
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
