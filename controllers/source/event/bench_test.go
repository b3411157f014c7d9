// SPDX-License-Identifier: Apache-2.0

package event

import "testing"

// budgets are documents of every form, and how many allocations it takes to parse them, with a few to
// spare for another version of Go.
var budgets = []struct {
	file   string
	path   string // of the metadata service; empty: a message
	allocs float64
}{
	{file: "spot-terminate", allocs: 32},
	{file: "rebalance", allocs: 30},
	{file: "state-shutting-down", allocs: 32},
	{file: "state-running", allocs: 31},
	{file: "capacity-reservation", allocs: 34},
	{file: "health-reboot", allocs: 85},
	{file: "autoscaling-terminate", allocs: 45},
	{file: "autoscaling-terminate-queue", allocs: 28},
	{file: "autoscaling-launch", allocs: 39},
	{file: "sns-rebalance", allocs: 46},
	{file: "spot-terminate", path: PathSpotInstanceAction, allocs: 18},
	{file: "rebalance", path: PathRebalance, allocs: 16},
	{file: "maintenance", path: PathMaintenance, allocs: 20},
}

// parser returns what parses a document, and the document.
func parser(tb testing.TB, file, path string) (parse func() error, body []byte) {
	tb.Helper()
	if path == "" {
		body = sample(tb, file)
		return func() error { _, err := Parse(body, sent); return err }, body
	}
	body = metadataBody(tb, file, "")
	return func() error { _, err := ParseMetadata(path, body, testInstance); return err }, body
}

// TestAllocations guards against parsing that becomes more expensive unnoticed.
func TestAllocations(t *testing.T) {
	for _, b := range budgets {
		parse, _ := parser(t, b.file, b.path)
		if err := parse(); err != nil {
			t.Fatalf("%s%s: %v", b.path, b.file, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = parse() }); n > b.allocs {
			t.Errorf("%s %s takes %v allocations, want at most %v", b.path, b.file, n, b.allocs)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, budget := range budgets {
		parse, body := parser(b, budget.file, budget.path)
		b.Run(budget.path+"/"+budget.file, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := parse(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
