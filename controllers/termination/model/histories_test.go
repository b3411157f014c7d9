// SPDX-License-Identifier: Apache-2.0

package model

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Other histories than those of CI are played by
//
//	go test ./controllers/termination/model -model.seed=7000000 -model.histories=50000
//
// and the one that failed once more by its seed, with -model.histories=1.
var (
	firstSeed = flag.Uint64("model.seed", 1, "seed of the first history; each has the next one")
	histories = flag.Int("model.histories", 0, "how many histories are played; 0: 100,000, with -short or -race 2,000")
)

const (
	maxSteps = 14
	// aftermath is how much time passes after a history, with all messages delivered.
	aftermath = 3 * time.Hour
)

func TestMain(m *testing.M) {
	crlog.SetLogger(logr.Discard())
	os.Exit(cluster.Main(m))
}

// TestHistories plays histories, and prints a shrunk one that fails.
func TestHistories(t *testing.T) {
	count := *histories
	switch {
	case count > 0:
	case testing.Short() || raceDetector:
		count = 2_000
	default:
		count = 100_000
	}
	var next atomic.Int64
	var failed atomic.Bool
	var playing sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		playing.Go(func() {
			for i := next.Add(1) - 1; i < int64(count) && !failed.Load(); i = next.Add(1) - 1 {
				seed := *firstSeed + uint64(i)
				steps := history(seed)
				if w := play(t, steps, false); w.failure != "" && !failed.Swap(true) {
					t.Error(report(t, seed, steps, i))
				}
			}
		})
	}
	playing.Wait()
}

// history returns the steps of the history of a seed.
func history(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	steps := make([]step, 2+r.IntN(maxSteps-1))
	for i := range steps {
		at := r.IntN(total)
		operation := 0
		for at >= operations[operation].weight {
			at -= operations[operation].weight
			operation++
		}
		steps[i] = step{operation, r.Uint64(), pick(r, pauses)}
	}
	return steps
}

// play plays a history in a new world, which it returns.
func play(t testing.TB, steps []step, verbose bool) *world {
	w := newWorld(t)
	w.verbose = verbose
	w.play(steps)
	return w
}

// play plays the steps of a history. A panic of what is tested is a failure, too.
func (w *world) play(steps []step) {
	defer func() {
		if r := recover(); r != nil {
			w.fail("panic: %v\n%s", r, debug.Stack())
		}
	}()
	for range 2 {
		w.pods.add(w.machines[0], 30*time.Second, false, false)
	}
	w.pods.add(w.machines[0], 2*time.Minute, false, false)
	w.pods.add(w.machines[0], 30*time.Second, false, true)
	w.settle()
	for _, s := range steps {
		if w.failure != "" {
			return
		}
		w.logf("* %s", operations[s.operation].name)
		m := w.machines[s.seed%uint64(len(w.machines))]
		operations[s.operation].do(w, m, rand.New(rand.NewPCG(s.seed, 1)))
		w.settle()
		w.advance(s.then)
	}
	w.advance(aftermath)
}

// shrink leaves out steps, and makes pauses short, as long as the history fails for the same reason.
func shrink(t testing.TB, steps []step) []step {
	fails := func(steps []step) bool { return play(t, steps, false).failure != "" }
	for again := true; again; {
		again = false
		for i := range slices.Backward(steps) {
			if less := slices.Delete(slices.Clone(steps), i, i+1); fails(less) {
				steps, again = less, true
			}
		}
	}
	for i := range steps {
		for _, pause := range pauses {
			shorter := slices.Clone(steps)
			if shorter[i].then = pause; pause < steps[i].then && fails(shorter) {
				steps = shorter
				break
			}
		}
	}
	return steps
}

// report returns what a history that fails was, for people.
func report(t testing.TB, seed uint64, steps []step, played int64) string {
	w := play(t, shrink(t, steps), true)
	return fmt.Sprintf("history %d (-model.seed=%d -model.histories=1), shrunk: %s\n%s", played+1, seed, w.failure, strings.Join(w.log, "\n"))
}
