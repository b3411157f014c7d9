// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math"
)

// The plot has a panel for each number of nodes, two in a row.
const (
	panelWidth, panelHeight = 440, 260
	marginLeft, marginTop   = 60, 40
	plotWidth, plotHeight   = panelWidth - marginLeft - 20, panelHeight - marginTop - 50
	legendHeight            = 30
)

// line is one line of a panel, and of the legend.
type line struct {
	label, color, dashes string
	curve                func(*drainRun) []float64
}

var lines = []line{
	{"nodes cordoned: operator", "#d95f02", "", func(run *drainRun) []float64 { return run.Operator.Cordoned.Curve }},
	{"floor", "#d95f02", "3 3", func(run *drainRun) []float64 { return run.Before.Cordoned.Curve }},
	{"pods evicted: operator", "#1f5fa8", "", func(run *drainRun) []float64 { return run.Operator.Evicted.Curve }},
	{"floor", "#1f5fa8", "3 3", func(run *drainRun) []float64 { return run.Before.Evicted.Curve }},
}

// plot draws the share of nodes cordoned and of pods evicted over time, as SVG.
func plot(runs []drainRun) []byte {
	rows := (len(runs) + 1) / 2
	width, height := 2*panelWidth, rows*panelHeight+legendHeight
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	x := marginLeft
	for _, l := range lines {
		fmt.Fprintf(&out, `<path d="M%d 18h30" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`, x, l.color, l.dashes)
		fmt.Fprintf(&out, `<text x="%d" y="22">%s</text>`+"\n", x+36, l.label)
		x += 60 + 7*len(l.label)
	}
	for i := range runs {
		fmt.Fprintf(&out, `<g transform="translate(%d %d)">`+"\n", i%2*panelWidth+marginLeft, legendHeight+i/2*panelHeight+marginTop)
		drawPanel(&out, &runs[i])
		fmt.Fprint(&out, "</g>\n")
	}
	fmt.Fprint(&out, "</svg>\n")
	return out.Bytes()
}

// drawPanel draws one number of nodes, with its origin at the top left of the axes.
func drawPanel(out *bytes.Buffer, run *drainRun) {
	fmt.Fprintf(out, `<text y="-12" font-weight="bold">%d nodes with %d pods each</text>`+"\n", run.Nodes, run.PodsPerNode)
	for share := 0; share <= 100; share += 25 {
		y := plotHeight * (100 - share) / 100
		fmt.Fprintf(out, `<path d="M0 %dh%d" stroke="#dddddd"/><text x="-8" y="%d" text-anchor="end">%d %%</text>`+"\n", y, plotWidth, y+4, share)
	}
	var longest float64
	for _, l := range lines {
		for _, s := range l.curve(run) {
			longest = max(longest, s)
		}
	}
	step := tick(longest)
	scale := plotWidth / max(longest, step)
	for s := 0.0; s <= longest; s += step {
		fmt.Fprintf(out, `<path d="M%.1f %dv5" stroke="#666666"/><text x="%.1f" y="%d" text-anchor="middle">%g s</text>`+"\n",
			s*scale, plotHeight, s*scale, plotHeight+20, round(s, 2))
	}
	for _, l := range lines {
		fmt.Fprintf(out, `<path fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s" d="M0 %d`, l.color, l.dashes, plotHeight)
		curve := l.curve(run)
		for i, s := range curve {
			fmt.Fprintf(out, "L%.1f %.1f", s*scale, plotHeight*(1-float64(i+1)/float64(len(curve))))
		}
		fmt.Fprint(out, `"/>`+"\n")
	}
}

// tick returns a round number of seconds that goes into the longest four to ten times.
func tick(longest float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max(longest, 0.01))))
	switch {
	case longest/power < 2:
		return power / 5
	case longest/power < 5:
		return power / 2
	}
	return power
}
