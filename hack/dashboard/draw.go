// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"

	"github.com/prometheus/prometheus/promql"
)

// The picture has as many panels side by side as a row of the dashboard.
const (
	pageWidth                = 1200
	titleHeight              = 30
	numberHeight, lineHeight = 80, 210
	padding                  = 12
)

var colors = []string{"#1f5fa8", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#666666"}

func draw(out io.Writer, r *recording) error {
	height := 0
	for _, row := range rows {
		height += titleHeight + row.height()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", pageWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#f4f5f5"/>`+"\n", pageWidth, height)
	y := 0
	for _, row := range rows {
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="14" font-weight="bold">%s</text>`+"\n", padding, y+21, row.title)
		y += titleHeight
		width := pageWidth / len(row.panels)
		for i := range row.panels {
			p := &row.panels[i]
			fmt.Fprintf(&b, `<g transform="translate(%d %d)"><rect width="%d" height="%d" fill="#ffffff" stroke="#dddddd"/>`+"\n", i*width+4, y, width-8, row.height()-8)
			fmt.Fprintf(&b, `<text x="%d" y="18" font-weight="bold">%s</text>`+"\n", padding, html.EscapeString(p.title))
			if err := p.draw(&b, r, width-8, row.height()-8); err != nil {
				return fmt.Errorf("panel %s: %w", p.title, err)
			}
			b.WriteString("</g>\n")
		}
		y += row.height()
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func (r *row) height() int {
	if r.panels[0].number {
		return numberHeight
	}
	return lineHeight
}

// curve is one line of a panel.
type curve struct {
	label  string
	points []promql.FPoint
}

func (p *panel) draw(b *strings.Builder, r *recording, width, height int) error {
	var curves []curve
	for _, q := range p.queries {
		answer, err := r.ask(q)
		if err != nil {
			return err
		}
		for _, series := range answer {
			curves = append(curves, curve{legend(q.legend, series), finite(series.Floats)})
		}
	}
	if p.number {
		p.drawNumber(b, curves, width)
	} else {
		p.drawLines(b, r, curves, width, height)
	}
	return nil
}

// legend fills in a series' labels.
func legend(format string, series promql.Series) string {
	for name, value := range series.Metric.Map() {
		format = strings.ReplaceAll(format, "{{"+name+"}}", value)
	}
	return format
}

// finite leaves out what cannot be drawn: a quantile of nothing is none.
func finite(points []promql.FPoint) []promql.FPoint {
	var kept []promql.FPoint
	for _, p := range points {
		if !math.IsNaN(p.F) && !math.IsInf(p.F, 0) {
			kept = append(kept, p)
		}
	}
	return kept
}

func (p *panel) drawNumber(b *strings.Builder, curves []curve, width int) {
	text, color := "none", "#666666"
	if len(curves) > 0 && len(curves[0].points) > 0 {
		value := curves[0].points[len(curves[0].points)-1].F
		text, color = fmt.Sprintf("%.3g", math.Round(value)), "#1b9e77"
		if (value >= p.turns) != p.badBelow {
			color = "#c4162a"
		}
	}
	fmt.Fprintf(b, `<text x="%d" y="56" font-size="28" text-anchor="middle" fill="%s">%s</text>`+"\n", width/2, color, text)
}

// drawLines draws lines over time, with a legend below.
func (p *panel) drawLines(b *strings.Builder, r *recording, curves []curve, width, height int) {
	const left, top, bottom = 46, 32, 52
	w, h := float64(width-left-padding), float64(height-top-bottom)
	low, high := bounds(curves)
	x := func(t int64) float64 {
		return left + w*float64(t-r.start.UnixMilli())/float64(r.end.Add(calm).Sub(r.start).Milliseconds())
	}
	y := func(v float64) float64 { return top + h*(high-v)/(high-low) }
	for i := range 5 {
		v := low + (high-low)*float64(i)/4
		fmt.Fprintf(b, `<path d="M%d %.1fh%.1f" stroke="#eeeeee"/><text x="%d" y="%.1f" text-anchor="end" fill="#666666">%s%s</text>`+"\n",
			left, y(v), w, left-4, y(v)+4, short(v), unitNames[p.unit])
	}
	for s := 0; s <= int(r.end.Sub(r.start).Seconds()); s += 10 {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#666666">%d s</text>`+"\n", x(r.start.UnixMilli()+int64(s)*1000), top+h+14, s)
	}
	labelX, labelY := padding, height-20
	for i, c := range curves {
		if len(c.points) == 0 {
			continue
		}
		color := colors[i%len(colors)]
		fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="1.5" d="`, color)
		for j, point := range c.points {
			command := "L"
			if j == 0 || point.T-c.points[j-1].T > 2*step.Milliseconds() {
				command = "M"
			}
			fmt.Fprintf(b, "%s%.1f %.1f", command, x(point.T), y(point.F))
		}
		b.WriteString(`"/>` + "\n")
		if wide := 24 + 6*len(c.label); labelX+wide > width && labelX > padding {
			labelX, labelY = padding, labelY+14
		}
		fmt.Fprintf(b, `<path d="M%d %dh14" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
			labelX, labelY-4, color, labelX+18, labelY, html.EscapeString(c.label))
		labelX += 30 + 6*len(c.label)
	}
}

// unitNames are short names of Grafana's units.
var unitNames = map[string]string{"s": " s", "reqps": "/s"}

func short(v float64) string {
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// bounds are of all values, with zero among them.
func bounds(curves []curve) (low, high float64) {
	for _, c := range curves {
		for _, p := range c.points {
			low, high = min(low, p.F), max(high, p.F)
		}
	}
	if high == low {
		high = low + 1
	}
	return low, high
}
