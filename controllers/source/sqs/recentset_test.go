// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"testing"
	"time"
)

func TestRecentSet(t *testing.T) {
	var r recentSet
	now := time.Unix(1_800_000_000, 0)
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("empty", r.count(now), 0)
	check("new", r.add("a", now), true)
	check("again", r.add("a", now.Add(50*time.Minute)), false)
	check("remembered since it was last met", r.count(now.Add(100*time.Minute)), 1)
	check("forgotten", r.count(now.Add(111*time.Minute)), 0)
	check("new again", r.add("a", now.Add(111*time.Minute)), true)
	check("new after an hour without a count", r.add("a", now.Add(172*time.Minute)), true)
}

func TestRecentSetIsBounded(t *testing.T) {
	var r recentSet
	now := time.Unix(1_800_000_000, 0)
	for i := range recentLimit {
		if !r.add(fmt.Sprint(i), now) {
			t.Fatalf("%d is not new", i)
		}
	}
	if r.add("one more", now) {
		t.Error("one more is taken for new")
	}
	if n := r.count(now); n != recentLimit {
		t.Errorf("%d remembered", n)
	}
	if r.count(now.Add(2 * time.Hour)); !r.add("one more", now.Add(2*time.Hour)) {
		t.Error("no room after an hour")
	}
}
