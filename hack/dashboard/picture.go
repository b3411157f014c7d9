// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"gonum.org/v1/plot/plotter"
)

// step is the time between two points of a line, as between two samples.
const step = time.Second

// recording is samples that were kept, and from when to when.
type recording struct {
	db         *tsdb.DB
	engine     *promql.Engine
	start, end time.Time
}

// curve is one line of a panel: its label, and at least one point, with the seconds since the start.
type curve struct {
	label  string
	points plotter.XYs
}

// drawPicture draws all panels with the samples in a file.
func drawPicture(path string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "dashboard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := load(path, dir)
	if err != nil {
		return err
	}
	defer r.db.Close()
	return drawAll(out, r)
}

// load reads samples in Prometheus' text format, each with its time.
func load(path, dir string) (*recording, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	db, err := tsdb.Open(filepath.Join(dir, "tsdb"), slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return nil, err
	}
	if err := appendSamples(db, content); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e7, Timeout: time.Minute, LookbackDelta: 5 * time.Second, Parser: parser.NewParser(parser.Options{}),
	})
	return &recording{db, engine, time.UnixMilli(db.Head().MinTime()), time.UnixMilli(db.Head().MaxTime())}, nil
}

func appendSamples(db *tsdb.DB, content []byte) error {
	into := db.Appender(context.Background())
	samples := textparse.NewPromParser(content, labels.NewSymbolTable(), false)
	for {
		entry, err := samples.Next()
		if errors.Is(err, io.EOF) {
			return into.Commit()
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, at, value := samples.Series()
		if at == nil {
			return errors.New("a sample has no time")
		}
		var series labels.Labels
		samples.Labels(&series)
		if _, err := into.Append(0, series, *at, value); err != nil {
			return err
		}
	}
}

// seconds returns how long after the start a time is.
func (r *recording) seconds(t time.Time) float64 { return t.Sub(r.start).Seconds() }

// query returns what a panel's query yields over the whole time.
func (r *recording) query(q query) ([]curve, error) {
	// What Grafana puts in the place of these, for samples that are a second apart.
	expr := strings.NewReplacer(
		`{job="$job"}`, "", "$__rate_interval", "20s", "$__range", fmt.Sprintf("%ds", int(r.seconds(r.end))+1),
	).Replace(q.expr)
	query, err := r.engine.NewRangeQuery(context.Background(), r.db, nil, expr, r.start, r.end, step)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	defer query.Close()
	matrix, err := query.Exec(context.Background()).Matrix()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var curves []curve
	for _, series := range matrix {
		if points := r.points(series.Floats); len(points) > 0 {
			curves = append(curves, curve{legend(q.legend, series.Metric), points})
		}
	}
	return curves, nil
}

// points leaves out values that cannot be drawn: a quantile of no observations is not a number.
func (r *recording) points(floats []promql.FPoint) plotter.XYs {
	var points plotter.XYs
	for _, p := range floats {
		if !math.IsNaN(p.F) && !math.IsInf(p.F, 0) {
			points = append(points, plotter.XY{X: r.seconds(time.UnixMilli(p.T)), Y: p.F})
		}
	}
	return points
}

// legend fills in a series' labels.
func legend(format string, series labels.Labels) string {
	series.Range(func(l labels.Label) { format = strings.ReplaceAll(format, "{{"+l.Name+"}}", l.Value) })
	return format
}

// parts splits the curve where points are missing.
func (c *curve) parts() []plotter.XYs {
	var parts []plotter.XYs
	from := 0
	for i := 1; i <= len(c.points); i++ {
		if i == len(c.points) || c.points[i].X-c.points[i-1].X > 2*step.Seconds() {
			parts, from = append(parts, c.points[from:i]), i
		}
	}
	return parts
}
