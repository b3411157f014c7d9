// SPDX-License-Identifier: Apache-2.0

// Command dashboard prints the Grafana dashboard of config/prometheus, or a picture as SVG:
// "dashboard picture FILE" of the dashboard, with the samples that the benchmark keeps with
// --metrics, and "dashboard performance FILE" of the results that it keeps with --json.
// It is a module of its own, as nothing else needs Grafana's types, Prometheus' engine and
// a plotting library.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// A dashboard is 24 columns wide.
const columns, height = 24, 7

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "picture":
		return drawPicture(args[1], os.Stdout)
	case len(args) == 2 && args[0] == "performance":
		return drawPerformance(args[1], os.Stdout)
	case len(args) > 0:
		return errors.New("write nothing, picture FILE or performance FILE")
	}
	built, err := build()
	if err != nil {
		return err
	}
	return write(built)
}

// build builds it in the classic form, which every Grafana imports: dashboardv2, which the
// linter prefers, is for the newest only.
//
//nolint:staticcheck // as above
func build() (dashboard.Dashboard, error) {
	b := dashboard.NewDashboardBuilder("Node terminations").
		Uid("node-termination-operator").
		Description("The events that node-termination-operator receives, how much time is left before the deadline when nodes are drained, and what delays drains.").
		Tags([]string{"kubernetes", "node-termination-operator"}).
		Refresh("30s").
		Time("now-6h", "now").
		Timezone("browser").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("job").Label("Job").
			Datasource(datasource()).
			Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(node_termination_leader, job)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged))
	for _, r := range rows {
		b.WithRow(dashboard.NewRowBuilder(r.title))
		for i := range r.panels {
			b.WithPanel(r.panels[i].builder(columns / uint32(len(r.panels))))
		}
	}
	return b.Build()
}

// write prints it as Grafana exports it, indented for people who read a change.
//
//nolint:staticcheck // see build
func write(d dashboard.Dashboard) error {
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(d)
}

func datasource() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// builder makes a panel, this many columns wide.
func (p *panel) builder(width uint32) cog.Builder[dashboard.Panel] {
	if p.number {
		b := stat.NewPanelBuilder().
			Title(p.title).Description(p.about).Unit(p.unit).Datasource(datasource()).
			Span(width).Height(height - 3).
			GraphMode(common.BigValueGraphModeArea).
			NoValue("none").
			Thresholds(p.thresholds())
		for _, t := range p.targets() {
			b.WithTarget(t)
		}
		return b
	}
	b := timeseries.NewPanelBuilder().
		Title(p.title).Description(p.about).Unit(p.unit).Datasource(datasource()).
		Span(width).Height(height).
		FillOpacity(10).LineWidth(1).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for _, t := range p.targets() {
		b.WithTarget(t)
	}
	return b
}

func (p *panel) targets() []cog.Builder[variants.Dataquery] {
	var targets []cog.Builder[variants.Dataquery]
	for i, q := range p.queries {
		targets = append(targets, prometheus.NewDataqueryBuilder().
			Expr(q.expr).LegendFormat(q.legend).RefId(string(rune('A'+i))).Range())
	}
	return targets
}

// thresholds turns a number red from where it is bad on, upwards or downwards.
func (p *panel) thresholds() cog.Builder[dashboard.ThresholdsConfig] {
	low, high := "green", "red"
	if p.badBelow {
		low, high = high, low
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
		{Color: low}, {Value: cog.ToPtr(p.turns), Color: high},
	})
}
