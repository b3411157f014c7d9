// SPDX-License-Identifier: Apache-2.0

// Package version says which build of the operator a program is.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// The release sets these with -ldflags "-X"; they are empty in any other build.
var version, commit, date string

// String returns version, commit, time of the commit, and the Go version and platform that it was
// built with and for. What the release did not set is as the go command stamped it: "(devel)"
// and "unknown" if it was not built in a checkout.
func String() string {
	v, c, d := version, commit, date
	if info, ok := debug.ReadBuildInfo(); ok {
		v = cmp.Or(v, info.Main.Version)
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				c = cmp.Or(c, setting.Value)
			case "vcs.time":
				d = cmp.Or(d, setting.Value)
			}
		}
	}
	return fmt.Sprintf("%s (commit %s, %s, %s %s/%s)", cmp.Or(v, "(devel)"), cmp.Or(c, "unknown"), cmp.Or(d, "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
