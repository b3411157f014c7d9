// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestCrewGrowsWithFullBatches(t *testing.T) {
	var c crew
	c.start()
	for i := 1; i < maxReceivers; i++ {
		stay, hire := c.received(batchSize)
		if !stay || !hire {
			t.Fatalf("after %d full batches: stay %v, hire %v", i, stay, hire)
		}
		if !c.handled(batchSize) {
			t.Fatal("a receiver left although batches are full")
		}
	}
	if stay, hire := c.received(batchSize); !stay || hire {
		t.Errorf("at the limit: stay %v, hire %v", stay, hire)
	}
	if c.handled(1) {
		t.Error("a receiver stayed although its batch was not full and others listen")
	}
	for c.size > 1 {
		if stay, _ := c.received(0); stay {
			t.Fatal("a receiver stayed although there is nothing and others listen")
		}
	}
	if stay, hire := c.received(0); !stay || hire {
		t.Errorf("the last one: stay %v, hire %v", stay, hire)
	}
}

// While one handles a batch, however small, another listens.
func TestCrewAlwaysListens(t *testing.T) {
	var c crew
	c.start()
	for held := 1; held < maxReceivers; held++ {
		if _, hire := c.received(1); !hire || c.listening != 1 {
			t.Fatalf("with %d held up: hire %v, %d listen", held, hire, c.listening)
		}
	}
	c.received(1)
	if c.size != maxReceivers || c.listening != 0 {
		t.Fatalf("%d receivers, %d listen", c.size, c.listening)
	}
	for range maxReceivers {
		c.handled(1)
	}
	if c.size != 1 || c.listening != 1 {
		t.Errorf("in the end %d receivers, %d listen", c.size, c.listening)
	}
}

func TestCrewOneStaysWhileFailing(t *testing.T) {
	var c crew
	c.start()
	c.received(batchSize)
	c.handled(batchSize)
	if c.failed() {
		t.Error("two keep trying")
	}
	if !c.failed() || c.size != 1 || c.listening != 1 {
		t.Error("the last one left")
	}
}

// Whatever happens: at least one receiver, at most the limit, each either
// listens or handles, and one listens unless all are held up.
func TestCrewInvariants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var c crew
		c.start()
		listening, handling := 1, 0
		for range 500 {
			switch step := random.IntN(8); {
			case step < 5 && listening > 0:
				n := random.IntN(batchSize + 1)
				stay, hire := c.received(n)
				listening--
				switch {
				case stay && n > 0:
					handling++
				case stay:
					listening++
				}
				if hire {
					listening++
				}
			case step < 7 && handling > 0:
				handling--
				if c.handled(random.IntN(batchSize) + 1) {
					listening++
				}
			case listening > 0:
				listening--
				if c.failed() {
					listening++
				}
			}
			size := listening + handling
			if c.listening != listening || c.size != size || size < 1 || size > maxReceivers {
				t.Fatalf("%d listen and %d handle, counted %d of %d", listening, handling, c.listening, c.size)
			}
		}
	}
}

func TestBackoff(t *testing.T) {
	longest := []time.Duration{1, 2, 4, 8, 10, 10}
	for i, most := range longest {
		most *= time.Second
		seen := map[time.Duration]bool{}
		for range 100 {
			d := backoff(i + 1)
			if d < most/2 || d > most {
				t.Fatalf("after %d failures: %s, want %s to %s", i+1, d, most/2, most)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("after %d failures: always the same %v", i+1, seen)
		}
	}
	if d := backoff(1 << 40); d > maxBackoff {
		t.Errorf("after very many failures: %s", d)
	}
}

func TestDoubled(t *testing.T) {
	for times, want := range map[int]time.Duration{
		-1: 30, 0: 30, 1: 30, 2: 60, 3: 120, 4: 240, 5: 480, 6: 900, 7: 900, 1 << 40: 900,
	} {
		if got := doubled(minRetain, times, maxRetain); got != want*time.Second {
			t.Errorf("the %dth time: %s, want %s", times, got, want*time.Second)
		}
	}
}

// Whoever handles a batch does not listen meanwhile.
func TestCrewListensAfterAFailureWhileAnotherHandles(t *testing.T) {
	var c crew
	c.start()
	c.received(1) // hires one that listens
	if !c.failed() || c.listening != 1 {
		t.Errorf("nobody listens: %d of %d", c.listening, c.size)
	}
}
