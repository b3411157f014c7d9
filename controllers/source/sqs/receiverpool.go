// SPDX-License-Identifier: Apache-2.0

package sqs

import "sync"

// maxReceivers bounds how many batches of one queue are handled side by side.
const maxReceivers = 10

// receiverPool counts the receivers of a queue and decides when one is added and when
// one leaves. One listens at all times, whatever the others are held up with, so no message
// waits behind another; while batches come back full, more of them listen.
type receiverPool struct {
	mu              sync.Mutex
	size, listening int
}

// start begins with one receiver that listens.
func (p *receiverPool) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size, p.listening = 1, 1
}

// received takes note that a receiver got n messages. It stays unless there was
// nothing and another listens; scaleUp says that one more has to start listening.
func (p *receiverPool) received(n int) (stay, scaleUp bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n == 0 {
		return p.leave(p.listening > 1), false
	}
	p.listening--
	if p.size < maxReceivers && (p.listening == 0 || n == batchSize) {
		p.size++
		p.listening++
		scaleUp = true
	}
	return true, scaleUp
}

// handled takes note that a receiver is done with a batch of n. It stays, and
// listens, if no other does or the batch was full.
func (p *receiverPool) handled(n int) (stay bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listening++
	return p.leave(p.listening > 1 && n < batchSize)
}

// failed takes note that a receive failed. The receiver stays, and tries again, if no other listens.
func (p *receiverPool) failed() (stay bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leave(p.listening > 1)
}

// leave takes a listening receiver out of the pool if it is to leave, and reports whether it stays.
func (p *receiverPool) leave(leaves bool) (stay bool) {
	if leaves {
		p.size--
		p.listening--
	}
	return !leaves
}
