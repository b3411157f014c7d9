// SPDX-License-Identifier: Apache-2.0

// Package operator runs the operator as a process beside a cluster instead of in it: bin/manager,
// with a service account's token, the rights and the arguments that config/default gives its pods.
// A right or a flag that is missing there is missing here.
//
//	err := operator.Build(ctx, "bin/manager")                // once
//	err = operator.Install(ctx, kubeconfig)                  // once a cluster
//	p, err := operator.Start(ctx, operator.Options{Binary: "bin/manager", Kubeconfig: kubeconfig, ...})
//	defer p.Stop()
//
// Linux only, like the control plane of hack/controlplane.
package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Where config/default puts the operator.
const (
	Namespace      = "node-termination-system"
	ServiceAccount = "node-termination-manager"
	Deployment     = "node-termination-manager"
)

// installTimeout bounds Install, which takes seconds.
const installTimeout = 2 * time.Minute

// Build compiles the manager of this repository to path. If the file there is up to date, it is
// left alone. Not to be called by several processes for one path at a time.
func Build(ctx context.Context, path string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	_, err = output(ctx, "go", "build", "-C", root, "-o", path, ".")
	return err
}

// Install applies config/default to the cluster as "kubectl apply -k" would, with a Deployment of no
// replicas, and returns when the custom resources are served. It is given an administrator's
// kubeconfig. Applying it again updates what is there.
func Install(ctx context.Context, kubeconfig string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	root, err := Root()
	if err != nil {
		return err
	}
	kubectl, err := Kubectl(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "hack", "operator")
	if _, err = output(ctx, kubectl, "--kubeconfig", kubeconfig, "apply", "--server-side", "-k", dir); err != nil {
		return err
	}
	_, err = output(ctx, kubectl, "--kubeconfig", kubeconfig, "wait", "--for=condition=Established", "--timeout=60s", "-f", filepath.Join(root, "config", "crd", "bases"))
	return err
}

// Kubectl is the path of the control plane's kubectl. The control plane is built if it is not yet,
// which takes minutes and is reported on standard error.
func Kubectl(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "run", ".", "build")
	cmd.Dir = filepath.Join(root, "hack", "controlplane")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	assets, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building the control plane: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(assets)), "kubectl"), nil
}

// Root is the directory of this repository, found from the working directory upwards.
func Root() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "hack", "operator", "kustomization.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no hack/operator in %s or above: run this inside the repository", wd)
		}
	}
}

// output runs a command and returns what it prints. Its error has what the command said was wrong.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w:\n%s", err, bytes.TrimSpace(exit.Stderr))
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return string(out), nil
}
