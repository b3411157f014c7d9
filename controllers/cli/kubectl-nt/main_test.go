// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientapply "k8s.io/client-go/applyconfigurations"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/api/v1alpha1/applyconfiguration"
	"github.com/nodetermination/operator/controllers/cli"
)

const (
	page     = "../../../docs/kubectl-nt.md"
	nodeName = "ip-10-0-3-7.ec2.internal"
	instance = "i-0abc1234def567890"
)

// newCluster returns a client for a cluster with the node, policy and termination of the docs.
func newCluster(t *testing.T) client.WithWatch {
	t.Helper()
	scheme, err := cli.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "workers"}}
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: nodeName, Events: []v1alpha1.Event{
		{ID: "running", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, InstanceAction: "running", Time: metav1.Now()},
	}}
	nt.Status.PodOutcomes = []v1alpha1.PodOutcome{{Namespace: "shop", Name: "web-7d9f8c6b5d-x2x4k", Outcome: v1alpha1.PodCutShort, Message: "deleted", Time: metav1.Now()}}
	return fake.NewClientBuilder().WithScheme(scheme).
		WithTypeConverters(clientapply.NewTypeConverter(scheme), applyconfiguration.NewTypeConverter(scheme)).
		WithObjects(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instance}},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}, policy, nt).
		Build()
}

// nt runs a command line, and returns what it prints and its exit code.
func nt(t *testing.T, c client.WithWatch, stdin string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	plugin := &cli.Plugin{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &stdout, ErrOut: &stderr},
		Flags:     genericclioptions.NewConfigFlags(true),
		Connect:   func() (client.WithWatch, error) { return c, nil },
	}
	code = run(t.Context(), plugin, args)
	return stdout.String(), stderr.String(), code
}

// example is a command of the docs with what it prints.
type example struct {
	command, output string
}

// examples returns the commands of the docs, in the blocks that are of no language.
func examples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []example
	inside, language := false, ""
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside, language = !inside, strings.TrimSpace(line[3:])
		case language != "":
		case inside && strings.HasPrefix(line, "$ "):
			found = append(found, example{command: strings.TrimSpace(line[2:])})
		case inside && len(found) > 0:
			found[len(found)-1].output += line
		case inside:
			t.Errorf("%q is in a block, but no example: begin it with $", line)
		}
	}
	return found
}

// TestExamples runs every example of the docs, in their order. Those that ask a cluster are run against one in which
// nobody acts, and only their exit code counts; of the others every line that they print does.
func TestExamples(t *testing.T) {
	c, all := newCluster(t), examples(t)
	t.Chdir("testdata")
	for _, e := range all {
		t.Run(e.command, func(t *testing.T) {
			args, ok := strings.CutPrefix(e.command, "kubectl nt ")
			if !ok {
				t.Skip("no example of the plugin")
			}
			args, expectation, _ := strings.Cut(args, "# exits with ")
			want := 0
			if expectation != "" {
				if _, err := fmt.Sscan(expectation, &want); err != nil {
					t.Fatal(err)
				}
			}
			if strings.HasSuffix(strings.TrimSpace(args), " -w") {
				args += " --help" // it would not end
			}
			if strings.HasPrefix(args, "forecast") && !strings.Contains(args, "-f ") {
				args += " -f ." // the cluster of that command is not the fake one
			}
			out, errOut, code := nt(t, c, "", words(args)...)
			if strings.Contains(args, "--wait") {
				want = cli.ExitTimeout // nobody drains
			}
			if code != want {
				t.Fatalf("exits with %d, want %d\n%s%s", code, want, out, errOut)
			}
			if e.output != "" && out+errOut != e.output {
				t.Errorf("prints\n%s%s\nand the docs say\n%s", out, errOut, e.output)
			}
		})
	}
}

// words splits a command line as a shell does, as far as the docs need it.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

func TestErrorsAreOneLine(t *testing.T) {
	for line, want := range map[string]string{
		"forecast --notice 0s -f testdata":    "--notice=0s: write how long the notice is",
		"forecast --notice soon -f testdata":  "kubectl nt forecast --help lists the flags",
		"forecast -o xml -f testdata":         "write wide, json or yaml",
		"forecast --fail-on all -f testdata":  "write cut-short, blocked or downtime",
		"forecast -f testdata --policy none":  "there is no NodeTerminationPolicy none",
		"forecast -f testdata nowhere":        "there is no node nowhere",
		"forecast -f testdata -l a=b":         "no node has the labels of -l a=b",
		"forecast -f testdata/pods.yaml":      "there is no Node in the files",
		"forecast -f testdata/nodes.yaml":     "there is no Pod in the files",
		"drain " + nodeName:                   "--reason: write why",
		"drain nowhere --reason x":            "there is no node nowhere",
		"drain elsewhere --reason x":          "names no EC2 instance",
		"drain --reason x":                    "give one node",
		"cancel " + nodeName:                  "nothing to cancel",
		"cancel nowhere":                      "neither a node nor a NodeTermination",
		"suspend":                             "give one node or instance, or --policy",
		"suspend --policy none":               "there is no NodeTerminationPolicy none",
		"resume elsewhere":                    "has no NodeTermination",
		"test elsewhere --yes":                "names no EC2 instance",
		"test " + nodeName:                    "the answer was not yes",
		"test " + nodeName + " --kind Manual": "write one of SpotInterruption",
		"test " + nodeName + " --deadline 1s": "write 10s or more",
		"explain nowhere":                     "nothing is known of nowhere",
		"unknown":                             "unknown command",
	} {
		t.Run(line, func(t *testing.T) {
			out, errOut, code := nt(t, newCluster(t), "no\n", words(line)...)
			last := errOut[strings.LastIndex(strings.TrimSuffix(errOut, "\n"), "\n")+1:]
			if code != cli.ExitError || out != "" || !strings.Contains(last, "error: ") || !strings.Contains(last, want) {
				t.Errorf("exits with %d and prints %q, %q; want %q", code, out, errOut, want)
			}
		})
	}
}

func TestDrainAndCancel(t *testing.T) {
	c := newCluster(t)
	out, errOut, code := nt(t, c, "", "drain", nodeName, "--reason", "kernel update")
	if code != 0 || !strings.Contains(out, "policy workers cordons and drains it") {
		t.Fatalf("%d %s %s", code, out, errOut)
	}
	if got := annotation(t, c); got == nil || *got != "kernel update" {
		t.Errorf("annotation %v", got)
	}
	if out, _, code = nt(t, c, "", "drain", "node/"+nodeName, "--reason", "kernel update"); code != 0 || !strings.Contains(out, "already") {
		t.Errorf("again: %d %s", code, out)
	}
	if out, _, code = nt(t, c, "", "cancel", instance); code != 0 || !strings.Contains(out, "removed") || annotation(t, c) != nil {
		t.Errorf("cancel: %d %s", code, out)
	}
}

// annotation returns the annotation of the node; nil if there is none.
func annotation(t *testing.T, c client.Client) *string {
	t.Helper()
	node := &corev1.Node{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: nodeName}, node); err != nil {
		t.Fatal(err)
	}
	if value, found := node.Annotations[v1alpha1.AnnotationDrain]; found {
		return &value
	}
	return nil
}

func TestTestAndCancel(t *testing.T) {
	c := newCluster(t)
	if out, errOut, code := nt(t, c, "yes\n", "test", nodeName); code != 0 {
		t.Fatalf("%d %s %s", code, out, errOut)
	}
	stored := func() v1alpha1.Event {
		t.Helper()
		nt := &v1alpha1.NodeTermination{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: instance}, nt); err != nil {
			t.Fatal(err)
		}
		return nt.Spec.Events[len(nt.Spec.Events)-1]
	}
	if e := stored(); e.Source != v1alpha1.SourceManual || e.Kind != v1alpha1.SpotInterruption || e.Deadline == nil || ptr.Deref(e.Cancelled, false) {
		t.Errorf("%+v", e)
	}
	if out, errOut, code := nt(t, c, "", "cancel", nodeName); code != 0 || !ptr.Deref(stored().Cancelled, false) {
		t.Errorf("%d %s %s", code, out, errOut)
	}
}

func TestSuspend(t *testing.T) {
	c := newCluster(t)
	for _, step := range []struct {
		line, want string
	}{
		{"suspend " + nodeName, "termination " + instance + " suspended"},
		{"suspend " + instance, "is suspended already"},
		{"resume " + instance, "resumed"},
		{"suspend --policy workers", "policy workers suspended"},
		{"resume --policy workers", "policy workers resumed"},
	} {
		if out, errOut, code := nt(t, c, "", words(step.line)...); code != 0 || !strings.Contains(out, step.want) {
			t.Errorf("%s: %d %s %s", step.line, code, out, errOut)
		}
	}
}

func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"__complete drain ip-":          nodeName,
		"__complete suspend --policy w": "workers",
		"__complete explain i-":         instance,
		"__complete fore":               "forecast",
		"__complete forecast -o w":      "wide",
	} {
		if out, errOut, code := nt(t, newCluster(t), "", words(line)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d %s %s", line, code, out, errOut)
		}
	}
}
