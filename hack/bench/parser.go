// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
)

// parserRun is what it takes to parse a message of one kind.
type parserRun struct {
	Kind        string  `json:"kind"`
	Bytes       int     `json:"bytes"`
	PerSecond   float64 `json:"perSecond"` // on one CPU
	Allocations int64   `json:"allocations"`
	Allocated   int64   `json:"allocatedBytes"`
}

func measureParser(ctx context.Context, _ *lab, _ *options, r *results) error {
	r.Parser = nil
	for _, kind := range []string{awssim.SpotInterruption, awssim.RebalanceRecommendation, awssim.StateChange, awssim.CapacityReservation, awssim.Health, awssim.Lifecycle, awssim.LifecycleDirect} {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, err := awssim.Notice{Kind: kind, InstanceIDs: []string{"i-1234567890abcdef0"}}.Message()
		if err != nil {
			return err
		}
		sent := time.Now()
		if document, err := event.Parse([]byte(body), sent); err != nil || len(document.Facts) == 0 {
			return fmt.Errorf("a %s message has %d facts: %w", kind, len(document.Facts), err)
		}
		took := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = event.Parse([]byte(body), sent) // it went well above
			}
		})
		r.Parser = append(r.Parser, parserRun{
			Kind: kind, Bytes: len(body), PerSecond: round(1e9/float64(took.NsPerOp()), 0),
			Allocations: took.AllocsPerOp(), Allocated: took.AllocedBytesPerOp(),
		})
	}
	return nil
}

func parserTables(r *results) []table {
	t := table{title: "Parsing a message", head: []string{"kind", "size", "messages a second", "allocations", "allocated"}}
	for _, run := range r.Parser {
		t.rows = append(t.rows, []string{
			run.Kind, fmt.Sprintf("%d bytes", run.Bytes), fmt.Sprintf("%.0f", run.PerSecond),
			fmt.Sprint(run.Allocations), fmt.Sprintf("%d bytes", run.Allocated),
		})
	}
	return []table{t}
}
