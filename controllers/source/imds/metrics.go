// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// metricsTimeout bounds a request for metrics, and the end of the server.
const metricsTimeout = 5 * time.Second

// metricsType is Prometheus' text format.
// https://prometheus.io/docs/instrumenting/exposition_formats/
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// counters count what a watcher does. They are written out by hand: Prometheus'
// library would be a tenth of a watcher's memory, on every node.
type counters struct {
	mu       sync.Mutex
	requests map[[2]string]int // by document and result
	events   map[v1alpha1.EventKind]int
	writes   map[string]int // by result
	lastRead time.Time      // when all documents could last be read
}

// Results of requests and writes.
const (
	succeeded = "succeeded"
	failed    = "failed"
	// unknown is that of a document that is passed over: see event.UnknownState.
	unknown = "unknown"
)

// newCounters returns counters that begin at zero, so that a rate sees the first of everything.
func newCounters(documents []*document) *counters {
	c := &counters{
		requests: map[[2]string]int{},
		writes:   map[string]int{succeeded: 0, failed: 0},
		events: map[v1alpha1.EventKind]int{
			v1alpha1.SpotInterruption: 0, v1alpha1.RebalanceRecommendation: 0,
			v1alpha1.ScheduledMaintenance: 0, v1alpha1.AutoScalingTermination: 0,
		},
	}
	for _, d := range documents {
		for _, result := range []string{succeeded, failed} {
			c.requests[[2]string{documentNames[d.path], result}] = 0
		}
		if d.path == event.PathTargetLifecycleState {
			c.requests[[2]string{documentNames[d.path], unknown}] = 0
		}
	}
	return c
}

// documentNames are short names of paths.
var documentNames = map[string]string{
	event.PathSpotInstanceAction:   "spot",
	event.PathTargetLifecycleState: "target_lifecycle_state",
	event.PathRebalance:            "rebalance",
	event.PathMaintenance:          "maintenance",
	event.PathMaintenanceHistory:   "maintenance_history",
}

// result returns the value of the label result.
func result(ok bool) string {
	if ok {
		return succeeded
	}
	return failed
}

// read counts the reading of a document.
func (c *counters) read(path, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[[2]string{documentNames[path], result}]++
}

// readAll notes that every document could be read when last tried.
func (c *counters) readAll(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastRead = at
}

// wrote counts the storing of an event.
func (c *counters) wrote(kind v1alpha1.EventKind, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes[result(ok)]++
	if ok {
		c.events[kind]++
	}
}

// ServeHTTP implements http.Handler.
func (c *counters) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", metricsType)
	_, _ = io.WriteString(w, c.text())
}

// text returns all metrics in Prometheus' text format.
func (c *counters) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	family(&b, "requests_total", "counter", "Requests for documents of the instance metadata service, by document and result: succeeded (also if there is none), failed, or unknown (a target lifecycle state that this version does not know, and passes over).")
	for _, key := range slices.SortedFunc(maps.Keys(c.requests), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		sample(&b, "requests_total", fmt.Sprintf(`{document=%q,result=%q}`, key[0], key[1]), float64(c.requests[key]))
	}
	family(&b, "events_total", "counter", "Events stored, each time that they differ from before, by kind.")
	for _, kind := range slices.Sorted(maps.Keys(c.events)) {
		sample(&b, "events_total", fmt.Sprintf(`{kind=%q}`, kind), float64(c.events[kind]))
	}
	family(&b, "writes_total", "counter", "Attempts to store an event, by result: succeeded or failed.")
	for _, result := range slices.Sorted(maps.Keys(c.writes)) {
		sample(&b, "writes_total", fmt.Sprintf(`{result=%q}`, result), float64(c.writes[result]))
	}
	family(&b, "last_success_timestamp_seconds", "gauge", "When all documents could last be read, in Unix time. 0: not yet.")
	lastRead := 0.0
	if !c.lastRead.IsZero() {
		lastRead = float64(c.lastRead.UnixMilli()) / 1000
	}
	sample(&b, "last_success_timestamp_seconds", "", lastRead)
	return b.String()
}

const metricsPrefix = "node_termination_watcher_"

func family(b *strings.Builder, name, kind, help string) {
	fmt.Fprintf(b, "# HELP %[1]s%[2]s %[4]s\n# TYPE %[1]s%[2]s %[3]s\n", metricsPrefix, name, kind, help)
}

func sample(b *strings.Builder, name, labels string, value float64) {
	b.WriteString(metricsPrefix + name + labels + " " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
}

// serve serves the metrics at an address until ctx ends. A watcher that cannot works all the same.
func (w *Watcher) serve(ctx context.Context) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.opts.Metrics)
	if err != nil {
		w.opts.Log.Error(err, "metrics are not served, the watcher works without them: give the policy another metricsPort", "address", w.opts.Metrics)
		return
	}
	w.serveAt(ctx, listener)
}

func (w *Watcher) serveAt(ctx context.Context, listener net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.counters)
	server := &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		w.opts.Log.Error(err, "metrics are not served any more")
	}
}
