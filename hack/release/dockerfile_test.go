// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDockerfile checks that an image made with a container engine has the same programs, versions,
// user and entry point, and that all they are made of is copied.
func TestDockerfile(t *testing.T) {
	dockerfile := readFile(t, "../../Dockerfile")
	for _, p := range programs {
		build := regexp.MustCompile(`go build [^&\n]*-trimpath -ldflags "\$LDFLAGS" -o /out/` + p.name + ` ` + regexp.QuoteMeta(p.folder) + `(\s|$)`)
		if !build.MatchString(dockerfile) {
			t.Errorf("the Dockerfile does not build %s from %s", p.name, p.folder)
		}
		if !regexp.MustCompile(`(?m)^COPY --from=build .*/out/` + p.name + `\b`).MatchString(dockerfile) {
			t.Errorf("the Dockerfile's image does not have %s", p.name)
		}
	}
	if n := strings.Count(dockerfile, " -o /out/"); n != len(programs) {
		t.Errorf("the Dockerfile builds %d programs, want %d", n, len(programs))
	}
	for _, variable := range []string{"version", "commit", "date"} {
		if set := "-X " + versionPackage + "." + variable + "=$" + strings.ToUpper(variable); !strings.Contains(dockerfile, set) {
			t.Errorf("the Dockerfile does not say %s", set)
		}
	}
	for _, line := range []string{"USER " + user, `ENTRYPOINT ["/` + programs[0].name + `"]`} {
		if !strings.Contains(dockerfile, "\n"+line+"\n") {
			t.Errorf("the Dockerfile does not say %s", line)
		}
	}
	toolchain, err := toolchainOf("../..")
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`FROM \S+ golang:(\S+) AS build`).FindStringSubmatch(dockerfile)
	if len(from) < 2 || !strings.HasPrefix(toolchain+".", "go"+from[1]+".") {
		t.Errorf("the Dockerfile builds with %q, want %s as in go.mod", from, toolchain)
	}
}

// TestDockerfileCopies checks that each package of the programs is copied to where it is built, and
// reaches the container engine at all.
func TestDockerfileCopies(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var copied []string
	for _, line := range regexp.MustCompile(`(?m)^COPY ([^-\n].*) \S+$`).FindAllStringSubmatch(readFile(t, "../../Dockerfile"), -1) {
		copied = append(copied, strings.Fields(line[1])...)
	}
	ignore := readFile(t, "../../.dockerignore")
	for _, file := range copied {
		if !strings.Contains(ignore, "\n!"+file+"\n") {
			t.Errorf(".dockerignore keeps %s from the container engine", file)
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}")
	for _, p := range programs {
		list.Args = append(list.Args, p.folder)
	}
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	folders := strings.Fields(string(out))
	if len(folders) < 10 {
		t.Fatalf("go list found the packages %v only", folders)
	}
	for _, folder := range folders {
		relative, err := filepath.Rel(root, folder)
		if err != nil {
			t.Fatal(err)
		}
		if top, _, _ := strings.Cut(filepath.ToSlash(relative), "/"); top != "." && !slices.Contains(copied, top) {
			t.Errorf("the Dockerfile does not copy %s", relative)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
