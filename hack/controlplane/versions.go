package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// modules are the module files that say what to build: go.mod for the default version of everything, and for each other
// minor version of Kubernetes one in the folder kubernetes. etcd and kwok are always those of go.mod.
//
//go:embed go.mod go.sum kubernetes
var modules embed.FS

// version returns the version of a binary, for example v1.36.3.
func (b binary) version() string {
	content, _ := modules.ReadFile(b.modfile)
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == b.module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return "" // a test checks that each has one
}

// kubernetesVersion returns the version of those binaries that are Kubernetes'.
func kubernetesVersion(binaries []binary) string {
	return binaries[slices.IndexFunc(binaries, func(b binary) bool { return b.module == kubernetes })].version()
}

// kubernetesVersions returns the versions of Kubernetes that can be installed, in order.
func kubernetesVersions() []string {
	versions := []string{kubernetesVersion(binaries)}
	files, _ := fs.Glob(modules, "kubernetes/*.mod")
	for _, file := range files {
		versions = append(versions, binary{module: kubernetes, modfile: file}.version())
	}
	slices.Sort(versions)
	return versions
}

// binariesFor returns the binaries for a version of Kubernetes such as 1.34, v1.34 or v1.34.4, or those of the default
// version for "".
func binariesFor(version string) ([]binary, error) {
	if version == "" {
		return binaries, nil
	}
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return nil, fmt.Errorf("--kubernetes=%s, but KUBEBUILDER_ASSETS=%s says which programs to run: unset one of them", version, dir)
	}
	wanted := "v" + strings.TrimPrefix(version, "v")
	known := kubernetesVersions()
	i := slices.IndexFunc(known, func(v string) bool { return wanted == v || wanted == minor(v) })
	if i < 0 {
		return nil, fmt.Errorf("--kubernetes=%s: use one of %s, or add its module file to hack/controlplane/kubernetes as CONTRIBUTING.md says",
			version, strings.Join(known, ", "))
	}
	if known[i] == kubernetesVersion(binaries) {
		return binaries, nil
	}
	selected := slices.Clone(binaries)
	for j := range selected {
		if selected[j].module == kubernetes {
			selected[j].modfile = path.Join("kubernetes", strings.TrimPrefix(minor(known[i]), "v")+".mod")
		}
	}
	return selected, nil
}

// minor returns the first two parts of a version, for example v1.34 of v1.34.4.
func minor(version string) string { return version[:strings.LastIndex(version, ".")] }
