// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	const (
		stat   = "4242 (man) ager) S 1 4242 4242 0 -1 4194560 9999 0 0 0 151 49 7 8 20 0 12 0 123456 1300000000 16000"
		status = "Name:\tmanager\nVmPeak:\t 1270000 kB\nVmHWM:\t   81920 kB\nVmRSS:\t   40960 kB\nRssAnon:\t   10240 kB\nThreads:\t12\n"
	)
	want := Usage{CPU: 2 * time.Second, Memory: 40 << 20, Anonymous: 10 << 20, MaxMemory: 80 << 20}
	if got, err := parseUsage(stat, status); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}

	for _, tt := range []struct{ name, stat, status string }{
		{"empty", "", status},
		{"cut off", "4242 (manager) S 1 4242", status},
		{"no number", "4242 (manager) S 1 4242 4242 0 -1 4194560 9999 0 0 0 x 49 7", status},
		{"a zombie has no memory", stat, "Name:\tmanager\nState:\tZ (zombie)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseUsage(tt.stat, tt.status); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}
