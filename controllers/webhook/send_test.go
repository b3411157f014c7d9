// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

const secret = "s3cr3t"

var now = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

// receiver is a server with TLS, and a delivery to it with a secret wherever one can be.
func receiver(t *testing.T, handler http.HandlerFunc) (*httptest.Server, Delivery) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return server, Delivery{
		URL:    server.URL + "/" + secret + "?token=" + secret,
		Header: http.Header{"Authorization": {"Bearer " + secret}},
		CA:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		Body:   []byte(`{"text": "` + secret + `"}`),
	}
}

func send(t *testing.T, d Delivery) Outcome {
	t.Helper()
	outcome := NewSender(clocktesting.NewFakePassiveClock(now)).Send(t.Context(), d)
	checkReason(t, outcome)
	return outcome
}

func checkReason(t *testing.T, outcome Outcome) {
	t.Helper()
	for _, hidden := range []string{secret, "127.0.0.1", "Bearer"} {
		if strings.Contains(outcome.Reason, hidden) {
			t.Errorf("the reason gives %q away: %s", hidden, outcome.Reason)
		}
	}
	if (outcome.Reason == "") != (outcome.Result == Delivered) {
		t.Errorf("%s with the reason %q", outcome.Result, outcome.Reason)
	}
}

func TestSend(t *testing.T) {
	var got atomic.Pointer[http.Request]
	var body atomic.Pointer[[]byte]
	_, d := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		read, _ := io.ReadAll(r.Body)
		got.Store(r)
		body.Store(&read)
		w.WriteHeader(http.StatusNoContent)
	})
	d.URL = " " + d.URL + "\n"
	if outcome := send(t, d); outcome.Result != Delivered {
		t.Fatal(outcome)
	}
	r := got.Load()
	if r.Method != http.MethodPost || r.URL.Path != "/"+secret || r.URL.RawQuery != "token="+secret || !bytes.Equal(*body.Load(), d.Body) {
		t.Errorf("%s %s with %s", r.Method, r.URL, *body.Load())
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "node-termination-operator", "Authorization": "Bearer " + secret,
	} {
		if value := r.Header.Get(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	d.Header.Set("Content-Type", "text/plain")
	if outcome := send(t, d); outcome.Result != Delivered || got.Load().Header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v with %s", outcome, got.Load().Header.Get("Content-Type"))
	}
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		code       int
		retryAfter string
		want       Result
		wait       time.Duration
	}{
		{200, "", Delivered, 0},
		{202, "", Delivered, 0},
		{204, "30", Delivered, 0},
		{300, "", GivenUp, 0},
		{304, "", GivenUp, 0},
		{400, "", GivenUp, 0},
		{401, "", GivenUp, 0},
		{403, "60", GivenUp, 0},
		{404, "", GivenUp, 0},
		{408, "", Retry, 0},
		{410, "", GivenUp, 0},
		{413, "", GivenUp, 0},
		{429, "", Retry, 0},
		{429, "30", Retry, 30 * time.Second},
		{429, " 0 ", Retry, 0},
		{429, "-5", Retry, 0},
		{429, "soon", Retry, 0},
		{429, "4294967295", Retry, time.Hour},
		{429, "99999999999999999999", Retry, 0},
		{429, "Sun, 22 Nov 2026 05:09:30 GMT", Retry, 90 * time.Second},
		{429, "Sun, 22 Nov 2026 05:00:00 GMT", Retry, 0},
		{429, "Sun, 22 Nov 2099 05:00:00 GMT", Retry, time.Hour},
		{500, "", Retry, 0},
		{503, "10", Retry, 10 * time.Second},
		{599, "", Retry, 0},
		{999, "", Retry, 0},
	} {
		t.Run(fmt.Sprintf("%d %s", test.code, test.retryAfter), func(t *testing.T) {
			_, d := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				w.WriteHeader(test.code)
				if test.code != 204 && test.code != 304 {
					io.WriteString(w, secret)
				}
			})
			outcome := send(t, d)
			if outcome.Result != test.want || outcome.RetryAfter != test.wait {
				t.Errorf("%+v, want %s after %v", outcome, test.want, test.wait)
			}
			if outcome.Result != Delivered && !strings.Contains(outcome.Reason, fmt.Sprint(test.code)) {
				t.Errorf("the reason lacks the status: %s", outcome.Reason)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	elsewhere, _ := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("followed to another host") })
	for _, test := range []struct {
		name string
		code int
		to   string
		want Result
	}{
		{"the same host", 308, "/there", Delivered},
		{"the same host for now", 307, "/there", Delivered},
		{"the same host, as a GET", 302, "/there", GivenUp},
		{"the same host for good, as a GET", 301, "/there", GivenUp},
		{"see another", 303, "/there", GivenUp},
		{"another host", 307, elsewhere.URL + "/there", GivenUp},
		{"http", 308, "http://127.0.0.1:1/there", GivenUp},
		{"itself", 307, "/" + secret, GivenUp},
		{"nowhere", 307, "", GivenUp},
		{"what is no address", 307, "https://a b/", Retry},
	} {
		t.Run(test.name, func(t *testing.T) {
			var arrived atomic.Bool
			_, d := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				read, _ := io.ReadAll(r.Body)
				if r.URL.Path == "/there" {
					arrived.Store(r.Method == http.MethodPost && len(read) > 0 && r.Header.Get("Authorization") != "")
					return
				}
				if test.to != "" {
					w.Header().Set("Location", test.to)
				}
				w.WriteHeader(test.code)
			})
			if outcome := send(t, d); outcome.Result != test.want {
				t.Errorf("%+v, want %s", outcome, test.want)
			}
			if arrived.Load() != (test.want == Delivered) {
				t.Errorf("arrived: %t", arrived.Load())
			}
		})
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	server, good := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") })
	for _, test := range []struct {
		name   string
		change func(*Delivery)
		want   string
	}{
		{"nothing", func(d *Delivery) { d.URL = "" }, "write one such as https://example.com/hook"},
		{"no scheme", func(d *Delivery) { d.URL = secret + "/hook" }, "write one such as https://example.com/hook"},
		{"another scheme", func(d *Delivery) { d.URL = "ftp://" + secret }, "write one such as https://example.com/hook"},
		{"not an address", func(d *Delivery) { d.URL = "https://" + secret + "%zz/" }, "write one such as https://example.com/hook"},
		{"a line break", func(d *Delivery) { d.URL = "https://a/" + secret + "\nb" }, "write one such as https://example.com/hook"},
		{"a password", func(d *Delivery) { d.URL = "https://me:" + secret + "@a/" }, "write an Authorization header in headersFrom instead"},
		{"http", func(d *Delivery) { d.URL = strings.Replace(server.URL, "https", "http", 1) }, "write https, or plainHTTP: Allow"},
		{"no certificate", func(d *Delivery) { d.CA = []byte(secret) }, "write certificates in PEM"},
		{"no proxy", func(d *Delivery) { d.ProxyURL = secret + ":3128" }, "write one such as http://proxy.example.com:3128"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := good
			test.change(&d)
			outcome := send(t, d)
			if outcome.Result != GivenUp || !strings.Contains(outcome.Reason, test.want) {
				t.Errorf("%+v, want %q", outcome, test.want)
			}
		})
	}
}

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
		_, d := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
			cancel()
			<-r.Context().Done()
		})
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
		code   int
		want   Result
		reason string
	}{
		{200, Delivered, ""},
		{407, Retry, "the proxy answered 407 Proxy Authentication Required"},
		{502, Retry, "the proxy answered 502 Bad Gateway"},
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
		d.ProxyURL = proxy.URL
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

func TestHeaders(t *testing.T) {
	header, err := headersOf(map[string][]byte{"authorization": []byte("Bearer a\n"), "X-Empty": nil, "content-type": []byte("text/plain")})
	if err != nil || header.Get("Authorization") != "Bearer a" || ContentType(header) != "text/plain" {
		t.Errorf("%v, %v", header, err)
	}
	if ContentType(nil) != "application/json" {
		t.Error(ContentType(nil))
	}
	for _, test := range []struct {
		secret map[string][]byte
		want   string
	}{
		{map[string][]byte{"a b": []byte(secret)}, `the key "a b" is no header's name`},
		{map[string][]byte{"": []byte(secret)}, `the key "" is no header's name`},
		{map[string][]byte{"a": []byte(secret + "\n" + secret)}, `the value of the key "a" cannot be a header's: write it in one line`},
		{map[string][]byte{"a": []byte("b"), "A": []byte("b")}, "the header A is there twice"},
		{map[string][]byte{"host": []byte("b")}, "the header Host is set by the connection: leave it out"},
		{map[string][]byte{"content-length": []byte("7")}, "leave it out"},
	} {
		_, err := headersOf(test.secret)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

func TestReasonsHaveNoAddress(t *testing.T) {
	err := &url.Error{Op: "Post", URL: "https://" + secret, Err: &net.DNSError{Err: "no such host", Name: secret, IsNotFound: true}}
	if got := reason(err); got != "there is no host of that name" {
		t.Error(got)
	}
}

func TestNextAttempt(t *testing.T) {
	for _, test := range []struct {
		attempts int32
		after    time.Duration
		jitter   float64
		want     time.Duration
	}{
		{1, 0, 0.5, 2 * time.Second},
		{2, 0, 0.5, 4 * time.Second},
		{3, 0, 0.5, 8 * time.Second},
		{8, 0, 0.5, 256 * time.Second},
		{9, 0, 0.5, 5 * time.Minute},
		{1000, 0, 0.5, 5 * time.Minute},
		{1<<31 - 1, 0, 0.5, 5 * time.Minute},
		{0, 0, 0.5, 2 * time.Second},
		{-1 << 31, 0, 0.5, 2 * time.Second},
		{1, 0, 0, 1600 * time.Millisecond},
		{1, 0, 1, 2400 * time.Millisecond},
		{1, 0, 7, 2400 * time.Millisecond},
		{1, time.Minute, 0.5, time.Minute},
		{9, time.Minute, 0.5, 5 * time.Minute},
	} {
		next, again := NextAttempt(test.attempts, test.after, now, time.Time{}, test.jitter)
		if diff := next.Sub(now) - test.want; !again || diff.Abs() > time.Microsecond {
			t.Errorf("%+v: in %v, %t", test, next.Sub(now), again)
		}
	}
	for _, test := range []struct {
		ended, after time.Duration
		want         bool
	}{
		{0, 0, true},
		{time.Minute, 0, true},
		{time.Hour - 3*time.Second, 0, true},
		{time.Hour - time.Second, 0, false},
		{2 * time.Hour, 0, false},
		{time.Minute, time.Hour, false},
		{time.Minute, 59 * time.Minute, true},
	} {
		if _, again := NextAttempt(1, test.after, now, now.Add(-test.ended), 0.5); again != test.want {
			t.Errorf("ended %v ago, asked to wait %v: %t", test.ended, test.after, again)
		}
	}
}

// TestAnHourOfFailures follows receivers that refuse at once, or keep each attempt waiting, to the end.
func TestAnHourOfFailures(t *testing.T) {
	for _, takes := range []time.Duration{0, timeout} {
		at, attempts := now, int32(1)
		for again := true; again; attempts++ {
			if attempts > 40 {
				t.Fatal("it does not end")
			}
			at, again = NextAttempt(attempts, 0, at.Add(takes), now, float64(attempts%11)/10)
		}
		if attempts < 15 || at.Sub(now) < time.Hour {
			t.Errorf("%s an attempt: given up after %d attempts and %v", takes, attempts, at.Sub(now))
		}
	}
}
