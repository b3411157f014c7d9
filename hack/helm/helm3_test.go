// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/release"
)

// helm3 is Helm v3, which merges what it knows with what there is.
type helm3 struct{ kubeconfig, namespace, release string }

func newHelm3(kubeconfig, namespace, release string) helm {
	return &helm3{kubeconfig, namespace, release}
}

// config returns a configuration for one command, as each is a process of its own.
func (h *helm3) config() (*action.Configuration, error) {
	config := &action.Configuration{}
	if h.kubeconfig == "" {
		return config, nil
	}
	settings := cli.New()
	settings.KubeConfig = h.kubeconfig
	settings.SetNamespace(h.namespace)
	err := config.Init(settings.RESTClientGetter(), h.namespace, "secret", func(string, ...any) {})
	return config, err
}

func (h *helm3) newInstall() (*action.Install, error) {
	config, err := h.config()
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(config)
	install.Namespace, install.ReleaseName = h.namespace, h.release
	return install, nil
}

func (h *helm3) template(chart string, values map[string]any, apis ...string) (manifest, notes string, err error) {
	install, err := h.newInstall()
	if err != nil {
		return "", "", err
	}
	install.DryRun, install.ClientOnly = true, true
	install.APIVersions = chartutil.VersionSet(apis)
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}
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

func (h *helm3) installed(install *action.Install, chart string, values map[string]any) (*release.Release, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	return install.Run(loaded, values)
}

func (h *helm3) lint(chart string, values map[string]any) error {
	lint := action.NewLint()
	lint.Strict, lint.Namespace = true, h.namespace
	return errors.Join(lint.Run([]string{chart}, values).Errors...)
}

func (h *helm3) install(chart string, values map[string]any) (string, error) {
	install, err := h.newInstall()
	if err != nil {
		return "", err
	}
	install.CreateNamespace, install.Wait, install.Timeout = true, true, timeout
	r, err := h.installed(install, chart, values)
	if err != nil {
		return "", err
	}
	return r.Info.Notes, nil
}

func (h *helm3) upgrade(chart string, values map[string]any) (string, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return "", err
	}
	config, err := h.config()
	if err != nil {
		return "", err
	}
	upgrade := action.NewUpgrade(config)
	upgrade.Namespace, upgrade.Wait, upgrade.Timeout = h.namespace, true, timeout
	r, err := upgrade.Run(h.release, loaded, values)
	if err != nil {
		return "", err
	}
	return r.Info.Notes, nil
}

func (h *helm3) rollback(revision int) error {
	config, err := h.config()
	if err != nil {
		return err
	}
	rollback := action.NewRollback(config)
	rollback.Version, rollback.Wait, rollback.Timeout = revision, true, timeout
	return rollback.Run(h.release)
}

func (h *helm3) uninstall() error {
	config, err := h.config()
	if err != nil {
		return err
	}
	uninstall := action.NewUninstall(config)
	uninstall.Wait, uninstall.Timeout = true, timeout
	_, err = uninstall.Run(h.release)
	return err
}
