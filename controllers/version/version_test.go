// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"testing"
)

func TestString(t *testing.T) {
	defer func() { version, commit, date = "", "", "" }()
	built := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	if got, want := String(), "(devel) (commit unknown, "+"unknown, "+built+")"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	version, commit, date = "v0.1.0", "0123abc", "2026-11-29T10:00:00Z"
	if got, want := String(), "v0.1.0 (commit 0123abc, 2026-11-29T10:00:00Z, "+built+")"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
