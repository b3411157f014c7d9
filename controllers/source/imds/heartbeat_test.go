// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/hack/awssim"
)

func TestProbe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "heartbeat")
	check := func(what, want string) {
		t.Helper()
		err := Probe(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	h := heartbeat(file)
	check("no watcher", "has not started")
	if err := h.create(); err != nil {
		t.Fatal(err)
	}
	check("nothing read yet", "cannot read")
	if err := h.renew(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	check("read", "")
	if err := h.renew(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	check("not read since", "cannot read")
	if err := h.create(); err != nil {
		t.Fatal(err)
	}
	check("another process", "cannot read")
	if err := heartbeat(filepath.Join(file, "x")).create(); err == nil || !strings.Contains(err.Error(), "mount a writable volume") {
		t.Errorf("a file that cannot be: %v", err)
	}
	if err := heartbeat("").create(); err != nil {
		t.Errorf("no file: %v", err)
	}
}

// TestHeartbeat: some failures in a row do not end the heartbeat, a path that keeps failing does.
func TestHeartbeat(t *testing.T) {
	f := newFixture(t)
	valid := func() time.Duration {
		info, err := os.Stat(f.heartbeatFile)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime().Sub(f.clock.Now())
	}
	f.pass(time.Minute)
	if d := valid(); d < grace-heartbeatInterval || d > grace+heartbeatInterval {
		t.Errorf("at rest the heartbeat counts for %s more, want about %s", d, grace)
	}
	if err := f.sim.AddFault(awssim.MetadataFault{Path: awssim.MetadataSpotAction, Status: 503}); err != nil {
		t.Fatal(err)
	}
	f.pass(15 * time.Second)
	if d := valid(); d <= 0 {
		t.Errorf("after a quarter of a minute of failures the heartbeat is over for %s", -d)
	}
	f.pass(time.Minute)
	if d := valid(); d > 0 {
		t.Errorf("after a minute of failures the heartbeat counts for %s more", d)
	}
	f.sim.ClearFaults()
	f.pass(maxRetry)
	if d := valid(); d <= 0 {
		t.Error("the heartbeat is not renewed")
	}
}
