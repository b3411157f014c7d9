// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU       time.Duration // of all its threads, user and system, in steps of 10 ms
	Memory    int64         // resident now, in bytes
	Anonymous int64         // the part of Memory that is in no file, as the program's own pages are
	MaxMemory int64         // most ever resident, in bytes
}

// tick is the unit of the times in /proc/<pid>/stat: USER_HZ is 100 wherever Go runs Linux.
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
const tick = 10 * time.Millisecond

// Usage reads what the running process has used. It fails when the process has ended.
func (p *Process) Usage() (Usage, error) { return UsageOf(p.PID()) }

// UsageOf reads what a running process has used. It fails when the process has ended.
func UsageOf(pid int) (Usage, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return Usage{}, err
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return Usage{}, err
	}
	return parseUsage(string(stat), string(status))
}

func parseUsage(stat, status string) (Usage, error) {
	var u Usage
	// The second field is the name in parentheses and may itself contain any character. After it,
	// utime and stime are the 14th and 15th field of all.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/<pid>/stat is not as documented: %q", stat)
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/<pid>/stat: %w", err)
		}
		u.CPU += time.Duration(ticks) * tick
	}
	for name, value := range map[string]*int64{"VmRSS": &u.Memory, "RssAnon": &u.Anonymous, "VmHWM": &u.MaxMemory} {
		_, rest, _ := strings.Cut(status, "\n"+name+":")
		if _, err := fmt.Sscanf(rest, "%d kB", value); err != nil {
			return u, fmt.Errorf("/proc/<pid>/status has no %s: the process has ended", name)
		}
		*value <<= 10
	}
	return u, nil
}
