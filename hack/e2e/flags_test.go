// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodetermination/operator/hack/operator"
)

// TestBadStarts: a manager that cannot run says why in its last line, without a stack trace, and
// ends with an exit code that is not 0.
func TestBadStarts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	dir := t.TempDir()
	away := filepath.Join(dir, "away.kubeconfig")
	const kubeconfig = `{"apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a"}}],
		"clusters": [{"name": "a", "cluster": {"server": "http://ADDRESS"}}]}`
	if err := os.WriteFile(away, []byte(strings.ReplaceAll(kubeconfig, "ADDRESS", nobody.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	const inCluster = "--leader-election-namespace=" + operator.Namespace

	for _, test := range []struct {
		name, kubeconfig string
		args             []string
		want             []string // in the last line
	}{
		{"unknown flag", cluster.Get(t).Kubeconfig(), []string{"--leader-elekt"}, []string{"leader-elekt", "-help"}},
		{"bad value", cluster.Get(t).Kubeconfig(), []string{"--leader-elect=perhaps"}, []string{`"perhaps"`, "leader-elect"}},
		{"argument", cluster.Get(t).Kubeconfig(), []string{"run"}, []string{`"run"`, "flags"}},
		{"log format", cluster.Get(t).Kubeconfig(), []string{"--log-format=xml"}, []string{`"xml"`, "json or console"}},
		{"log level", cluster.Get(t).Kubeconfig(), []string{"--log-level=loud"}, []string{`"loud"`, "debug, info or error"}},
		{"bad address", cluster.Get(t).Kubeconfig(), []string{inCluster, "--health-probe-bind-address=nowhere"}, []string{"nowhere"}},
		{"address taken", cluster.Get(t).Kubeconfig(), []string{inCluster, "--health-probe-bind-address=" + taken.Addr().String()}, []string{"address already in use"}},
		{"no eviction at all", cluster.Get(t).Kubeconfig(), []string{"--max-evictions-in-flight=0"}, []string{"--max-evictions-in-flight=0", "write"}},
		{"no namespace", cluster.Get(t).Kubeconfig(), nil, []string{"--leader-election-namespace", "write the namespace"}},
		{"one namespace", cluster.Get(t).Kubeconfig(), []string{inCluster, "--watcher-namespace=" + operator.Namespace}, []string{"--watcher-namespace", "Pod Security", "write another namespace"}},
		{"watchers' account", cluster.Get(t).Kubeconfig(), []string{inCluster, "--watcher-namespace=a", "--watcher-service-account=default"}, []string{`"default"`, "imds-watcher in it"}},
		{"watchers' environment", cluster.Get(t).Kubeconfig(), []string{inCluster, "--watcher-namespace=a", "--watcher-env=A=b"}, []string{`"A=b"`, "HTTPS_PROXY,NO_PROXY"}},
		{"metrics", cluster.Get(t).Kubeconfig(), []string{inCluster, "--metrics-secure=no"}, []string{`"no"`, "metrics-secure"}},
		{"no kubeconfig", "", nil, []string{"cannot find a cluster"}},
		{"kubeconfig missing", "", []string{"--kubeconfig=" + filepath.Join(dir, "none")}, []string{"cannot find a cluster", "none"}},
		{"no API server", away, []string{inCluster}, []string{"connection refused"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, append([]string{"--metrics-bind-address=0", "--health-probe-bind-address=0"}, test.args...)...)
			cmd.Env = []string{"HOME=" + dir, "KUBECONFIG=" + test.kubeconfig}
			output, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
				t.Errorf("the manager ended with %v, want an exit code", err)
			}
			lines := strings.Split(strings.TrimSpace(string(output)), "\n")
			last := lines[len(lines)-1]
			if !strings.HasPrefix(last, "manager: ") || strings.Contains(string(output), "goroutine ") {
				t.Errorf("the manager said %q, want one line that begins with manager:", output)
			}
			for _, want := range test.want {
				if !strings.Contains(last, want) {
					t.Errorf("the manager said %q, want %q in it", last, want)
				}
			}
		})
	}
}
