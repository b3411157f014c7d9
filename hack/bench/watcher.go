// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
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

// watcherRun is what a watcher uses while its instance's metadata announces nothing.
type watcherRun struct {
	Interval string  `json:"pollInterval"`
	Memory   int64   `json:"memoryBytes"` // resident
	CPU      float64 `json:"cpuMillisAMinute"`
	Requests int64   `json:"requests"`       // to the API server
	Asked    int     `json:"askedAMinute"`   // requests to the metadata service
	Probe    float64 `json:"probeCPUMillis"` // of one run of the probe
}

func measureWatcher(ctx context.Context, l *lab, o *options, r *results) error {
	binary := filepath.Join(l.dir, "imds-watcher")
	if err := operator.BuildWatcher(ctx, binary); err != nil {
		return err
	}
	used, err := runWatcher(ctx, l.dir, binary, o.length, o.interval)
	r.Watcher = &used
	return err
}

func watcherTables(r *results) []table {
	if r.Watcher == nil {
		return nil
	}
	used := r.Watcher
	return []table{{
		title: "A watcher at rest, polling every " + used.Interval, head: []string{"", "NTH 1.25", "at most", "measured"},
		rows: [][]string{
			{"memory, resident", "52 MB", "20 MB", megabytes(used.Memory)},
			{"CPU a minute", "70 ms", "35 ms", fmt.Sprintf("%.1f ms", used.CPU)},
			{"requests to the API server", "", "0", fmt.Sprint(used.Requests)},
			{"requests to the metadata service a minute", "", "", fmt.Sprint(used.Asked)},
			{"CPU of a probe, every three minutes", "", "", fmt.Sprintf("%.1f ms", used.Probe)},
			{"CPU a minute, with the probe's", "", "35 ms", fmt.Sprintf("%.1f ms", used.CPU+used.Probe/3)},
		},
	}}
}

func millis(d time.Duration) float64 { return round(d.Seconds()*1000, 1) }

// runWatcher runs a watcher for so long, with its files in dir.
func runWatcher(ctx context.Context, dir, binary string, length, interval time.Duration) (used watcherRun, err error) {
	used.Interval = interval.String()
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
	asked, stored := metadata.Requests(""), requests.Load() // at its start it asks for what is stored
	cpu, err := cpuMinute(ctx, cmd.Process.Pid, length)
	if err != nil {
		return used, err
	}
	used.CPU = millis(cpu)
	used.Asked = int(float64(metadata.Requests("")-asked) / length.Minutes())
	used.Requests = requests.Load() - stored
	if used.Memory, err = resident(cmd.Process.Pid); err != nil {
		return used, err
	}

	probe := exec.CommandContext(ctx, binary, "probe", heartbeat)
	if out, err := probe.CombinedOutput(); err != nil {
		return used, fmt.Errorf("the probe says %s: %w", out, err)
	}
	used.Probe = millis(probe.ProcessState.UserTime() + probe.ProcessState.SystemTime())
	return used, nil
}

// cpuMinute returns the CPU that a process uses a minute: the median of the windows of so long, since what
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

// countingServer stands for an API server that has nothing stored, and counts its requests. kubeconfig is for a client of it.
func countingServer(dir string, requests *atomic.Int64) (kubeconfig string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		http.Error(w, "there is no NodeTermination", http.StatusNotFound)
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
