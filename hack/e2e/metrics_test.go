// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// checkMetrics holds what a manager's metrics endpoint says to Prometheus' conventions and to docs/metrics.md.
func checkMetrics(t *testing.T, body string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(ours(body))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(ours(body)))
	if err != nil {
		t.Fatal(err)
	}
	checkQueries(t, families)
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- manager -->\n", "<!-- end -->"
	_, written, _ := strings.Cut(string(docs), begin)
	written, _, _ = strings.Cut(written, end)
	if want := table(families); written != want {
		t.Errorf("docs/metrics.md is not what the manager has: write this between %s and %s\n%s", strings.TrimSpace(begin), end, want)
	}
}

// metricName is the name of one of the operator's metrics in a query.
var metricName = regexp.MustCompile(`\bnode_termination_[a-z_]+`)

// checkQueries holds what alerts and the dashboard ask for to the metrics that there are.
func checkQueries(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	for _, file := range []string{"rules.yaml", "dashboard.json"} {
		content, err := os.ReadFile("../../config/prometheus/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(content), -1)
		if len(names) == 0 {
			t.Errorf("%s asks for nothing", file)
		}
		for _, name := range names {
			if families[strings.TrimSuffix(name, "_bucket")] == nil {
				t.Errorf("%s asks for %s, which the manager does not have", file, name)
			}
		}
	}
}

// TestWatcherTellsMetrics: a watcher whose policy asks for them serves metrics, and hears as all others do.
func TestWatcherTellsMetrics(t *testing.T) {
	startManager(t, withWatchers)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	w := emptyWorld(t, aws)
	w.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{MetricsPort: ptr.To(int32(port))}}}
	})
	node := w.nodes(1)[0]
	m := w.metadataOf(node)
	m.watch()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	w.until(node, v1alpha1.StateCompleted)
	eventually(t, func() error {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if want := `node_termination_watcher_events_total{kind="SpotInterruption"} 1`; !strings.Contains(string(body), want) {
			return fmt.Errorf("the metrics are without %s:\n%s", want, body)
		}
		return nil
	})
}

// ours are the lines about the operator's own metrics.
func ours(body string) string {
	var lines strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "node_termination_") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// table describes metrics in Markdown.
func table(families map[string]*dto.MetricFamily) string {
	text := "| Metric | Type | Labels | What it tells |\n|---|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		text += fmt.Sprintf("| %#q | %s | %s | %s |\n",
			name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return text
}
