// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

func TestMetricsAreAsDocumented(t *testing.T) {
	c := newCounters([]*document{{path: event.PathRebalance}, {path: event.PathSpotInstanceAction}})
	c.read(event.PathRebalance, succeeded)
	c.read(event.PathRebalance, failed)
	c.read(event.PathRebalance, failed)
	c.wrote(v1alpha1.SpotInterruption, false)
	c.wrote(v1alpha1.SpotInterruption, true)
	c.readAll(epoch)
	text := c.text()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		`node_termination_watcher_requests_total{document="rebalance",result="failed"} 2`:       true,
		`node_termination_watcher_requests_total{document="spot",result="succeeded"} 0`:         true,
		`node_termination_watcher_events_total{kind="SpotInterruption"} 1`:                      true,
		`node_termination_watcher_writes_total{result="failed"} 1`:                              true,
		fmt.Sprintf("node_termination_watcher_last_success_timestamp_seconds %d", epoch.Unix()): true,
	} {
		if strings.Contains(text, line+"\n") != want {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
	docs, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- watcher -->\n", "<!-- end -->"
	_, written, _ := strings.Cut(string(docs), begin)
	written, _, _ = strings.Cut(written, end)
	if want := table(families); written != want {
		t.Errorf("docs/metrics.md is not what a watcher has: write this between %s and %s\n%s", strings.TrimSpace(begin), end, want)
	}
}

// table describes metrics in Markdown.
func table(families map[string]*dto.MetricFamily) string {
	text := "| Metric | Type | Labels | Description |\n|---|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		text += fmt.Sprintf("| %#q | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return text
}

// A watcher whose port is taken works all the same; one whose port is free serves metrics.
func TestMetricsAreServedWhereAsked(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	f := newFixture(t)
	f.opts.Metrics = address
	f.serve(t.Context()) // returns: the port is taken
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); f.serveAt(ctx, listener) }()
	f.poll(t.Context())
	body, err := get("http://" + address + "/metrics")
	if err != nil || !strings.Contains(body, `requests_total{document="spot",result="succeeded"} 1`) {
		t.Errorf("%v, %s", err, body)
	}
	stop()
	<-served
}

func get(url string) (string, error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(answer.Body)
	return string(body), errors.Join(err, answer.Body.Close())
}

// A target state of the future is no failure, so that the watcher stays ready; it is counted and logged once.
func TestUnknownTargetState(t *testing.T) {
	var logged []string
	d := &document{path: event.PathTargetLifecycleState, log: funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})}
	for state, want := range map[string]string{"InService": succeeded, "Warmed:Replaced": unknown, "<html>": failed} {
		d.works()
		d.parse([]byte(state), event.Instance{InstanceID: "i-0abc1234def567890"})
		if got := d.result(); got != want || d.isRead() != (want != failed) {
			t.Errorf("%s: %s, read %t, want %s", state, got, d.isRead(), want)
		}
	}
	if len(logged) != 1 || !strings.Contains(logged[0], "Warmed:Replaced") {
		t.Errorf("logged %q", logged)
	}
}
