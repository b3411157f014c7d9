package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// binary is one of the programs that a control plane consists of.
type binary struct {
	name    string
	pkg     string
	module  string
	release string // where its project publishes it, with VERSION and ARCH to be replaced
}

const (
	kubernetes        = "k8s.io/kubernetes"
	kubernetesRelease = "https://dl.k8s.io/release/VERSION/bin/linux/ARCH/"
)

// binaries are in the order in which they are built: a program that runs comes before kubectl, which
// only talks to them.
var binaries = []binary{
	{"etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3",
		"https://github.com/etcd-io/etcd/releases/download/VERSION/etcd-VERSION-linux-ARCH.tar.gz"},
	{"kube-apiserver", kubernetes + "/cmd/kube-apiserver", kubernetes, kubernetesRelease + "kube-apiserver"},
	{"kube-controller-manager", kubernetes + "/cmd/kube-controller-manager", kubernetes, kubernetesRelease + "kube-controller-manager"},
	{"kube-scheduler", kubernetes + "/cmd/kube-scheduler", kubernetes, kubernetesRelease + "kube-scheduler"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok",
		"https://github.com/kubernetes-sigs/kwok/releases/download/VERSION/kwok-linux-ARCH"},
	{"kubectl", kubernetes + "/cmd/kubectl", kubernetes, kubernetesRelease + "kubectl"},
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
// it is the directory of setup-envtest for this version, and what is missing there is installed first.
func ensureAssets(ctx context.Context) (string, error) {
	from, err := originFromEnv()
	if err != nil {
		return "", err
	}
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		if missing := missingBinaries(dir); len(missing) > 0 {
			return "", fmt.Errorf("KUBEBUILDER_ASSETS=%s lacks %s: unset it to have them downloaded or built, or name a directory that \"controlplane build\" printed",
				dir, strings.Join(missing, ", "))
		}
		return dir, nil
	}
	home, err := dataHome()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, "kubebuilder-envtest", "k8s",
		fmt.Sprintf("%s-%s-%s", strings.TrimPrefix(version(kubernetes), "v"), runtime.GOOS, runtime.GOARCH))
	if isInstalled(dir) {
		return dir, nil
	}
	return dir, install(ctx, dir, from)
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

// missingBinaries returns the names of those that a directory lacks.
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

// stamp returns the content of that file, which does not depend on the order in which they are built.
func stamp() string {
	var lines []string
	for _, b := range binaries {
		lines = append(lines, fmt.Sprintln(b.name, version(b.module)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// isInstalled reports whether all binaries are in a directory, in the versions of go.mod.
func isInstalled(dir string) bool {
	got, err := os.ReadFile(filepath.Join(dir, stampFile))
	return err == nil && string(got) == stamp() && len(missingBinaries(dir)) == 0
}
