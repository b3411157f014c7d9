// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// TestWatcher holds a watcher at rest to what it may use, but for the CPU, which depends on what
// else the machine does.
func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "imds-watcher")
	if err := operator.BuildWatcher(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	used, err := measure(t.Context(), dir, binary, 5*time.Second, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if used.memory > 20<<20 || used.memory < 1<<20 {
		t.Errorf("%d bytes resident, want at most 20 MB", used.memory)
	}
	if used.requests != 0 || used.asked == 0 || used.cpu <= 0 || used.probe <= 0 {
		t.Errorf("used is %+v, want no request to the API server, and all else measured", used)
	}
	t.Logf("%+v", used)
}

func TestMistakes(t *testing.T) {
	for _, args := range []string{"", "dance"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), "watcher") {
			t.Errorf("bench %s: %v, want what can be measured", args, err)
		}
	}
}
