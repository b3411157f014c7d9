// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// latency sums up durations, in seconds.
type latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
	// Curve is how long it took for 2 %, 4 % ... 100 % of them, for the plot.
	Curve []float64 `json:"curve,omitempty"`
}

// curveSteps is the length of a curve.
const curveSteps = 50

// latencyOf sums up at least one duration.
func latencyOf(durations []time.Duration) latency {
	slices.Sort(durations)
	l := latency{P50: quantile(durations, 0.5), P95: quantile(durations, 0.95), Max: quantile(durations, 1)}
	for i := 1; i <= curveSteps; i++ {
		l.Curve = append(l.Curve, quantile(durations, float64(i)/curveSteps))
	}
	return l
}

// since sums up how long after start something was seen of each.
func since[K comparable](start time.Time, seen map[K]time.Time) latency {
	durations := make([]time.Duration, 0, len(seen))
	for _, at := range seen {
		durations = append(durations, at.Sub(start))
	}
	return latencyOf(durations)
}

// quantile returns the shortest duration that the given share of all does not exceed.
func quantile(sorted []time.Duration, share float64) float64 {
	i := max(int(math.Ceil(share*float64(len(sorted))))-1, 0)
	return round(sorted[i].Seconds(), 3)
}

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}

// String returns p50, p95 and the maximum.
func (l latency) String() string {
	return fmt.Sprintf("%s / %s / %s", seconds(l.P50), seconds(l.P95), seconds(l.Max))
}

func seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }
