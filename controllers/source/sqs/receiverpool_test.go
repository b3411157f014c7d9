// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestReceiverPoolGrowsWithFullBatches(t *testing.T) {
	var p receiverPool
	p.start()
	for i := 1; i < maxReceivers; i++ {
		stay, scaleUp := p.received(batchSize)
		if !stay || !scaleUp {
			t.Fatalf("after %d full batches: stay %v, scale up %v", i, stay, scaleUp)
		}
		if !p.handled(batchSize) {
			t.Fatal("a receiver left although batches are full")
		}
	}
	if stay, scaleUp := p.received(batchSize); !stay || scaleUp {
		t.Errorf("at the limit: stay %v, scale up %v", stay, scaleUp)
	}
	if p.handled(1) {
		t.Error("a receiver stayed although its batch was not full and others listen")
	}
	for p.size > 1 {
		if stay, _ := p.received(0); stay {
			t.Fatal("a receiver stayed although there is nothing and others listen")
		}
	}
	if stay, scaleUp := p.received(0); !stay || scaleUp {
		t.Errorf("the last one: stay %v, scale up %v", stay, scaleUp)
	}
}

// While one handles a batch, however small, another listens.
func TestReceiverPoolAlwaysListens(t *testing.T) {
	var p receiverPool
	p.start()
	for held := 1; held < maxReceivers; held++ {
		if _, scaleUp := p.received(1); !scaleUp || p.listening != 1 {
			t.Fatalf("with %d held up: scale up %v, %d listen", held, scaleUp, p.listening)
		}
	}
	p.received(1)
	if p.size != maxReceivers || p.listening != 0 {
		t.Fatalf("%d receivers, %d listen", p.size, p.listening)
	}
	for range maxReceivers {
		p.handled(1)
	}
	if p.size != 1 || p.listening != 1 {
		t.Errorf("in the end %d receivers, %d listen", p.size, p.listening)
	}
}

func TestReceiverPoolKeepsOneWhileFailing(t *testing.T) {
	var p receiverPool
	p.start()
	p.received(batchSize)
	p.handled(batchSize)
	if p.failed() {
		t.Error("two keep trying")
	}
	if !p.failed() || p.size != 1 || p.listening != 1 {
		t.Error("the last one left")
	}
}

// Whatever happens: at least one receiver, at most the limit, each either
// listens or handles, and one listens unless all are held up.
func TestReceiverPoolInvariants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var p receiverPool
		p.start()
		listening, handling := 1, 0
		for range 500 {
			switch step := random.IntN(8); {
			case step < 5 && listening > 0:
				n := random.IntN(batchSize + 1)
				stay, scaleUp := p.received(n)
				listening--
				switch {
				case stay && n > 0:
					handling++
				case stay:
					listening++
				}
				if scaleUp {
					listening++
				}
			case step < 7 && handling > 0:
				handling--
				if p.handled(random.IntN(batchSize) + 1) {
					listening++
				}
			case listening > 0:
				listening--
				if p.failed() {
					listening++
				}
			}
			size := listening + handling
			if p.listening != listening || p.size != size || size < 1 || size > maxReceivers {
				t.Fatalf("%d listen and %d handle, counted %d of %d", listening, handling, p.listening, p.size)
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
func TestReceiverPoolListensAfterAFailureWhileAnotherHandles(t *testing.T) {
	var p receiverPool
	p.start()
	p.received(1) // adds one that listens
	if !p.failed() || p.listening != 1 {
		t.Errorf("nobody listens: %d of %d", p.listening, p.size)
	}
}
