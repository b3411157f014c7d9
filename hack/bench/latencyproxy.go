// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net"
	"time"
)

// delayed is what was read, and when it may be written.
type delayed struct {
	content []byte
	due     time.Time
}

// startProxy forwards connections to an address, as if it were as far away as a round trip of so long. It limits
// nothing else. It returns the address where it listens, and ends with ctx.
func startProxy(ctx context.Context, to string, roundTrip time.Duration) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go proxy(ctx, near, to, roundTrip)
		}
	}()
	return listener.Addr().String(), nil
}

// proxy forwards one connection both ways until either side closes it.
func proxy(ctx context.Context, near net.Conn, to string, roundTrip time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer near.Close()
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return // the client sees its connection closed
	}
	defer far.Close()
	go func() {
		defer cancel()
		forward(ctx, far, near, roundTrip/2)
	}()
	go func() {
		defer cancel()
		forward(ctx, near, far, roundTrip/2)
	}()
	<-ctx.Done()
}

// forward copies until the end, everything so much later.
func forward(ctx context.Context, to io.Writer, from io.Reader, delay time.Duration) {
	way := make(chan delayed, 10_000)
	go func() {
		defer close(way)
		for {
			content := make([]byte, 16<<10)
			n, err := from.Read(content)
			if n > 0 {
				select {
				case way <- delayed{content[:n], time.Now().Add(delay)}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for d := range way {
		if wait(ctx, time.Until(d.due)) != nil {
			return
		}
		if _, err := to.Write(d.content); err != nil {
			return
		}
	}
}
