// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodetermination/operator/controllers/cli"
)

var update = flag.Bool("update", false, "write the expected outputs in testdata")

// migrate runs the command.
func migrate(t *testing.T, in string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, stdin, out, errOut := genericiooptions.NewTestIOStreams()
	stdin.WriteString(in)
	plugin := &cli.Plugin{IOStreams: streams, Flags: genericclioptions.NewConfigFlags(true)}
	cmd := NewCommand(plugin)
	plugin.Flags.AddFlags(cmd.Flags())
	cmd.SetArgs(args)
	cmd.SetContext(t.Context())
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

// corpus returns the files with values of NTH's chart.
func corpus(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files with values (%v)", err)
	}
	return files
}

// TestCorpus compares what becomes of the values in testdata. The expected outputs are written with -update.
func TestCorpus(t *testing.T) {
	for _, file := range corpus(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			for _, output := range []string{outputPolicies, outputKustomization, outputValues} {
				stdout, stderr, err := migrate(t, "", "-f", file, "-o", output)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join("testdata", name, output+".golden"), stdout)
				if output == outputPolicies {
					golden(t, filepath.Join("testdata", name, "stderr.golden"), stderr)
				}
			}
		})
	}
}

// golden compares a text with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(bytes.TrimSpace(want)), strings.TrimSpace(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
