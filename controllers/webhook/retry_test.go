// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"testing"
	"time"
)

func TestNextAttempt(t *testing.T) {
	for _, test := range []struct {
		attempts int32
		after    time.Duration
		jitter   float64
		want     time.Duration
	}{
		{1, 0, 0.5, 2 * time.Second},
		{2, 0, 0.5, 4 * time.Second},
		{3, 0, 0.5, 8 * time.Second},
		{8, 0, 0.5, 256 * time.Second},
		{9, 0, 0.5, 5 * time.Minute},
		{1000, 0, 0.5, 5 * time.Minute},
		{1<<31 - 1, 0, 0.5, 5 * time.Minute},
		{0, 0, 0.5, 2 * time.Second},
		{-1 << 31, 0, 0.5, 2 * time.Second},
		{1, 0, 0, 1600 * time.Millisecond},
		{1, 0, 1, 2400 * time.Millisecond},
		{1, 0, 7, 2400 * time.Millisecond},
		{1, time.Minute, 0.5, time.Minute},
		{9, time.Minute, 0.5, 5 * time.Minute},
	} {
		next, again := NextAttempt(test.attempts, test.after, now, time.Time{}, test.jitter)
		if diff := next.Sub(now) - test.want; !again || diff.Abs() > time.Microsecond {
			t.Errorf("%+v: in %v, %t", test, next.Sub(now), again)
		}
	}
	for _, test := range []struct {
		ended, after time.Duration
		want         bool
	}{
		{0, 0, true},
		{time.Minute, 0, true},
		{time.Hour - 3*time.Second, 0, true},
		{time.Hour - time.Second, 0, false},
		{2 * time.Hour, 0, false},
		{time.Minute, time.Hour, false},
		{time.Minute, 59 * time.Minute, true},
	} {
		if _, again := NextAttempt(1, test.after, now, now.Add(-test.ended), 0.5); again != test.want {
			t.Errorf("ended %v ago, asked to wait %v: %t", test.ended, test.after, again)
		}
	}
}

// TestAnHourOfFailures follows receivers that refuse at once, or keep each attempt waiting, to the end.
func TestAnHourOfFailures(t *testing.T) {
	for _, takes := range []time.Duration{0, timeout} {
		at, attempts := now, int32(1)
		for again := true; again; attempts++ {
			if attempts > 40 {
				t.Fatal("it does not end")
			}
			at, again = NextAttempt(attempts, 0, at.Add(takes), now, float64(attempts%11)/10)
		}
		if attempts < 15 || at.Sub(now) < time.Hour {
			t.Errorf("%s an attempt: given up after %d attempts and %v", takes, attempts, at.Sub(now))
		}
	}
}
