// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// fleet is what the benchmark's drain measured with one number of nodes.
type fleet struct {
	Nodes, PodsPerNode    int
	Operator, FloorBefore drainTimes
}

// drainTimes holds after how many seconds 2 %, 4 % ... 100 % of the nodes and pods were seen.
type drainTimes struct{ Cordoned, Evicted struct{ Curve []float64 } }

// drawPerformance draws the results in a file, a chart for each number of nodes, two in a row.
func drawPerformance(path string, out io.Writer) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var results struct{ Drain []fleet }
	if err := json.Unmarshal(content, &results); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	plot.DefaultFont = regular
	charts := draw.Tiles{Cols: 2, Rows: (len(results.Drain) + 1) / 2, PadX: 2 * padding, PadY: 2 * padding}
	svg := vgsvg.New(2*pageWidth/3, vg.Length(charts.Rows)*plotHeight)
	page := draw.New(svg)
	fill(page, color.White)
	page = draw.Crop(page, padding, -padding, padding, -padding)
	for i := range results.Drain {
		if err := results.Drain[i].draw(charts.At(page, i%2, i/2)); err != nil {
			return err
		}
	}
	return writeSVG(out, svg)
}

// draw draws the share of nodes cordoned and of pods evicted over time.
func (f *fleet) draw(c draw.Canvas) error {
	lines := newChart(fmt.Sprintf("%d nodes with %d pods each", f.Nodes, f.PodsPerNode), "percent")
	for _, by := range []struct {
		name   string
		dashes []vg.Length
		times  drainTimes
	}{{"operator", nil, f.Operator}, {"floor", []vg.Length{2, 2}, f.FloorBefore}} {
		for i, curve := range []curve{
			{"nodes cordoned: " + by.name, shares(by.times.Cordoned.Curve)},
			{"pods evicted: " + by.name, shares(by.times.Evicted.Curve)},
		} {
			line, err := lines.add(curve.points, i)
			if err != nil {
				return err
			}
			line.Dashes = by.dashes
			lines.legends[i].Add(curve.label, line)
		}
	}
	lines.draw(c)
	return nil
}

// shares returns the points of a line from 0 to 100 %.
func shares(seconds []float64) plotter.XYs {
	points := make(plotter.XYs, 1, len(seconds)+1)
	for i, s := range seconds {
		points = append(points, plotter.XY{X: s, Y: 100 * float64(i+1) / float64(len(seconds))})
	}
	return points
}
