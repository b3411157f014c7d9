// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	check("no watcher", "has not begun")
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	check("nothing heard yet", "cannot hear")
	if err := h.beat(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	check("heard", "")
	if err := h.beat(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	check("not heard since", "cannot hear")
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	check("another process", "cannot hear")
	if err := heartbeat(filepath.Join(file, "x")).begin(); err == nil || !strings.Contains(err.Error(), "mount a writable volume") {
		t.Errorf("a file that cannot be: %v", err)
	}
	if err := heartbeat("").begin(); err != nil {
		t.Errorf("no file: %v", err)
	}
}

// TestHeartbeat: some failures in a row are nothing, a path that stays silent is.
func TestHeartbeat(t *testing.T) {
	r := newRig(t)
	r.clock.SetTime(time.Now())
	r.pass(0)
	if err := Probe(r.beats); err != nil {
		t.Errorf("at the start: %v", err)
	}
	r.clock.SetTime(time.Now().Add(-time.Hour))
	r.documents[0].failures = 1
	r.beat()
	if err := Probe(r.beats); err != nil {
		t.Errorf("after one failure: %v", err)
	}
	r.documents[0].failures = 0
	r.beat() // an hour ago
	if err := Probe(r.beats); err == nil {
		t.Error("nothing was heard for an hour, and all is well")
	}
}
