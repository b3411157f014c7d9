// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/nodetermination/operator/controllers/drain"
)

// A node that does not answer since t0.
func TestUnreachableFrom(t *testing.T) {
	until := func(end time.Duration) drain.Pod { return drain.Pod{DeletionTimestamp: t0.Add(end)} }
	for name, test := range map[string]struct {
		pods []drain.Pod
		want time.Duration // zero: it is waited for
	}{
		"no pod":                             {want: 5 * time.Minute},
		"pods that should have ended":        {pods: []drain.Pod{until(-time.Hour), until(4 * time.Minute)}, want: 5 * time.Minute},
		"a minute after the last should":     {pods: []drain.Pod{until(10 * time.Minute), until(time.Minute)}, want: 11 * time.Minute},
		"one that was not evicted":           {pods: []drain.Pod{until(time.Minute), {}}},
		"one within the minute of the check": {pods: []drain.Pod{until(4*time.Minute + time.Second)}, want: 5*time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			from, ends := unreachableFrom(t0, test.pods)
			if ends != (test.want != 0) || ends && !from.Equal(t0.Add(test.want)) {
				t.Errorf("not waited for: %t, from %s, want %s after %s", ends, from, test.want, t0)
			}
		})
	}
}
