// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/hack/operator"
)

// pluginPages are run by the tests of the plugin.
var pluginPages = []string{"kubectl-nt.md", "migrate.md"}

// pages returns the pages of the documentation. That of the chart is run by hack/helm.
func pages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("found the pages %q, %v", files, err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return slices.Contains(pluginPages, filepath.Base(file)) })
	return append(files, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"), filepath.Join(root, "SECURITY.md"))
}

// programs are what a command of a page begins with.
var programs = []string{"kubectl", "make", "helm", "aws", "export", "cosign", "gh"}

// commands returns the blocks of commands of a page: those of code without a language. Of one that begins with "$ " only that
// line is a command, and the next is the header of what it prints.
func commands(t *testing.T, page string) (scripts []string, headers map[string]string) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	headers = map[string]string{}
	var language string
	var lines []string // of the block, nil outside
	for line := range strings.Lines(string(content)) {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && lines == nil:
			language, lines = fence, []string{}
		case isFence && language == "" && len(lines) > 0:
			script, header := strings.Join(lines, ""), ""
			if command, found := strings.CutPrefix(lines[0], "$ "); found && len(lines) > 1 {
				script, header = command, lines[1]
			}
			if first, _, _ := strings.Cut(script, " "); !slices.Contains(programs, first) {
				t.Errorf("%s: %q begins a block without a language: write ```text if it is not a command", filepath.Base(page), first)
			} else {
				scripts, headers[script] = append(scripts, script), header
			}
			lines = nil
		case isFence:
			lines = nil
		case lines != nil:
			lines = append(lines, line)
		}
	}
	return scripts, headers
}

// TestCommands runs the commands of every page.
func TestCommands(t *testing.T) {
	c := cluster.Get(t)
	c.CreateNodes(t, 1)
	c.CreateNodes(t, 1, func(node *corev1.Node) {
		node.Name = "ip-10-0-3-7.ec2.internal"
		node.Labels[corev1.LabelHostname] = node.Name
		node.Labels[corev1.LabelTopologyZone] = "us-east-1b"
		node.Spec.ProviderID = "aws:///us-east-1b/i-0abc1234def567890"
	})
	for _, page := range pages(t) {
		scripts, headers := commands(t, page)
		if len(scripts) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			prepare(t, c.Kubeconfig())
			for _, script := range scripts {
				output, err := shell(t, script)
				if err != nil {
					t.Errorf("%s\n%v", script, err)
				}
				checkHeader(t, script, headers[script], output)
			}
		})
	}
	checkCalls(t)
}

// prepare installs the operator and what the examples speak of, where it is not there any more.
func prepare(t *testing.T, kubeconfig string) {
	t.Helper()
	if err := operator.Install(t.Context(), kubeconfig); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{
		"kubectl apply --server-side -f hack/docs/testdata/crds.yaml",
		"kubectl wait --for=condition=Established --timeout=60s -f hack/docs/testdata/crds.yaml",
		"kubectl apply --server-side -f hack/docs/testdata/cluster.yaml",
	} {
		if _, err := shell(t, script); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
	}
}

// checkHeader checks that a command prints the columns that a page shows, in this order; … stands for others.
func checkHeader(t *testing.T, script, shown, output string) {
	t.Helper()
	printed, _, _ := strings.Cut(output, "\n")
	columns := strings.Fields(printed)
	for column := range strings.FieldsSeq(shown) {
		if column == "…" {
			continue
		}
		i := slices.Index(columns, column)
		if i < 0 {
			t.Errorf("%s does not print %s, but %s", script, column, printed)
			continue
		}
		columns = columns[i+1:]
	}
}

// TestBlocksAreCommands: without a control plane, too, a block that is not of commands, such as a drawing, is noticed.
func TestBlocksAreCommands(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		scripts, _ := commands(t, page)
		found += len(scripts)
	}
	if found < 30 {
		t.Errorf("only %d blocks of commands were found", found)
	}
}
