// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

func TestConnections(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		server, d := receiver(t, nil)
		server.Close()
		if outcome := send(t, d); outcome.Result != Retry || outcome.Reason != "the connection was refused" {
			t.Error(outcome)
		}
	})
	t.Run("closed without an answer", func(t *testing.T) {
		_, d := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(http.ErrAbortHandler) // HTTP/2
			}
			connection.Close()
		})
		if outcome := send(t, d); outcome.Result != Retry || outcome.Reason != "the connection broke before there was an answer" {
			t.Error(outcome)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		_, d := receiver(t, nil)
		d.CA = nil
		if outcome := send(t, d); outcome.Result != Retry || !strings.Contains(outcome.Reason, "caFrom") {
			t.Error(outcome)
		}
	})
	t.Run("another host's certificate", func(t *testing.T) {
		_, d := receiver(t, nil)
		d.URL = strings.Replace(d.URL, "127.0.0.1", "localhost", 1)
		if outcome := send(t, d); outcome.Result != Retry || outcome.Reason != "the receiver's certificate is for another host" {
			t.Error(outcome)
		}
	})
	t.Run("http where https is spoken", func(t *testing.T) {
		plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(plain.Close)
		d := Delivery{URL: strings.Replace(plain.URL, "http", "https", 1)}
		if outcome := send(t, d); outcome.Result != Retry {
			t.Error(outcome)
		}
		if outcome := send(t, Delivery{URL: plain.URL, AllowPlainHTTP: true}); outcome.Result != Delivered {
			t.Error(outcome)
		}
	})
	t.Run("stalls", func(t *testing.T) {
		release := make(chan struct{})
		_, d := receiver(t, func(http.ResponseWriter, *http.Request) { <-release })
		defer close(release)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		outcome := NewSender(clock.RealClock{}).Send(ctx, d)
		checkReason(t, outcome)
		if outcome.Result != Retry || outcome.Reason != "no answer within 10 seconds" {
			t.Error(outcome)
		}
	})
	t.Run("never accepts", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		outcome := NewSender(clock.RealClock{}).Send(ctx, Delivery{URL: "https://" + listener.Addr().String()})
		if outcome.Result != Retry || outcome.Reason != "no answer within 10 seconds" {
			t.Error(outcome)
		}
	})
	t.Run("the manager stops", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{}) // an answer to the farewell of a connection that is being closed counts
		_, d := receiver(t, func(http.ResponseWriter, *http.Request) {
			cancel()
			<-release
		})
		defer close(release)
		if outcome := NewSender(clock.RealClock{}).Send(ctx, d); outcome.Result != Retry || outcome.Reason != "the manager stopped" {
			t.Error(outcome)
		}
	})
}

// TestDrippingAnswers is about receivers whose head says all and whose body does not end.
func TestDrippingAnswers(t *testing.T) {
	for _, code := range []int{200, 500} {
		_, d := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
			w.WriteHeader(code)
			for r.Context().Err() == nil {
				io.WriteString(w, "x")
				http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
		began := time.Now()
		outcome := send(t, d)
		if want := map[int]Result{200: Delivered, 500: Retry}[code]; outcome.Result != want {
			t.Errorf("%d: %+v", code, outcome)
		}
		if took := time.Since(began); took > timeout/2 {
			t.Errorf("%d: took %v", code, took)
		}
	}
}

func TestEndlessAnswers(t *testing.T) {
	var written atomic.Int64
	_, d := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 32<<10))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	if outcome := send(t, d); outcome.Result != Delivered {
		t.Error(outcome)
	}
}

func TestProxy(t *testing.T) {
	_, d := receiver(t, func(http.ResponseWriter, *http.Request) {})
	for _, test := range []struct {
		scheme string
		code   int
		want   Result
		reason string
	}{
		{"http", 200, Delivered, ""},
		{"tcp", 200, Delivered, ""},
		{"http", 407, Retry, "the proxy answered 407 Proxy Authentication Required"},
		{"http", 502, Retry, "the proxy answered 502 Bad Gateway"},
	} {
		var asked atomic.Int32
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if test.code != 200 || r.Method != http.MethodConnect {
				w.WriteHeader(test.code)
				return
			}
			tunnel(t, w, r.Host)
		}))
		t.Cleanup(proxy.Close)
		d.ProxyURL = test.scheme + strings.TrimPrefix(proxy.URL, "http")
		outcome := send(t, d)
		if outcome.Result != test.want || outcome.Reason != test.reason || asked.Load() != 1 {
			t.Errorf("%+v, want %s %q; the proxy was asked %d times", outcome, test.want, test.reason, asked.Load())
		}
	}
}

// tunnel joins a connection to a proxy with one to the host, until either ends.
func tunnel(t *testing.T, w http.ResponseWriter, host string) {
	out, err := net.Dial("tcp", host)
	if err != nil {
		t.Error(err)
		return
	}
	w.WriteHeader(http.StatusOK)
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		out.Close()
		return
	}
	go func() { io.Copy(out, buffered); out.Close() }() // the server may have read the first bytes already
	io.Copy(in, out)
	in.Close()
}

// TestConnectionsAreUsedAgain sends many deliveries from many goroutines.
func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened, received atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		received.Add(1)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	sender := NewSender(clock.RealClock{})
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for range 50 {
				if outcome := sender.Send(t.Context(), Delivery{URL: server.URL, AllowPlainHTTP: true, Body: []byte("{}")}); outcome.Result != Delivered {
					t.Error(outcome)
				}
			}
		})
	}
	senders.Wait()
	if received.Load() != 200 || opened.Load() > 16 {
		t.Errorf("%d deliveries over %d connections", received.Load(), opened.Load())
	}
}

func TestClientsAreBounded(t *testing.T) {
	var c clients
	first, err := c.get("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxClients {
		if _, err := c.get("http://proxy:"+fmt.Sprint(1000+i), nil); err != nil {
			t.Fatal(err)
		}
		if again, _ := c.get("", nil); again != first {
			t.Fatal("the client in use was not kept")
		}
	}
	if len(c.list) != maxClients {
		t.Errorf("%d clients", len(c.list))
	}
}
