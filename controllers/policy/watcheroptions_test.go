// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestWatcherServiceAccount(t *testing.T) {
	t.Parallel()
	for manager, want := range map[string]string{
		"": "imds-watcher", "node-termination-manager": "imds-watcher", "elsewhere": "imds-watcher",
		"prod-node-termination-manager": "prod-imds-watcher", "node-termination-manager-2": "imds-watcher-2",
	} {
		if got := WatcherServiceAccount(manager); got != want {
			t.Errorf("%q: %s, want %s", manager, got, want)
		}
	}
}

func TestWatcherOptions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options WatcherOptions
		says    string // empty: they are valid
	}{
		"no watchers":         {WatcherOptions{}, ""},
		"as installed":        {watchers, ""},
		"with an environment": {WatcherOptions{Namespace: "watchers", ServiceAccount: "prod-imds-watcher", Env: []string{"HTTPS_PROXY", "no_proxy", "_A1"}}, ""},
		"one namespace":       {WatcherOptions{Namespace: "system", ServiceAccount: watcher}, "Pod Security"},
		"another account":     {WatcherOptions{Namespace: "watchers", ServiceAccount: "default"}, "write a name with imds-watcher in it"},
		"an empty name":       {WatcherOptions{Namespace: "watchers", ServiceAccount: watcher, Env: []string{"A", ""}}, "HTTPS_PROXY,NO_PROXY"},
		"a value":             {WatcherOptions{Namespace: "watchers", ServiceAccount: watcher, Env: []string{"A=b"}}, `"A=b"`},
		"a blank":             {WatcherOptions{Namespace: "watchers", ServiceAccount: watcher, Env: []string{"A", " B"}}, `" B"`},
		"the node's name":     {WatcherOptions{Namespace: "watchers", ServiceAccount: watcher, Env: []string{"NODE_NAME"}}, "leave it out"},
		"twice":               {WatcherOptions{Namespace: "watchers", ServiceAccount: watcher, Env: []string{"A", "B", "A"}}, "A twice"},
	} {
		err := test.options.Validate("system")
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
}

// TestEnvironmentIsTheManagersOwn, as its container has it: "$(…)" is for the kubelet.
func TestEnvironmentIsTheManagersOwn(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Get(t).CreateNamespace(t), Name: "manager"}}
	pod.Spec.Containers = []corev1.Container{{Name: "manager", Image: image, Env: []corev1.EnvVar{
		{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "PROXY", Value: "http://$(POD_NAME):3128"}, {Name: "EMPTY"}, {Name: "OTHER", Value: "a"},
	}}}
	create(t, pod)
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	for name, test := range map[string]struct {
		names []string
		pod   types.NamespacedName
		want  []corev1.EnvVar
		says  string
	}{
		"none":       {nil, types.NamespacedName{}, nil, ""},
		"two":        {[]string{"EMPTY", "PROXY"}, key, []corev1.EnvVar{{Name: "EMPTY"}, {Name: "PROXY", Value: "http://$(POD_NAME):3128"}}, ""},
		"not set":    {[]string{"PROXY", "UNSET"}, key, nil, "--watcher-env has UNSET"},
		"no value":   {[]string{"POD_NAME"}, key, nil, "not with valueFrom"},
		"in no pod":  {[]string{"PROXY"}, types.NamespacedName{}, nil, "POD_NAME and POD_NAMESPACE"},
		"in another": {[]string{"PROXY"}, types.NamespacedName{Namespace: pod.Namespace, Name: "gone"}, nil, "there is no pod"},
	} {
		r := &Reconciler{Live: admin(t), Watchers: WatcherOptions{Namespace: "watchers", Image: "given", Env: test.names}, Pod: test.pod}
		got, err := r.watcherSettings(t.Context())
		if diff := cmp.Diff(test.want, got.env); diff != "" {
			t.Errorf("%s: environment (-want +got):\n%s", name, diff)
		}
		if test.says == "" && err != nil || test.says != "" && (!errors.Is(err, errConfiguration) || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
	if _, err := (&Reconciler{}).watcherSettings(t.Context()); !errors.Is(err, errNoWatchers) {
		t.Errorf("without a namespace: %v", err)
	}
}

// TestWatchersHaveTheEnvironment and the names that are given.
func TestWatchersHaveTheEnvironment(t *testing.T) {
	t.Parallel()
	ds := watcherSet(t, watcherSettings{"others", "prod-imds-watcher", "example.com/other", []corev1.EnvVar{{Name: "EMPTY"}, {Name: "PROXY", Value: "$(A)"}}})
	pod := ds.Spec.Template.Spec
	if ds.Namespace != "others" || pod.ServiceAccountName != "prod-imds-watcher" || pod.Containers[0].Image != "example.com/other" {
		t.Errorf("DaemonSet in %s with account %s and image %s", ds.Namespace, pod.ServiceAccountName, pod.Containers[0].Image)
	}
	if diff := cmp.Diff([]corev1.EnvVar{{Name: "EMPTY"}, {Name: "PROXY", Value: "$(A)"}}, pod.Containers[0].Env[1:]); diff != "" {
		t.Errorf("environment after NODE_NAME (-want +got):\n%s", diff)
	}
}
