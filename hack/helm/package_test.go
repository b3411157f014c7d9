// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var testRelease = releaseOptions{version: "v0.1.0-rc.1", image: "registry.example.com/nto@sha256:" + strings.Repeat("0123456789abcdef", 4)}

// TestArchiveIsTheSame packs the chart of two checkouts.
func TestArchiveIsTheSame(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		checkout := t.TempDir()
		if err := os.CopyFS(filepath.Join(checkout, chartFolder), os.DirFS(chart)); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // later, and by somebody with another umask
			path := filepath.Join(checkout, chartFolder, "values.yaml")
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		r := testRelease
		r.dist = filepath.Join(checkout, "dist")
		path, err := pack(checkout, r)
		if err != nil {
			t.Fatal(err)
		}
		if got := filepath.Base(path); got != "node-termination-operator-0.1.0-rc.1.tgz" {
			t.Errorf("the archive is called %s", got)
		}
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two checkouts of the same commit make two archives")
	}
}

// TestArchive renders and lints what a release has.
func TestArchive(t *testing.T) {
	r := testRelease
	r.dist = t.TempDir()
	path, err := pack(root, r)
	if err != nil {
		t.Fatal(err)
	}
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		manifest, notes, err := h.template(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		deployment, err := yaml.Marshal(byName(t, manifest)["Deployment/"+namespace+"/node-termination-manager"])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(deployment), " image: "+r.image+"\n") {
			t.Errorf("the image is not %s:\n%s", r.image, deployment)
		}
		if !strings.Contains(notes, "node-termination-operator v0.1.0-rc.1 ") {
			t.Errorf("the notes do not name the version:\n%s", notes)
		}
		if err := h.lint(path, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusedReleases names what is wrong with a command line.
func TestRefusedReleases(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"package", "--version=0.1.0", "--image=" + testRelease.image}, "write it like v0.1.0"},
		{[]string{"package", "--version=v0.1.0", "--image=registry.example.com/nto:v0.1.0"}, "write it by its digest"},
		{[]string{"package", "--version=v0.1.0"}, "write it by its digest"},
		{[]string{"package", "--tag=v1"}, "helm help lists the flags"},
		{[]string{"package", "v0.1.0"}, "helm help lists the flags"},
		{[]string{"pack"}, "write generate or package"},
	} {
		err := run(test.args, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: the error has no %q: %v", test.args, test.want, err)
		}
	}
}
