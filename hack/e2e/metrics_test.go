// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
