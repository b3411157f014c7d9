// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const releasedImage = "registry.example.com/node-termination-operator:v0.1.0"

// TestRelease makes a release in two clones that have nothing in common but the commit, and compares
// all that it has made.
func TestRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the programs for all platforms")
	}
	first := makeRelease(t, cloneHead(t, filepath.Join(t.TempDir(), "a")))
	t.Setenv("TZ", "Asia/Kolkata")
	t.Setenv("GOFLAGS", "-race")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOFIPS140", "latest")
	t.Setenv("CGO_ENABLED", "1")
	defer syscall.Umask(syscall.Umask(0o077))
	second := makeRelease(t, cloneHead(t, filepath.Join(t.TempDir(), "another place", "b")))

	names := fileNames(t, first)
	want := []string{
		"checksums.txt", "crds.yaml", "image.tar", "image.txt", "install.yaml", "node-termination-operator-0.1.0.tgz", "release-notes.md",
		"sbom-linux-amd64.cdx.json", "sbom-linux-arm64.cdx.json", "sbom-windows-amd64.cdx.json",
	}
	if !slices.Equal(names, want) || !slices.Equal(fileNames(t, second), want) {
		t.Errorf("files %v and %v, want %v", names, fileNames(t, second), want)
	}
	for _, file := range names {
		if readFile(t, filepath.Join(first, file)) != readFile(t, filepath.Join(second, file)) {
			t.Errorf("%s is not the same in both", file)
		}
	}
	checkChecksums(t, first)
	checkImage(t, first)
	if notes := readFile(t, filepath.Join(first, "release-notes.md")); !strings.HasPrefix(notes, "The first release.") {
		t.Errorf("release notes %q", notes)
	}
}

// TestColdCache compares a program that nothing was compiled for before with the same out of the
// user's cache: the smaller one, for what both need takes minutes.
func TestColdCache(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program from nothing")
	}
	var built [][]byte
	for _, place := range []string{"a", "another place"} {
		s, err := newSource(t.Context(), cloneHead(t, filepath.Join(t.TempDir(), place)), "")
		if err != nil {
			t.Fatal(err)
		}
		file, err := s.build(t.Context(), programs[1], platforms[0], t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		built = append(built, []byte(readFile(t, file)))
		t.Setenv("GOCACHE", t.TempDir())
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("%s is another one with a new cache", programs[1].name)
	}
}

// cloneHead clones this repository as it is now, with what is not committed in a commit of its own,
// and returns the folder.
func cloneHead(t *testing.T, folder string) string {
	t.Helper()
	commit := gitOutput(t, "../..", "stash", "create")
	if commit == "" {
		commit = gitOutput(t, "../..", "rev-parse", "HEAD")
	}
	gitOutput(t, "../..", "clone", "--quiet", "--shared", "--no-checkout", ".", folder)
	gitOutput(t, folder, "checkout", "--quiet", "--detach", commit)
	return folder
}

func gitOutput(t *testing.T, folder string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = folder
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// makeRelease makes a release in a clone, and returns the folder with its files.
func makeRelease(t *testing.T, root string) string {
	t.Helper()
	dist := filepath.Join(root, "dist")
	args := []string{"all", "--root=" + root, "--dist=" + dist, "--version=v0.1.0", "--image=" + releasedImage}
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	// dist is ignored by git, so that only its files keep a second run from the same.
	if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), "empty it first, it has checksums.txt") {
		t.Errorf("a release into the same folder: %v", err)
	}
	return dist
}

func fileNames(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// checkChecksums checks that checksums.txt has each other file, as "sha256sum --check" reads it.
func checkChecksums(t *testing.T, dist string) {
	t.Helper()
	var want strings.Builder
	for _, file := range fileNames(t, dist) {
		if file != "checksums.txt" {
			fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256([]byte(readFile(t, filepath.Join(dist, file)))), file)
		}
	}
	if got := readFile(t, filepath.Join(dist, "checksums.txt")); got != want.String() {
		t.Errorf("checksums\n%s\nwant\n%s", got, want.String())
	}
}

// checkImage checks that what is installed is the image that was made.
func checkImage(t *testing.T, dist string) {
	t.Helper()
	b, err := read(filepath.Join(dist, imageFile), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := b.index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	image := releasedImage + "@" + digest.String()
	if got := readFile(t, filepath.Join(dist, "image.txt")); got != image+"\n" {
		t.Errorf("image.txt has %q, want %s", got, image)
	}
	if install := readFile(t, filepath.Join(dist, "install.yaml")); !strings.Contains(install, "image: "+image+"\n") {
		t.Errorf("install.yaml does not have the image %s", image)
	}
}

// TestSource checks what is released: a commit and nothing else.
func TestSource(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(version, want string) {
		t.Helper()
		if _, err := newSource(t.Context(), root, version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	commit := func() {
		t.Helper()
		gitOutput(t, root, "add", ".")
		gitOutput(t, root, "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=test")
	}
	refused("v0.1.0", "--root: name the repository's root")
	write("go.mod", "module example.com/test\n")
	refused("v0.1.0", `go.mod: add the line "toolchain goX.Y.Z"`)
	write("go.mod", "module example.com/test\n\ntoolchain go1.26.8\n")
	gitOutput(t, root, "init", "--quiet")
	refused("v0.1.0", "git log:")
	commit()
	gitOutput(t, root, "tag", "v0.1.0")
	for _, version := range []string{"v0.1.0", "v0.2.0-rc.1"} {
		if s, err := newSource(t.Context(), root, version); err != nil || s.version != version || s.toolchain != "go1.26.8" {
			t.Errorf("%+v, %v", s, err)
		}
	}
	write("new.go", "package test\n")
	refused("v0.2.0", "commit, stash or remove what differs from the commit first:\n?? new.go")
	if s, err := newSource(t.Context(), root, ""); err != nil || !strings.HasSuffix(s.version, "-dirty") || !strings.HasSuffix(s.commit, "-dirty") {
		t.Errorf("%+v, %v", s, err)
	}
	commit()
	refused("v0.1.0", "check the tag out, or choose the next version")
	for _, version := range []string{"0.1.0", "v1", "v01.0.0", "v1.0.0+meta", "latest"} {
		refused(version, "write it like v0.1.0 or v0.1.0-rc.1")
	}
}
