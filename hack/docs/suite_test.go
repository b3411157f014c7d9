// SPDX-License-Identifier: Apache-2.0

// Package docs runs what the documentation tells people to type: every command of every page, in the order of the page,
// on a control plane with the operator installed. A block of code without a language is commands; what is none has the
// language text. The commands of Helm are run by hack/helm.
//
// What needs more than a control plane has a stand-in: aws, cosign and gh note how they are called, which is compared
// with what these programs know; make runs what takes seconds, and has to have a target for the rest.
package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

const root = "../.."

var (
	cluster = testcluster.Shared{}
	// dir is for this run of the tests: the copy of the repository in which the commands run, the programs that stand in, and their calls.
	dir string
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code, err := runSuite(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	if dir, err = os.MkdirTemp("", "docs-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster.SetUp = func(*testcluster.Cluster) error { return setUp(context.Background()) }
	return cluster.Main(m), nil
}

// setUp makes the copy and the programs.
func setUp(ctx context.Context) error {
	kubectl, err := operator.Kubectl(ctx)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		return err
	}
	copied := filepath.Join(dir, "repository")
	for _, name := range []string{"config", "docs", "hack"} {
		if err := os.CopyFS(filepath.Join(copied, name), os.DirFS(filepath.Join(root, name))); err != nil {
			return err
		}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err
	}
	noted := "#!/bin/sh\n" + `printf '%s\0' "${0##*/}" "$@" >"$(mktemp "` + dir + `/calls/XXXXXX")"` + "\n"
	files := map[string]string{
		"repository/Makefile": string(makefile),
		// A release is the manifests of this commit.
		"bin/kubectl": "#!/bin/bash\n" + fmt.Sprintf("exec %q \"${@/#%s/%s/release}\"\n", kubectl, `https:\/\/github.com\/nodetermination\/operator\/releases\/download\/v0.1.0`, dir),
		"bin/make":    fmt.Sprintf(makeScript, bin),
		"bin/helm":    "#!/bin/sh\n",
		"bin/aws":     noted,
		"bin/cosign":  noted,
		"bin/gh":      noted,
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return err
		}
	}
	release := filepath.Join(dir, "release")
	for _, folder := range []string{release, filepath.Join(dir, "calls")} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	manifests, err := exec.CommandContext(ctx, kubectl, "kustomize", filepath.Join(copied, "config", "default")).Output()
	if err != nil {
		return fmt.Errorf("kubectl kustomize config/default: %w", err)
	}
	return os.WriteFile(filepath.Join(release, "install.yaml"), manifests, 0o644)
}

// makeScript runs what takes seconds, in the given folder for built programs. Of the rest it knows only whether there is such a target.
const makeScript = `#!/bin/bash
case "$1" in build-installer|undeploy) exec /usr/bin/make BIN=%q KUBECTL=kubectl "$@" ;; esac
for target; do
  case "$target" in *=*) continue ;; esac
  grep -q "^$target:" Makefile || { echo "the Makefile has no target $target" >&2; exit 2; }
done
`

// shell runs a script as whoever reads the documentation does, in the copy of the repository, and returns what it prints.
func shell(t *testing.T, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = filepath.Join(dir, "repository")
	cmd.Env = append(os.Environ(),
		"PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "KUBECONFIG="+cluster.Get(t).Kubeconfig(), "KUBECACHEDIR="+filepath.Join(dir, "cache"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return stdout.String(), nil
}
