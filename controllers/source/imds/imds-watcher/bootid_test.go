// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

// TestBootID: what the watcher reports is what the kubelet reports, on both systems.
func TestBootID(t *testing.T) {
	linux := func(file string) func() (string, error) {
		return func() (string, error) { return linuxBootID([]byte(file)) }
	}
	windows := func(boots uint64) func() (string, error) {
		return func() (string, error) { return windowsBootID(boots) }
	}
	for name, c := range map[string]struct {
		read func() (string, error)
		want string // empty: an error
	}{
		"Linux":                  {linux("5ab4ae11-0d5a-4e22-9d8a-a57a2b7f2c41\n"), "5ab4ae11-0d5a-4e22-9d8a-a57a2b7f2c41"},
		"Linux, an empty file":   {linux("\n"), ""},
		"Windows":                {windows(37), "37"},
		"Windows, a large one":   {windows(1<<32 - 1), "4294967295"},
		"Windows, nothing":       {windows(0), ""},
		"this machine, if Linux": {readBootID, "any"},
	} {
		got, err := c.read()
		if (err == nil) != (c.want != "") || err == nil && c.want != "any" && got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
