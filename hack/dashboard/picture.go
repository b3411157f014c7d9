// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// What Grafana puts in the place of these in queries, for samples that are a second apart.
var variables = strings.NewReplacer(`{job="$job"}`, "", "$__rate_interval", "5s")

const (
	// step is the time between two points of a line.
	step = time.Second
	// calm is how much is shown after the last sample.
	calm = 3 * time.Second
)

// recording is samples that were kept, and from when to when.
type recording struct {
	db         *tsdb.DB
	engine     *promql.Engine
	start, end time.Time
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
	r := &recording{db: db, engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e7, Timeout: time.Minute, LookbackDelta: 5 * time.Second, Parser: parser.NewParser(parser.Options{}),
	})}
	err = r.append(content)
	return r, err
}

func (r *recording) append(content []byte) error {
	into := r.db.Appender(context.Background())
	symbols := labels.NewSymbolTable()
	samples := textparse.NewPromParser(content, symbols, false)
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
		now := time.UnixMilli(*at)
		if r.start.IsZero() || now.Before(r.start) {
			r.start = now
		}
		if now.After(r.end) {
			r.end = now
		}
	}
}

// ask is what a panel's query answers over the whole time.
func (r *recording) ask(q query) (promql.Matrix, error) {
	expr := strings.ReplaceAll(variables.Replace(q.expr), "$__range", fmt.Sprintf("%ds", int(r.end.Sub(r.start).Seconds())+1))
	asked, err := r.engine.NewRangeQuery(context.Background(), r.db, nil, expr, r.start, r.end.Add(calm), step)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	defer asked.Close()
	answer := asked.Exec(context.Background())
	if answer.Err != nil {
		return nil, fmt.Errorf("%s: %w", expr, answer.Err)
	}
	matrix, err := answer.Matrix()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return append(promql.Matrix{}, copied(matrix)...), nil
}

// copied outlives the query that it is the answer of.
func copied(matrix promql.Matrix) promql.Matrix {
	out := make(promql.Matrix, len(matrix))
	for i, series := range matrix {
		out[i] = promql.Series{Metric: series.Metric.Copy(), Floats: append([]promql.FPoint{}, series.Floats...)}
	}
	return out
}

// picture draws all panels with what was recorded.
func picture(path string, out io.Writer) error {
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
	return draw(out, r)
}
