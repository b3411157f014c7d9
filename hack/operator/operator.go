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
	"syscall"
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
	return build(ctx, path, ".")
}

// BuildWatcher compiles the watcher to path, like Build.
func BuildWatcher(ctx context.Context, path string) error {
	return build(ctx, path, "./controllers/source/imds/imds-watcher")
}

func build(ctx context.Context, path, program string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	return run(ctx, "go", "build", "-C", root, "-o", path, program)
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
	path, err := Kubectl(ctx)
	if err != nil {
		return err
	}
	kubectl := func(args ...string) error {
		// Its cache of what the API server has goes where the control plane's files are, not to the user's home.
		flags := []string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Join(filepath.Dir(kubeconfig), "cache")}
		return run(ctx, path, append(flags, args...)...)
	}
	if err := kubectl("apply", "--server-side", "-k", filepath.Join(root, "hack", "operator")); err != nil {
		return err
	}
	return kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", filepath.Join(root, "config", "crd", "bases"))
}

// Kubectl returns the path of the control plane's kubectl. The control plane is built if it is not yet,
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
	// "go run" does not pass signals on: interrupt all that it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 15 * time.Second
	assets, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building the control plane: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(assets)), "kubectl"), nil
}

// Root returns the directory of this repository, found from the working directory upwards.
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

// run runs a command. Its error has what the command printed to standard error.
func run(ctx context.Context, name string, args ...string) error {
	_, err := exec.CommandContext(ctx, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w:\n%s", err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return nil
}
