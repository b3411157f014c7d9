// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// firstRetry is how long after the first attempt the second is made; from then on it
	// takes twice as long each time, up to lastRetry.
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
	// giveUpAfter is how long after the end of a termination webhooks are still notified of it.
	giveUpAfter = time.Hour
)

// NextAttempt returns when a delivery is tried again that has failed so many times, counting
// the last; false: never, as that would be more than an hour after the end.
//
// after is the last Outcome's RetryAfter. end is when the termination ended, zero
// if it has not. jitter, of 0 to 1, draws the wait out of 80 to 120 percent, so that
// what failed at one time is not tried again at one time.
func NextAttempt(attempts int32, after time.Duration, now, end time.Time, jitter float64) (next time.Time, again bool) {
	doublings := min(max(attempts, 1), 9) - 1 // eight of them are more than lastRetry
	wait := min(lastRetry, firstRetry<<doublings)
	jitter = max(0, min(1, jitter))
	wait = time.Duration(float64(wait) * (0.8 + 0.4*jitter))
	next = now.Add(max(wait, after))
	return next, end.IsZero() || !next.After(end.Add(giveUpAfter))
}

// InTime reports whether webhooks are still notified of a termination that ended then: for an hour.
func InTime(now, end time.Time) bool {
	return now.Before(end.Add(giveUpAfter))
}

// retryAfter returns what the header of that name says, in seconds or as a date. Zero: there is nothing in
// it to go by. It is never longer than a delivery may take in all.
// https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(giveUpAfter, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(giveUpAfter, at.Sub(now)))
	}
	return 0
}
