// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"math"
	"time"
)

// DefaultMinInFlight and DefaultMaxInFlight bound how many evictions are in flight at a time. The API
// server's default flags leave service accounts 245 seats of priority and fairness; while evictions take
// up less than that, the manager's other requests find one free.
const (
	DefaultMinInFlight = 4
	DefaultMaxInFlight = 200
)

const (
	// firstLimit is how many are in flight until something is known of the API server.
	firstLimit = 64

	// A window is at least as many answers as there may be requests in flight, at either of the two limits
	// that are compared, and lasts at least shortestWindow. After the first climb it is at least fewestAnswers.
	shortestWindow = 50 * time.Millisecond
	fewestAnswers  = 64
	// Twice as many in flight are worthwhile if they raise the answers a second by this share. Half as many
	// are if they lower them by no more than negligible. Between the two nothing changes.
	worthwhile = 0.1
	negligible = 0.05
	// The API server is another than before if it gives so many times the answers a second, or its inverse.
	another = 1.5
	// After a trial that was no gain the limit is kept for shortestRest windows, and longer each time up to longestRest.
	shortestRest = 8
	longestRest  = 128
)

// limiter finds how many evictions should be in flight: as few as get about as many answers a second as
// the API server can give. It compares windows of answers at one limit with windows at twice and at
// half of it. Latencies alone say little: an eviction may wait for etcd, or for others under the same
// budget, while the API server could do more.
//
// It reads no clock and sends nothing.
type limiter struct {
	least, most, limit int
	// sent counts requests. The answers to those up to stale say nothing about the limit,
	// which was another when they were sent.
	sent, stale uint64
	// began is when the window began, with an answer. Zero: it has not yet.
	began   time.Time
	answers int
	// best is the limit that others are compared with, and rate its answers a second. Zero: not known.
	best int
	rate float64
	// climbing: the first limit that pays is yet to be found, since the queue was empty or the API server overloaded.
	climbing bool
	// grown: a higher limit has paid since the last rest, so that a lower one need not be tried.
	grown bool
	// untilTrial is for how many more windows the limit is kept, and rest for how many after the next trial.
	untilTrial, rest int
}

func newLimiter(least, most int) *limiter {
	return &limiter{least: least, most: most, limit: min(max(firstLimit, least), most), climbing: true, rest: shortestRest}
}

// onSend counts a request and returns its number.
func (l *limiter) onSend() uint64 {
	l.sent++
	return l.sent
}

// onAnswer counts an answer to the request of a number.
func (l *limiter) onAnswer(number uint64, now time.Time) {
	switch {
	case number <= l.stale:
		return
	case l.began.IsZero():
		l.began = now
		return
	}
	l.answers++
	if took := now.Sub(l.began); l.answers >= l.window() && took >= shortestWindow {
		rate := float64(l.answers) / took.Seconds()
		l.began, l.answers = now, 0
		l.onWindow(rate)
	}
}

// window returns how many answers a window takes. Once the first climb is over there is time to be sure.
func (l *limiter) window() int {
	answers := max(l.limit, l.best)
	switch {
	case l.climbing:
		return answers
	case l.limit == l.best:
		return max(answers, fewestAnswers)
	}
	return 2 * max(answers, fewestAnswers)
}

// onIdle notes that fewer requests are in flight than may be, so that the answers a second do not depend on
// the limit. What was being tried is not known to pay.
func (l *limiter) onIdle() {
	if l.best != 0 {
		l.setLimit(l.best)
		l.best = 0
	}
	l.began, l.answers = time.Time{}, 0
	l.climbing, l.rest = true, shortestRest
	l.untilTrial = min(l.untilTrial, shortestRest)
}

// onOverload halves the limit. Other requests that were sent before that may be answered likewise, which is no
// reason to halve it again.
func (l *limiter) onOverload(number uint64) {
	if number <= l.stale {
		return
	}
	l.setLimit(max(l.least, l.limit/2))
	l.best, l.climbing = 0, true
	l.grown = false
	l.untilTrial, l.rest = l.rest, min(2*l.rest, longestRest)
}

// onWindow decides what comes of a window's answers a second.
func (l *limiter) onWindow(rate float64) {
	switch {
	case l.best == 0:
		l.best, l.rate = l.limit, rate
	case l.limit > l.best:
		if rate >= l.rate*(1+worthwhile*math.Log2(float64(l.limit)/float64(l.best))) {
			l.best, l.rate = l.limit, rate
			l.grown, l.rest = true, shortestRest
			l.tryMore()
			return
		}
		l.setLimit(l.best)
		l.tryLess()
	case l.limit < l.best:
		if rate >= l.rate*(1-negligible) {
			l.best, l.rate = l.limit, rate
			l.tryLess()
			return
		}
		l.setLimit(l.best)
		l.takeRest()
	case rate > l.rate*another || rate < l.rate/another:
		l.rate, l.untilTrial, l.rest = rate, 0, shortestRest
	default:
		l.rate = (l.rate + rate) / 2
		l.untilTrial--
	}
	if l.limit == l.best && l.untilTrial <= 0 {
		l.tryMore()
	}
}

// tryMore doubles the limit for a window.
func (l *limiter) tryMore() {
	if l.limit == l.most {
		l.tryLess()
		return
	}
	l.setLimit(min(2*l.limit, l.most))
}

// tryLess halves the limit for a window, unless a higher one has paid just now.
func (l *limiter) tryLess() {
	if l.grown || l.limit == l.least {
		l.takeRest()
		return
	}
	l.setLimit(max(l.limit/2, l.least))
}

// takeRest keeps the limit for a while, longer each time.
func (l *limiter) takeRest() {
	l.climbing, l.grown = false, false
	l.untilTrial, l.rest = l.rest, min(2*l.rest, longestRest)
}

// setLimit changes the limit. The window begins anew.
func (l *limiter) setLimit(limit int) {
	if limit != l.limit {
		l.limit, l.stale = limit, l.sent
	}
	l.began, l.answers = time.Time{}, 0
}
