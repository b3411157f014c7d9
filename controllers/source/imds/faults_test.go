// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// timeout is the error of net/http when there is no answer in time.
type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// answer is how a request for metadata goes wrong.
type answer func(*http.Response) (*http.Response, error)

func status(code int) answer {
	return func(r *http.Response) (*http.Response, error) {
		r.StatusCode = code
		r.Body = io.NopCloser(strings.NewReader(http.StatusText(code)))
		return r, nil
	}
}

func body(change func([]byte) []byte) answer {
	return func(r *http.Response) (*http.Response, error) {
		content, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(change(content)))
		return r, err
	}
}

func lost(err error) answer {
	return func(*http.Response) (*http.Response, error) { return nil, err }
}

// brokenReader ends in the middle, as net/http reports it.
type brokenReader struct{ io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// faultyAnswers are all ways in which a request for metadata goes wrong.
var faultyAnswers = map[string]answer{
	"400":       status(http.StatusBadRequest),
	"401":       status(http.StatusUnauthorized),
	"403":       status(http.StatusForbidden),
	"404":       status(http.StatusNotFound),
	"429":       status(http.StatusTooManyRequests),
	"500":       status(http.StatusInternalServerError),
	"503":       status(http.StatusServiceUnavailable),
	"timeout":   lost(timeout{errors.New("timeout awaiting response headers")}),
	"dropped":   lost(io.EOF),
	"truncated": body(func(b []byte) []byte { return b[:len(b)/2] }),
	"broken": func(r *http.Response) (*http.Response, error) {
		r.Body = io.NopCloser(brokenReader{r.Body})
		return r, nil
	},
	"garbage": body(func([]byte) []byte { return []byte("\x00<garbage>") }),
	"empty":   body(func([]byte) []byte { return nil }),
}

// faultyTransport makes every one of them happen to a share of the requests, without a network.
func faultyTransport(sim *awssim.Metadata, share float64, met map[string]int) http.RoundTripper {
	random := rand.New(rand.NewPCG(1, 2))
	names := slices.Sorted(maps.Keys(faultyAnswers))
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if err := request.Context().Err(); err != nil {
			return nil, err
		}
		recorder := httptest.NewRecorder()
		received := request.Clone(request.Context())
		received.Body = http.NoBody
		sim.ServeHTTP(recorder, received)
		response := recorder.Result()
		response.Request = request
		for _, name := range names {
			if random.Float64() < share {
				met[name]++
				return faultyAnswers[name](response)
			}
		}
		return response, nil
	})
}

// TestDayOfFaults: a day of polls, in which every fault happens to one request in a
// hundred, and one spot interruption.
func TestDayOfFaults(t *testing.T) {
	const day = 24 * time.Hour
	f := idleFixture(t)
	met := map[string]int{}
	f.faults = faultyTransport(f.sim, 0.01, met)
	f.change = func(config *rest.Config) { // the API server has bad days too
		random := rand.New(rand.NewPCG(3, 4))
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(request *http.Request) (*http.Response, error) {
				if random.Float64() < 0.3 {
					return nil, timeout{errors.New("no answer")}
				}
				return next.RoundTrip(request)
			})
		})
	}
	w, err := f.watcher()
	if err != nil {
		t.Fatal(err)
	}
	f.Watcher = w
	w.opts.Clock = expiredTimers{}
	if err := w.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.opts.Clock = f.clock

	f.pass(day / 2)
	if nt := f.stored(); nt != nil {
		t.Fatalf("half a day without a notice, and stored is %+v", nt.Spec)
	}
	if n := f.requests.Load(); n > 10 {
		t.Errorf("%d requests to the API server, want one at the start, or as many as it takes", n)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	announced := f.clock.Now()
	f.pass(time.Minute)
	if e := f.one(); e.Kind != v1alpha1.SpotInterruption || !e.Deadline.Time.Equal(announced.Add(2*time.Minute)) {
		t.Errorf("stored is %+v", e)
	}
	first := f.stored()
	f.pass(day/2 - time.Minute)
	if last := f.stored(); last.UID != first.UID || last.Generation != 1 {
		t.Errorf("stored is %+v, was %+v", last, first)
	}
	var all v1alpha1.NodeTerminationList
	if err := admin(t).List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	if n := len(all.Items); n != 1 {
		t.Errorf("%d NodeTerminations, want one", n)
	}
	for name := range faultyAnswers {
		if met[name] < 500 {
			t.Errorf("%s happened %d times", name, met[name])
		}
	}
	if len(f.log) > 500 {
		t.Errorf("the log has %d lines, the last of which is %s", len(f.log), f.log[len(f.log)-1])
	}
	t.Logf("%d requests for metadata, %d lines in the log", f.sim.Requests(""), len(f.log))
}
