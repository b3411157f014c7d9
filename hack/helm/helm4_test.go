// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
)

// helm4 is Helm v4, which applies on the server's side.
type helm4 struct{ kubeconfig, namespace, release string }

func newHelm4(kubeconfig, namespace, release string) helm {
	return &helm4{kubeconfig, namespace, release}
}

// config returns a configuration for one command, as each is a process of its own.
func (h *helm4) config() (*action.Configuration, error) {
	config := action.NewConfiguration()
	if h.kubeconfig == "" {
		return config, nil
	}
	settings := cli.New()
	settings.KubeConfig = h.kubeconfig
	settings.SetNamespace(h.namespace)
	err := config.Init(settings.RESTClientGetter(), h.namespace, "secret")
	return config, err
}

func (h *helm4) newInstall() (*action.Install, error) {
	config, err := h.config()
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(config)
	install.Namespace, install.ReleaseName = h.namespace, h.release
	return install, nil
}

func (h *helm4) template(chart string, values map[string]any, apis ...string) (manifest, notes string, err error) {
	install, err := h.newInstall()
	if err != nil {
		return "", "", err
	}
	install.DryRunStrategy = action.DryRunClient
	install.APIVersions = common.VersionSet(apis)
	install.KubeVersion = &common.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}
	r, err := h.installed(install, chart, values)
	if err != nil {
		return "", "", err
	}
	manifest = r.Manifest
	for _, hook := range r.Hooks {
		manifest += "\n---\n" + hook.Manifest
	}
	return manifest, r.Info.Notes, nil
}

func (h *helm4) installed(install *action.Install, chart string, values map[string]any) (*releasev1.Release, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	return releaseOf(install.Run(loaded, values))
}

// releaseOf returns the release as all versions of Helm's charts have had it until now.
func releaseOf(released release.Releaser, err error) (*releasev1.Release, error) {
	if err != nil {
		return nil, err
	}
	r, ok := released.(*releasev1.Release)
	if !ok {
		return nil, fmt.Errorf("a release is a %T", released)
	}
	return r, nil
}

func (h *helm4) lint(chart string, values map[string]any) error {
	lint := action.NewLint()
	lint.Strict, lint.Namespace = true, h.namespace
	return errors.Join(lint.Run([]string{chart}, values).Errors...)
}

func (h *helm4) install(chart string, values map[string]any) (string, error) {
	install, err := h.newInstall()
	if err != nil {
		return "", err
	}
	install.CreateNamespace, install.WaitStrategy, install.Timeout = true, kube.StatusWatcherStrategy, timeout
	r, err := h.installed(install, chart, values)
	if err != nil {
		return "", err
	}
	return r.Info.Notes, nil
}

func (h *helm4) upgrade(chart string, values map[string]any) (string, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return "", err
	}
	config, err := h.config()
	if err != nil {
		return "", err
	}
	upgrade := action.NewUpgrade(config)
	upgrade.Namespace, upgrade.WaitStrategy, upgrade.Timeout = h.namespace, kube.StatusWatcherStrategy, timeout
	r, err := releaseOf(upgrade.Run(h.release, loaded, values))
	if err != nil {
		return "", err
	}
	return r.Info.Notes, nil
}

func (h *helm4) rollback(revision int) error {
	config, err := h.config()
	if err != nil {
		return err
	}
	rollback := action.NewRollback(config)
	rollback.Version, rollback.WaitStrategy, rollback.Timeout = revision, kube.StatusWatcherStrategy, timeout
	return rollback.Run(h.release)
}

func (h *helm4) uninstall() error {
	config, err := h.config()
	if err != nil {
		return err
	}
	uninstall := action.NewUninstall(config)
	uninstall.WaitStrategy, uninstall.Timeout = kube.StatusWatcherStrategy, timeout
	_, err = uninstall.Run(h.release)
	return err
}

// timeout bounds what Helm waits for, which takes seconds.
const timeout = 2 * time.Minute
