// SPDX-License-Identifier: Apache-2.0

package sqs

import "sync"

// maxReceivers bounds how many batches of one queue are handled side by side.
const maxReceivers = 10

// crew counts the receivers of a queue and decides who comes and goes. One
// listens at all times, whatever the others are held up with, so no message
// waits behind another; while batches come back full, more of them listen.
type crew struct {
	mu              sync.Mutex
	size, listening int
}

// start makes the crew one receiver that listens.
func (c *crew) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size, c.listening = 1, 1
}

// received is told that a receiver got n messages. It stays unless there was
// nothing and another listens; hire says that one more has to start listening.
func (c *crew) received(n int) (stay, hire bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		return c.quit(c.listening > 1), false
	}
	c.listening--
	if c.size < maxReceivers && (c.listening == 0 || n == batchSize) {
		c.size++
		c.listening++
		hire = true
	}
	return true, hire
}

// handled is told that a receiver is done with a batch of n. It stays, and
// listens, if nobody else does or the batch was full.
func (c *crew) handled(n int) (stay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening++
	return c.quit(c.listening > 1 && n < batchSize)
}

// failed is told that a receive failed. It stays, and tries again, if no other listens.
func (c *crew) failed() (stay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quit(c.listening > 1)
}

// quit takes a listening receiver off the crew if it is to go.
func (c *crew) quit(goes bool) (stay bool) {
	if goes {
		c.size--
		c.listening--
	}
	return !goes
}
