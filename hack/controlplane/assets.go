package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// binary is one of the programs that a control plane consists of.
type binary struct {
	name   string
	pkg    string
	module string
}

var binaries = []binary{
	{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", module: "go.etcd.io/etcd/server/v3"},
	{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", module: "k8s.io/kubernetes"},
	{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", module: "k8s.io/kubernetes"},
	{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", module: "k8s.io/kubernetes"},
	{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", module: "k8s.io/kubernetes"},
	{name: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", module: "sigs.k8s.io/kwok"},
}

// version returns the version of a module that go.mod requires, for example v1.36.3.
func version(module string) string {
	for line := range strings.Lines(goMod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return "" // a test checks that each module has one
}

// ensureAssets returns the directory that has all binaries. Unless KUBEBUILDER_ASSETS names one,
// it is the directory of setup-envtest for this version, and what is missing there is built first.
func ensureAssets(ctx context.Context) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		if missing := missingBinaries(dir); len(missing) > 0 {
			return "", fmt.Errorf("KUBEBUILDER_ASSETS=%s lacks %s: unset it to have them built, or name a directory that \"controlplane build\" printed",
				dir, strings.Join(missing, ", "))
		}
		return dir, nil
	}
	home, err := dataHome()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, "kubebuilder-envtest", "k8s",
		fmt.Sprintf("%s-%s-%s", strings.TrimPrefix(version("k8s.io/kubernetes"), "v"), runtime.GOOS, runtime.GOARCH))
	if isBuilt(dir) {
		return dir, nil
	}
	return dir, buildAssets(ctx, dir)
}

// dataHome returns the user's data directory of the XDG base directory specification.
func dataHome() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where to put the binaries? Set HOME or XDG_DATA_HOME: %w", err)
	}
	return filepath.Join(home, ".local", "share"), nil
}

func missingBinaries(dir string) []string {
	var missing []string
	for _, b := range binaries {
		if info, err := os.Stat(filepath.Join(dir, b.name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, b.name)
		}
	}
	return missing
}

// stampFile says which versions the binaries in a directory are: setup-envtest uses the same
// directory, and two versions of kwok or etcd may go with one version of Kubernetes.
const stampFile = "controlplane-versions"

func stamp() string {
	var s strings.Builder
	for _, b := range binaries {
		fmt.Fprintln(&s, b.name, version(b.module))
	}
	return s.String()
}

func isBuilt(dir string) bool {
	got, err := os.ReadFile(filepath.Join(dir, stampFile))
	return err == nil && string(got) == stamp() && len(missingBinaries(dir)) == 0
}
