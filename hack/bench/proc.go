// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// sampleInterval is how often the memory of a process is looked at. The kernel keeps no peak of the anonymous part.
const sampleInterval = 20 * time.Millisecond

// watchAnonymous looks at the anonymous memory of a process until the function is called that it returns. That
// one returns the most there was, in bytes; 0 if the process has ended before.
func watchAnonymous(pid int) (peak func() int64) {
	var most int64
	var watching sync.WaitGroup
	done := make(chan struct{})
	watching.Go(func() {
		ticker := time.NewTicker(sampleInterval)
		defer ticker.Stop()
		for {
			if usage, err := operator.UsageOf(pid); err == nil {
				most = max(most, usage.Anonymous)
			}
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() int64 {
		close(done)
		watching.Wait()
		return most
	}
}

// threadsCPU returns what the threads that a process has now have used, to the nanosecond: the process's
// own count goes in steps of 10 ms, which is a third of what a watcher may use in a minute.
// https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
func threadsCPU(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	var sum time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return 0, err // Go programs do not end their threads
		}
		var used time.Duration
		if _, err := fmt.Sscan(string(content), &used); err != nil {
			return 0, fmt.Errorf("%s is not as documented: %q", file, content)
		}
		sum += used
	}
	return sum, nil
}

// resident returns the memory that a process has, in bytes.
func resident(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kB int64
	_, after, _ := strings.Cut(string(content), "\nVmRSS:")
	if _, err := fmt.Sscanf(after, "%d kB", &kB); err != nil {
		return 0, fmt.Errorf("/proc/%d/status has no VmRSS: the process has ended", pid)
	}
	return kB << 10, nil
}
