// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/hack/operator"
)

func TestShell(t *testing.T) {
	url := "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
	for name, tt := range map[string]struct {
		parts []string
		want  string
	}{
		"short":          {[]string{"kubectl get", "nt"}, "kubectl get nt"},
		"parts of two":   {[]string{"awssim send spot", "--endpoint http://127.0.0.1:12345", "--instance i-0abc1234def567811"}, "awssim send spot --endpoint http://127.0.0.1:12345 \\\n    --instance i-0abc1234def567811"},
		"a part too big": {[]string{"awssim send", "--queue-url " + url + url}, "awssim send \\\n    --queue-url \\\n    " + url + url},
	} {
		if diff := cmp.Diff(tt.want, shell(tt.parts...)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestLine(t *testing.T) {
	var out bytes.Buffer
	s := &terminal{w: &out, color: true}
	s.line(1500*time.Millisecond, strong, "drained", "%d pods are gone, with %s left before the deadline, and that is all there is to say", 5, "100 s")
	want := "     1.5 s  \x1b[1;32mdrained  \x1b[0m  \x1b[1;32m5 pods are gone, with 100 s left before the deadline, and\x1b[0m\n" +
		"                       \x1b[1;32mthat is all there is to say\x1b[0m\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// Only what somebody else's directories are named can be wider than a terminal.
func TestTourFits(t *testing.T) {
	var out bytes.Buffer
	s := &story{
		playground: &playground{
			terminal: &terminal{w: &out},
			root:     "/src", kubectlPath: "/bin/kubectl", kubeconfig: "/tmp/controlplane-1234567890/admin.kubeconfig",
			endpoint: "http://127.0.0.1:12345", metrics: "127.0.0.1:12345",
			manager: &operator.Process{}, watcher: &operator.Process{},
		},
		queueURL: "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination",
		instance: "i-0abc1234def567811",
		pods:     map[types.UID]*corev1.Pod{},
	}
	for i := range allNodes {
		s.nodes = append(s.nodes, *newNode(i))
	}
	s.node = &s.nodes[0]
	s.pods["db"] = &corev1.Pod{}
	s.pods["db"].Labels = map[string]string{"app": "db"}
	s.pods["db"].Spec.NodeName = s.nodes[3].Name
	s.guide()
	for line := range strings.Lines(out.String()) {
		if n := len(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"nodetermination.dev/drain=rehearsal", "annotate node " + s.nodes[3].Name + " \\\n      nodetermination.dev/drain=blocked-pod"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not have %q:\n%s", want, out.String())
		}
	}
}
