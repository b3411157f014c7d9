// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// results are everything that was measured on one machine, as it is in the file of --json.
type results struct {
	Machine machine `json:"machine"`
	// Measured says when, by the bench's name.
	Measured map[string]occasion `json:"measured"`

	Parser   []parserRun  `json:"parser,omitempty"`
	Watcher  *watcherRun  `json:"watcher,omitempty"`
	Delivery *latency     `json:"delivery,omitempty"`
	Leader   *leaderRun   `json:"leader,omitempty"`
	Blocked  *blockedRun  `json:"blocked,omitempty"`
	Drain    []drainRun   `json:"drain,omitempty"`
	Simulate *simulateRun `json:"simulate,omitempty"`
	Idle     []idleRun    `json:"idle,omitempty"`
}

// machine is what the numbers depend on.
type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memoryBytes"`
	Linux  string `json:"linux"`
	Go     string `json:"go"`
}

// occasion is when something was measured, and of what.
type occasion struct {
	Time   time.Time `json:"time"`
	Commit string    `json:"commit,omitempty"` // with -dirty if there were changes
}

// readResults reads the file of an earlier run on this machine, if there is one.
func readResults(path string) (*results, error) {
	here, err := thisMachine()
	if err != nil {
		return nil, err
	}
	r := &results{Machine: here}
	if path != "" {
		earlier, err := loadResults(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, err
		case earlier.Machine != here:
			return nil, fmt.Errorf("%s was measured on another machine or with another Go (%+v, here it is %+v): name a new file", path, earlier.Machine, here)
		default:
			r = earlier
		}
	}
	if r.Measured == nil {
		r.Measured = map[string]occasion{}
	}
	return r, nil
}

func loadResults(path string) (*results, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s is not a file that --json wrote: %w", path, err)
	}
	return r, nil
}

// write keeps the results, unless there is no file for them.
func (r *results) write(path string) error {
	if path == "" {
		return nil
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// note notes that something was measured now.
func (r *results) note(name string) {
	r.Measured[name] = occasion{Time: time.Now().UTC().Truncate(time.Second), Commit: commit()}
}

// commit returns the commit that is measured, empty if git does not know it.
func commit() string {
	out, err := exec.CommandContext(context.Background(), "git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func thisMachine() (machine, error) {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), CPU: runtime.GOARCH}
	if model, err := field("/proc/cpuinfo", "model name"); err == nil { // not on every architecture
		m.CPU = model
	}
	memory, err := field("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscanf(memory, "%d kB", &m.Memory); err != nil {
		return m, fmt.Errorf("/proc/meminfo: %w", err)
	}
	// In whole GB: what the kernel keeps for itself differs from boot to boot.
	m.Memory = (m.Memory<<10 + 1<<29) >> 30 << 30
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if parts := strings.SplitN(string(release), ".", 3); len(parts) == 3 {
		m.Linux = parts[0] + "." + parts[1] // the rest is about who built it
	}
	return m, err
}

// field returns the first value of a name in a file of /proc.
func field(path, name string) (string, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", path, name)
}
