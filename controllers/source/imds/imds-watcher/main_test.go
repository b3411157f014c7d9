// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
`

// environment sets all that a watcher needs, and returns the file for its termination message.
func environment(t *testing.T) (message string) {
	t.Helper()
	dir := t.TempDir()
	message = filepath.Join(dir, "termination-log")
	config := filepath.Join(dir, "kubeconfig")
	for file, content := range map[string]string{message: "old", config: kubeconfig} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBECONFIG", config)
	t.Setenv(nodeNameEnv, "ip-10-0-3-7.ec2.internal")
	return message
}

// TestMistakes: a watcher that cannot start says why, to the kubelet as well.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		args string
		env  map[string]string
		want string
	}{
		"no node name":      {"", map[string]string{nodeNameEnv: ""}, "NODE_NAME is not set: give the container the node's name by the downward API (fieldRef: spec.nodeName)"},
		"no cluster":        {"", map[string]string{"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}, "cannot find a cluster"},
		"interval":          {"--poll-interval 500ms", nil, "--poll-interval 500ms: write a duration from 1s to 60s"},
		"long interval":     {"--poll-interval 61s", nil, "write a duration from 1s to 60s"},
		"interval, no unit": {"--poll-interval 2", nil, `invalid value "2" for flag -poll-interval`},
		"word":              {"watch", nil, `argument "watch": there are flags, and probe as the first word`},
		"flag":              {"--verbose", nil, "not defined: -verbose"},
		"log format":        {"--log-format xml", nil, `--log-format "xml": write json or console`},
		"log level":         {"--log-level loud", nil, `--log-level "loud": write debug, info or error`},
		"endpoint":          {"--endpoint imds", nil, `"imds": write a URL such as http://169.254.169.254`},
		"mode":              {"--endpoint-mode IPv5", nil, `--endpoint-mode is "IPv5": write IPv4 or IPv6`},
		"mode and endpoint": {"--endpoint-mode IPv6 --endpoint http://localhost:1338", nil, "--endpoint says where the metadata service is, and --endpoint-mode IPv6 which of EC2's own addresses: leave one of them out"},
		"port":              {"--metrics-port 70000", nil, "--metrics-port 70000: write a port from 1 to 65535, or 0 for no metrics"},
		"no metadata":       {"", map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, "AWS_EC2_METADATA_DISABLED is true"},
		"heartbeat":         {"--heartbeat-file /nowhere/heartbeat", nil, "cannot write the heartbeat: mount a writable volume there"},
	} {
		t.Run(name, func(t *testing.T) {
			message := environment(t)
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			var stderr strings.Builder
			err := run(t.Context(), append([]string{"--termination-message-path", message}, strings.Fields(c.args)...), io.Discard, &stderr)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(stderr.String(), "imds-watcher: "+err.Error()) {
				t.Errorf("error %v, printed %q, want %q", err, stderr.String(), c.want)
			}
			if got, _ := os.ReadFile(message); err == nil || string(got) != err.Error() {
				t.Errorf("the termination message is %q, want %v", got, err)
			}
		})
	}
}

// TestStopped: a watcher that is stopped while it starts ends without an error.
func TestStopped(t *testing.T) {
	message := environment(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	args := []string{"--termination-message-path", message, "--heartbeat-file", "", "--endpoint", "http://127.0.0.1:1"}
	if err := run(ctx, args, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(message); string(got) != "old" {
		t.Errorf("the termination message is %q", got)
	}
}

// TestNoTerminationMessage: outside of a container no file is made.
func TestNoTerminationMessage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "termination-log")
	writeTerminationMessage(file, os.ErrInvalid)
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was made")
	}
}

// TestProbe: nothing but the file matters to the probe.
func TestProbe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "heartbeat")
	t.Setenv(nodeNameEnv, "")
	if err := run(t.Context(), []string{"probe", "--heartbeat-file", file}, io.Discard, io.Discard); err == nil {
		t.Error("the probe succeeds without a watcher")
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-help"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "-poll-interval") {
		t.Errorf("%v, printed %q", err, out.String())
	}
}

// TestDependencies: the watcher runs on every node and must stay small.
func TestDependencies(t *testing.T) {
	for _, system := range []string{"linux", "windows"} {
		list := exec.Command("go", "list", "-deps", ".")
		list.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("%s: %v", system, err)
		}
		checkSmall(t, system, string(out))
	}
}

func checkSmall(t *testing.T, system, dependencies string) {
	t.Helper()
	for dependency := range strings.Lines(dependencies) {
		for _, large := range []string{
			"sigs.k8s.io/controller-runtime", "k8s.io/client-go/kubernetes", "k8s.io/client-go/informers",
			"github.com/aws/aws-sdk-go-v2/service", "github.com/aws/aws-sdk-go-v2/config", "github.com/prometheus",
		} {
			if strings.HasPrefix(dependency, large) {
				t.Errorf("on %s it has %s", system, strings.TrimSpace(dependency))
			}
		}
	}
}
