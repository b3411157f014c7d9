// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

func TestHeaders(t *testing.T) {
	header, err := headersOf(map[string][]byte{"authorization": []byte("Bearer a\n"), "X-Empty": nil, "content-type": []byte("text/plain")})
	if err != nil || header.Get("Authorization") != "Bearer a" || contentType(header) != "text/plain" {
		t.Errorf("%v, %v", header, err)
	}
	if contentType(nil) != "application/json" {
		t.Error(contentType(nil))
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
