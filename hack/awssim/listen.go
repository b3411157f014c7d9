// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// endpoint is an HTTP server on the loopback interface.
type endpoint struct {
	url      string
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc
	served   chan struct{}
}

// listen takes an address. It fails if that is taken or not loopback.
func listen(addr string) (*endpoint, error) {
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		cancel()
		return nil, err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		cancel()
		_ = listener.Close()
		return nil, fmt.Errorf("address %s is not loopback: use 127.0.0.1:0 or [::1]:0", addr)
	}
	return &endpoint{
		url:      "http://" + listener.Addr().String(),
		listener: listener,
		http: &http.Server{
			ReadHeaderTimeout: 10 * time.Second,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		},
		cancel: cancel,
		served: make(chan struct{}),
	}, nil
}

// serve answers requests until close.
func (e *endpoint) serve(handler http.Handler) {
	e.http.Handler = handler
	go func() {
		defer close(e.served)
		_ = e.http.Serve(e.listener) // always ErrServerClosed, after close
	}()
}

// close ends what waits, answers what is under way and returns when all of it has ended.
func (e *endpoint) close() error {
	e.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := e.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, e.http.Close())
	}
	<-e.served
	return err
}
