// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// TestBench measures in a cluster, with as little of everything as there can be.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	path := filepath.Join(t.TempDir(), "results.json")
	var out bytes.Buffer
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := "delivery drain --nodes=2 --pods=3 --pods-per-budget=2 --widths=2,4 --api-server-cpus=1 --latency=5ms --messages=2" +
		" --handler-env=" + asHandler + "=1 --handler-command=" + this + " --json=" + path
	if err := run(t.Context(), strings.Fields(args), &out); err != nil {
		t.Fatal(err)
	}
	r, err := loadResults(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.Delivery == nil || len(r.Drain) != 1 || len(r.Measured) != 2 {
		t.Fatalf("results are %+v, want those of delivery and one drain", r)
	}
	d := &r.Drain[0]
	for what, l := range map[string]latency{
		"delivery": *r.Delivery,
		"cordoned": d.Operator.Cordoned, "evicted": d.Operator.Evicted, "gone": d.Operator.Gone,
		"floor's cordons": d.Before.Cordoned, "floor's evictions": d.After.Evicted,
	} {
		if l.P50 <= 0 || l.P95 < l.P50 || l.Max < l.P95 || l.Max > 60 {
			t.Errorf("%s took %s", what, l)
		}
	}
	if d.Operator.Cordoned.Max > d.Operator.Evicted.Max || d.Operator.Evicted.Max > d.Operator.Gone.Max {
		t.Errorf("seen in a wrong order: %+v", d.Operator.drainTimes)
	}
	if n := d.Operator.Requests["create pods/eviction"]; n < 6 || d.Operator.PerPod < float64(n)/6 {
		t.Errorf("%d evictions of 6 pods were counted, of %v requests per pod", n, d.Operator.PerPod)
	}
	if len(d.Floors) != 2 || d.Floors[0].Width != 2 || d.Before.Evicted.Max > min(d.Floors[0].Evicted.Max, d.Floors[1].Evicted.Max) {
		t.Errorf("the floors are %+v, the best of them %+v", d.Floors, d.Before)
	}
	if h := d.Handler; h == nil || h.Requests["create pods/eviction"] != 6 || h.Evicted.Max <= 0 || h.Memory < 10<<20 {
		t.Errorf("the other handler did %+v", h)
	}
	if d.Before.PerPod < 1 || d.Operator.Memory < 10<<20 || d.Operator.CPU <= 0 {
		t.Errorf("the floor needed %v requests per pod, the manager %d bytes and %v s of CPU", d.Before.PerPod, d.Operator.Memory, d.Operator.CPU)
	}
	for _, want := range []string{"2 × 3, a budget each 2, API server with 1 CPUs, 5 ms away", "handler", "create pods/eviction", "from sent to stored"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, &out)
		}
	}
}

// TestWatcher holds a watcher at rest to what it may use, but for the CPU, which depends on what
// else the machine does.
func TestWatcher(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for some seconds")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "imds-watcher")
	if err := operator.BuildWatcher(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	used, err := runWatcher(t.Context(), dir, binary, 5*time.Second, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if used.Memory > 20<<20 || used.Memory < 1<<20 {
		t.Errorf("%d bytes resident, want at most 20 MB", used.Memory)
	}
	if used.Requests != 0 || used.Asked == 0 || used.CPU <= 0 || used.Probe <= 0 {
		t.Errorf("used is %+v, want no request to the API server, and all else measured", used)
	}
	t.Logf("%+v", used)
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"dance":                   "parser, watcher",
		"drain --nodes=ten":       "write some like 10,50",
		"drain --nodes=0":         "from 1 on",
		"drain --handler-env=A=b": "--handler-command",
		"drain --widths=0":        "from 1 on",
		"drain --for=1ms":         "1s or more",
		"drain --messages=0":      "write 1 or more",
		"--runs=1 drain":          "names first",
		"page":                    "--json",
		"scenario":                "--metrics",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bench %s: %v, want an error with %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "nodes interrupted at once") {
		t.Errorf("bench --help: %v\n%s", err, &out)
	}
}

// TestOtherMachine: numbers of two machines are not mixed.
func TestOtherMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	r, err := readResults(path)
	if err != nil {
		t.Fatal(err)
	}
	r.note("parser")
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	if again, err := readResults(path); err != nil || len(again.Measured) != 1 {
		t.Errorf("read again: %+v, %v", again, err)
	}
	r.Machine.CPUs++
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := readResults(path); err == nil || !strings.Contains(err.Error(), "name a new file") {
		t.Errorf("the results of another machine: %v", err)
	}
}

func TestLatency(t *testing.T) {
	var durations []time.Duration
	for i := 100; i > 0; i-- {
		durations = append(durations, time.Duration(i)*time.Second)
	}
	l := latencyOf(durations)
	if l.P50 != 50 || l.P95 != 95 || l.Max != 100 || len(l.Curve) != curveSteps || l.Curve[0] != 2 {
		t.Errorf("1 to 100 s are %+v", l)
	}
	if l := latencyOf([]time.Duration{time.Second}); l.P50 != 1 || l.P95 != 1 || l.Max != 1 {
		t.Errorf("1 s is %+v", l)
	}
}

// TestPage: the page in the repository has what is in the file of results.
func TestPage(t *testing.T) {
	root, err := operator.Root()
	if err != nil {
		t.Fatal(err)
	}
	r, err := loadResults(filepath.Join(root, "docs", "performance.json"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, pagePath))
	if err != nil {
		t.Fatal(err)
	}
	current, err := insert(page, measuredPart(r))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, current) {
		t.Errorf("%s is not what docs/performance.json says: run \"make performance\"", pagePath)
	}
	if _, err := insert([]byte("no marks"), nil); err == nil {
		t.Error("a page without marks is no mistake")
	}
}
