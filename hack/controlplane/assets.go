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
	modfile string // which of the modules says the version
}

const (
	kubernetes        = "k8s.io/kubernetes"
	kubernetesRelease = "https://dl.k8s.io/release/VERSION/bin/linux/ARCH/"
)

// binaries are those of the default version, in the order in which they are built: a program that runs comes before kubectl, which
// only talks to them.
var binaries = []binary{
	{"etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3",
		"https://github.com/etcd-io/etcd/releases/download/VERSION/etcd-VERSION-linux-ARCH.tar.gz", "go.mod"},
	{"kube-apiserver", kubernetes + "/cmd/kube-apiserver", kubernetes, kubernetesRelease + "kube-apiserver", "go.mod"},
	{"kube-controller-manager", kubernetes + "/cmd/kube-controller-manager", kubernetes, kubernetesRelease + "kube-controller-manager", "go.mod"},
	{"kube-scheduler", kubernetes + "/cmd/kube-scheduler", kubernetes, kubernetesRelease + "kube-scheduler", "go.mod"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok",
		"https://github.com/kubernetes-sigs/kwok/releases/download/VERSION/kwok-linux-ARCH", "go.mod"},
	{"kubectl", kubernetes + "/cmd/kubectl", kubernetes, kubernetesRelease + "kubectl", "go.mod"},
}

// ensureAssets returns the directory that has all binaries of one version of Kubernetes. Unless KUBEBUILDER_ASSETS names one,
// it is the directory of setup-envtest for this version, and what is missing there is installed first.
func ensureAssets(ctx context.Context, binaries []binary) (string, error) {
	from, err := originFromEnv()
	if err != nil {
		return "", err
	}
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		if missing := missingBinaries(dir, binaries); len(missing) > 0 {
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
		fmt.Sprintf("%s-%s-%s", strings.TrimPrefix(kubernetesVersion(binaries), "v"), runtime.GOOS, runtime.GOARCH))
	if isInstalled(dir, binaries) {
		return dir, nil
	}
	return dir, install(ctx, dir, from, binaries)
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
func missingBinaries(dir string, binaries []binary) []string {
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
func stamp(binaries []binary) string {
	var lines []string
	for _, b := range binaries {
		lines = append(lines, b.stamp())
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// stamp returns the line of a binary in that file.
func (b binary) stamp() string { return fmt.Sprintln(b.name, b.version()) }

// isInstalled reports whether all binaries are in a directory, in these versions.
func isInstalled(dir string, binaries []binary) bool {
	got, err := os.ReadFile(filepath.Join(dir, stampFile))
	return err == nil && string(got) == stamp(binaries) && len(missingBinaries(dir, binaries)) == 0
}

// reuse links those binaries into dir that are installed with another version of Kubernetes, such as etcd and kwok, and
// returns the others. home is the directory with one directory for each version.
func reuse(home, dir string, binaries []binary) (missing []binary) {
	stamps, _ := filepath.Glob(filepath.Join(home, "*", stampFile))
	for _, b := range binaries {
		if !slices.ContainsFunc(stamps, func(path string) bool {
			installed, err := os.ReadFile(path)
			return err == nil && slices.Contains(slices.Collect(strings.Lines(string(installed))), b.stamp()) &&
				os.Link(filepath.Join(filepath.Dir(path), b.name), filepath.Join(dir, b.name)) == nil
		}) {
			missing = append(missing, b)
		}
	}
	return missing
}
