package main

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// cost is what it takes to build a program.
type cost struct {
	seconds  float64
	packages int64
}

// costs are of builds where nothing is cached, on two cores. A program needs only what those before it
// have not compiled yet, so the first one that shares much with the others takes longest. All six in this
// order took 14 minutes, modules included, which are split here as they were in a build that was timed. The
// seconds of those that are seldom first are estimates, by their packages.
var costs = map[string]struct{ first, later cost }{
	"etcd":                    {first: cost{30, 576}},
	"kube-apiserver":          {first: cost{640, 1569}},
	"kube-controller-manager": {first: cost{700, 2414}, later: cost{115, 382}},
	"kube-scheduler":          {first: cost{450, 1422}, later: cost{5, 6}},
	"kwok":                    {first: cost{200, 974}, later: cost{15, 155}},
	"kubectl":                 {first: cost{200, 896}, later: cost{35, 112}},
}

// estimate says how long builds will still take.
type estimate struct {
	start    time.Time
	cores    int
	costs    map[string]cost
	total    float64 // seconds of the table
	done     float64
	current  cost
	packages atomic.Int64 // of the current one that are compiled
}

// newEstimate returns the estimate for programs that are built from now on, one after the other.
func newEstimate(missing []binary, cores int) *estimate {
	e := &estimate{start: time.Now(), cores: cores, costs: map[string]cost{}}
	shared := false
	for _, b := range missing {
		c := costs[b.name].first
		if shared && costs[b.name].later.seconds > 0 {
			c = costs[b.name].later
		}
		shared = shared || b.name != "etcd"
		e.costs[b.name] = c
		e.total += c.seconds
	}
	return e
}

// begin takes note that a program's build begins. It is not for use while left is.
func (e *estimate) begin(b binary) {
	e.packages.Store(0)
	e.current = e.costs[b.name]
}

// end takes note that the program is built.
func (e *estimate) end() {
	e.done += e.current.seconds
	e.current = cost{}
}

// left returns how long the rest takes, for people.
func (e *estimate) left() string {
	done := e.done
	if e.current.packages > 0 {
		// The last tenth is for the linker.
		done += e.current.seconds * min(0.9, float64(e.packages.Load())/float64(e.current.packages))
	}
	return timeLeft(e.total, done, time.Since(e.start), e.cores)
}

// timeLeft returns how long work takes that took total seconds on two cores, when done of them are done
// in the time that has elapsed. What is measured here counts as much as the table after a minute's
// worth of the table, and more and more from then on.
func timeLeft(total, done float64, elapsed time.Duration, cores int) string {
	const belief = 60
	rate := (elapsed.Seconds() + belief*2/float64(cores)) / (done + belief)
	switch seconds := (total - done) * rate; {
	case seconds <= 0:
		return "done"
	case seconds < 90:
		return fmt.Sprintf("%.0f s left", math.Ceil(seconds/10)*10)
	default:
		return fmt.Sprintf("%.0f min left", math.Round(seconds/60))
	}
}
