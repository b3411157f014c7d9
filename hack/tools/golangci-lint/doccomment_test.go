// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestProblemOf(t *testing.T) {
	for comment, good := range map[string]bool{
		"Due returns when the drain begins.":       true,
		"Due reports whether the drain may begin.": true,
		"Due implements Planner.":                  true,
		"Due is whether the drain may begin.":      false,
		"Due are the drains that may begin.":       false,
		"Due when the drain begins.":               false,
		"The time of the drain.":                   true, // another linter's
		"":                                         true,
	} {
		if got := problemOf("Due", comment); (got == "") != good {
			t.Errorf("%q: %q", comment, got)
		}
	}
}
