// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/cmd"

	"github.com/nodetermination/operator/hack/operator"
)

const page = root + "/docs/install-helm.md"

// TestDocumentedValues renders the chart with each block of values of the page.
func TestDocumentedValues(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readFile(t, page), -1)
	if len(blocks) < 4 {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	for _, block := range blocks {
		values := parse(t, block[1])
		if values["apiVersion"] != nil {
			continue // a manifest
		}
		eachHelm(t, namespace, func(t *testing.T, h helm) {
			if _, _, err := h.template(chart, values, policyAPI); err != nil {
				t.Errorf("%v\n%s", err, block[1])
			}
		})
	}
}

// TestDocumentedCommands runs the commands of the page with Helm v4, in their order.
func TestDocumentedCommands(t *testing.T) {
	c := cluster.Get(t)
	c.CreateNodes(t, 2)
	t.Setenv("KUBECACHEDIR", t.TempDir())
	t.Setenv("KUBECONFIG", c.Kubeconfig())
	r := testRelease
	r.version, r.dist = "v0.1.0", t.TempDir()
	if _, err := pack(root, r); err != nil {
		t.Fatal(err)
	}
	kubectl, err := operator.Kubectl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ran []string
	for line := range strings.Lines(readFile(t, page)) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "helm "):
			runHelm4(t, r.dist, words[1:])
		case strings.HasPrefix(line, "kubectl "):
			if output, err := exec.CommandContext(t.Context(), kubectl, words[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", line, err, output)
			}
		default:
			continue
		}
		ran = append(ran, words[0]+" "+words[1])
	}
	if want := []string{"helm upgrade", "kubectl label", "helm upgrade", "helm rollback", "helm uninstall", "kubectl delete"}; !slices.Equal(ran, want) {
		t.Errorf("the page has the commands %q, want %q", ran, want)
	}
	for _, name := range []string{policyCRDName, "nodeterminations.nodetermination.dev"} { // its last command
		gone(t, c.Client(), crdKind, "", name)
	}
	gone(t, c.Client(), namespaceKind, "", "node-termination-watchers")
}

// TestReadmeCommand runs the command of the chart's README, but for the install itself.
func TestReadmeCommand(t *testing.T) {
	t.Setenv("KUBECONFIG", cluster.Get(t).Kubeconfig())
	t.Setenv("KUBECACHEDIR", t.TempDir())
	_, command, found := strings.Cut(readFile(t, chart+"/README.md"), "```\nhelm ")
	command, _, closed := strings.Cut(command, "```")
	if !found || !closed {
		t.Fatal("the README has no command")
	}
	command = strings.NewReplacer("\\\n", " ", "<chart>", chart, "values.yaml", chart+"/values.yaml", "--wait", "--dry-run=server").Replace(command)
	runHelm4(t, ".", strings.Fields(command))
}

// runHelm4 runs a command of Helm in the folder of the archives.
func runHelm4(t *testing.T, folder string, args []string) {
	t.Helper()
	for i, arg := range args {
		if strings.HasSuffix(arg, ".tgz") {
			args[i] = filepath.Join(folder, arg)
		}
	}
	var out bytes.Buffer
	command, err := cmd.NewRootCmd(&out, args, func(bool) {})
	if err == nil {
		command.SetArgs(args)
		err = command.ExecuteContext(t.Context())
	}
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, &out)
	}
}
