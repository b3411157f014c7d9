// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

const (
	// warmUp is how long a watcher has before it counts as at rest.
	warmUp = 5 * time.Second
	// window is how often it reads even the documents that it reads seldom.
	window = 30 * time.Second
)

// atRest is what a watcher uses while its instance's metadata announces nothing.
type atRest struct {
	memory   int64         // resident, in bytes
	cpu      time.Duration // a minute
	requests int64         // to the API server
	asked    int           // requests to the metadata service a minute
	probe    time.Duration // CPU of one run of the probe
}

// watcher measures a watcher at rest.
func watcher(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench watcher", flag.ContinueOnError)
	length := flags.Duration("for", 2*time.Minute, "how long to measure")
	interval := flags.Duration("poll-interval", 2*time.Second, "of the watcher")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "imds-watcher")
	if err := operator.BuildWatcher(ctx, binary); err != nil {
		return err
	}
	used, err := measure(ctx, dir, binary, *length, *interval)
	if err != nil {
		return err
	}
	const mb = 1 << 20
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, row := range []struct{ what, nth, limit, measured string }{
		{"watcher at rest, polling every " + interval.String(), "NTH 1.25", "at most", "measured"},
		{"memory, resident", "52 MB", "20 MB", fmt.Sprintf("%.1f MB", float64(used.memory)/mb)},
		{"CPU a minute", "70 ms", "35 ms", fmt.Sprintf("%.1f ms", millis(used.cpu))},
		{"requests to the API server", "", "0", fmt.Sprint(used.requests)},
		{"requests to the metadata service a minute", "", "", fmt.Sprint(used.asked)},
		{"CPU of a probe, once a minute", "", "", fmt.Sprintf("%.1f ms", millis(used.probe))},
	} {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.what, row.nth, row.limit, row.measured)
	}
	return table.Flush()
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }

// measure runs a watcher for so long, with its files in dir.
func measure(ctx context.Context, dir, binary string, length, interval time.Duration) (used atRest, err error) {
	metadata, err := awssim.StartMetadata(awssim.MetadataOptions{})
	if err != nil {
		return used, err
	}
	defer func() { err = errors.Join(err, metadata.Close()) }()
	var requests atomic.Int64
	kubeconfig, stop, err := countingServer(dir, &requests)
	if err != nil {
		return used, err
	}
	defer stop()

	heartbeat := "--heartbeat-file=" + filepath.Join(dir, "heartbeat")
	cmd := exec.CommandContext(ctx, binary, heartbeat, "--poll-interval="+interval.String(), "--endpoint="+metadata.URL())
	cmd.Env = []string{"NODE_NAME=node", "KUBECONFIG=" + kubeconfig}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return used, err
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }() // it has not failed before

	if err := wait(ctx, warmUp); err != nil {
		return used, err
	}
	asked := metadata.Requests("")
	if used.cpu, err = cpuMinute(ctx, cmd.Process.Pid, length); err != nil {
		return used, err
	}
	used.asked = int(float64(metadata.Requests("")-asked) / length.Minutes())
	used.requests = requests.Load()
	if used.memory, err = resident(cmd.Process.Pid); err != nil {
		return used, err
	}

	probe := exec.CommandContext(ctx, binary, "probe", heartbeat)
	if out, err := probe.CombinedOutput(); err != nil {
		return used, fmt.Errorf("the probe says %s: %w", out, err)
	}
	used.probe = probe.ProcessState.UserTime() + probe.ProcessState.SystemTime()
	return used, nil
}

// cpuMinute is the CPU that a process uses a minute: the median of the windows of so long, since what
// else the machine does, and the one that it may be a part of, makes some of them many times as long.
func cpuMinute(ctx context.Context, pid int, length time.Duration) (time.Duration, error) {
	windows := max(1, int(length/window))
	each := length / time.Duration(windows)
	var used []time.Duration
	for range windows {
		before, err := threadsCPU(pid)
		if err != nil {
			return 0, err
		}
		if err := wait(ctx, each); err != nil {
			return 0, err
		}
		after, err := threadsCPU(pid)
		if err != nil {
			return 0, err
		}
		used = append(used, time.Duration(float64(after-before)/each.Minutes()))
	}
	slices.Sort(used)
	return used[len(used)/2], nil
}

// countingServer stands for an API server, which counts what it is asked. kubeconfig is for a client of it.
func countingServer(dir string, requests *atomic.Int64) (kubeconfig string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		http.Error(w, "this is no API server", http.StatusServiceUnavailable)
	})}
	go func() { _ = server.Serve(listener) }() // until it is closed
	kubeconfig = filepath.Join(dir, "kubeconfig")
	const name = "bench"
	return kubeconfig, func() { _ = server.Close() }, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: "http://" + listener.Addr().String()}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name}},
		CurrentContext: name,
	}, kubeconfig)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
