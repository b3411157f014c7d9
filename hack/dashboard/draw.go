// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/palette/brewer"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Lengths, in points.
const (
	pageWidth, rowTitleHeight vg.Length = 1080, 28
	numberHeight, plotHeight  vg.Length = 66, 220
	padding, gap              vg.Length = 8, 6
)

var (
	grey  = color.Gray{Y: 0xf4}
	green = color.RGBA{R: 0x1b, G: 0x8a, B: 0x5a, A: 0xff}
	red   = color.RGBA{R: 0xc4, G: 0x16, B: 0x2a, A: 0xff}
)

var (
	regular = font.Font{Typeface: "Liberation", Variant: "Sans"}
	bold    = font.Font{Typeface: "Liberation", Variant: "Sans", Weight: xfont.WeightBold}
)

// axisLabels are what axes say for Grafana's units.
var axisLabels = map[string]string{"s": "seconds", "reqps": "per second", "short": "number"}

// drawAll draws all panels as SVG, as many side by side as in a row of the dashboard.
func drawAll(out io.Writer, r *recording) error {
	plot.DefaultFont = regular
	height := padding
	for _, row := range rows {
		height += rowTitleHeight + row.height() + gap
	}
	svg := vgsvg.New(pageWidth, height)
	page := draw.New(svg)
	fill(page, grey)
	page = draw.Crop(page, padding, -padding, padding, 0)
	for _, row := range rows {
		page.FillText(style(bold, 13), vg.Point{X: page.Min.X, Y: page.Max.Y - rowTitleHeight + padding}, row.title)
		page.Max.Y -= rowTitleHeight
		band := draw.Crop(page, 0, 0, page.Size().Y-row.height(), 0)
		columns := draw.Tiles{Cols: len(row.panels), Rows: 1, PadX: gap}
		for i := range row.panels {
			p := &row.panels[i]
			if err := p.draw(columns.At(band, i, 0), r); err != nil {
				return fmt.Errorf("panel %s: %w", p.title, err)
			}
		}
		page.Max.Y -= row.height() + gap
	}
	return writeSVG(out, svg)
}

func writeSVG(out io.Writer, svg *vgsvg.Canvas) error {
	var content bytes.Buffer
	if _, err := svg.WriteTo(&content); err != nil {
		return err
	}
	// Where there are no Liberation fonts Arial is as wide.
	_, err := out.Write(bytes.ReplaceAll(content.Bytes(), []byte("Liberation Sans;"), []byte("Liberation Sans,Arial,sans-serif;")))
	return err
}

func (r *row) height() vg.Length {
	if r.panels[0].number {
		return numberHeight
	}
	return plotHeight
}

func fill(c draw.Canvas, with color.Color) {
	c.FillPolygon(with, []vg.Point{c.Min, {X: c.Min.X, Y: c.Max.Y}, c.Max, {X: c.Max.X, Y: c.Min.Y}})
}

func style(f font.Font, size vg.Length) text.Style {
	return text.Style{Color: color.Black, Font: font.From(f, size), Handler: plot.DefaultTextHandler}
}

// draw draws what the panel's queries return.
func (p *panel) draw(c draw.Canvas, r *recording) error {
	var curves []curve
	for _, q := range p.queries {
		result, err := r.query(q)
		if err != nil {
			return err
		}
		curves = append(curves, result...)
	}
	fill(c, color.White)
	c = draw.Crop(c, padding, -padding, padding, -padding)
	if p.number {
		p.drawNumber(c, curves)
		return nil
	}
	return p.drawLines(c, curves, r.seconds(r.end))
}

// drawNumber draws the last value.
func (p *panel) drawNumber(c draw.Canvas, curves []curve) {
	title, number := style(bold, 10), style(regular, 22)
	title.XAlign, title.YAlign, number.XAlign = draw.XCenter, draw.YTop, draw.XCenter
	value := "none"
	if len(curves) > 0 {
		last := curves[0].points[len(curves[0].points)-1].Y
		value, number.Color = fmt.Sprint(math.Round(last)), green
		if (last >= p.turns) != p.badBelow {
			number.Color = red
		}
	}
	c.FillText(title, vg.Point{X: c.Center().X, Y: c.Max.Y}, p.title)
	c.FillText(number, vg.Point{X: c.Center().X, Y: c.Min.Y + 4}, value)
}

// drawLines draws lines over time.
func (p *panel) drawLines(c draw.Canvas, curves []curve, end float64) error {
	lines := newChart(p.title, axisLabels[p.unit])
	lines.X.Min, lines.X.Max, lines.Y.Min, lines.Y.Max = 0, end, 0, 1
	for i, curve := range curves {
		for j, part := range curve.parts() {
			line, err := lines.add(part, i)
			if err != nil {
				return err
			}
			if j == 0 {
				lines.legends[i%2].Add(curve.label, line)
			}
		}
	}
	lines.Y.Max += (lines.Y.Max - lines.Y.Min) / 20 // no line on the edge
	lines.draw(c)
	return nil
}

// chart is lines over time, and the two columns of the legend below them.
type chart struct {
	*plot.Plot
	legends [2]plot.Legend
}

func newChart(title, yLabel string) *chart {
	c := &chart{plot.New(), [2]plot.Legend{plot.NewLegend(), plot.NewLegend()}}
	c.Title.Text, c.Title.TextStyle.Font, c.Title.Padding = title, font.From(bold, 10), 6
	c.X.Label.Text, c.Y.Label.Text = "seconds", yLabel
	for _, axis := range []*plot.Axis{&c.X, &c.Y} {
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size, axis.Padding = 8, 8, 0
		axis.Tick.Marker = plot.TickerFunc(roundTicks)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	c.Add(grid)
	return c
}

// roundTicks returns four to ten ticks, where the library's own are two or three and can be odd.
func roundTicks(from, to float64) []plot.Tick {
	step := math.Pow10(int(math.Floor(math.Log10(to - from))))
	switch steps := (to - from) / step; {
	case steps < 2:
		step /= 5
	case steps < 5:
		step /= 2
	}
	var ticks []plot.Tick
	for i := int(math.Ceil(from / step)); float64(i)*step <= to; i++ {
		at := float64(i) * step
		ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("%.6g", at)})
	}
	return ticks
}

// add adds a line in the i-th color.
func (c *chart) add(points plotter.XYs, i int) (*plotter.Line, error) {
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	colors := brewer.Dark2[8].Colors()
	line.Color = colors[i%len(colors)]
	c.Add(line)
	return line, nil
}

func (c *chart) draw(on draw.Canvas) {
	height := vg.Length(0)
	columns := draw.Tiles{Cols: 2, Rows: 1}
	for i := range c.legends {
		l := &c.legends[i]
		l.Left, l.Top, l.Padding, l.TextStyle.Font.Size = true, true, 2, 8
		height = max(height, l.Rectangle(on).Size().Y)
	}
	below := draw.Crop(on, 0, 0, 0, height-on.Size().Y)
	for i := range c.legends {
		c.legends[i].Draw(columns.At(below, i, 0))
	}
	c.Draw(draw.Crop(on, 0, 0, height+gap, 0))
}
