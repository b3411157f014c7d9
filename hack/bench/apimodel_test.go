// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// spread is how long something takes: a lognormal distribution.
type spread struct{ p50, p99 time.Duration }

func (s spread) draw(random *rand.Rand) time.Duration {
	const z99 = 2.326
	sigma := math.Log(float64(s.p99)/float64(s.p50)) / z99
	return time.Duration(float64(s.p50) * math.Exp(sigma*random.NormFloat64()))
}

// What a request costs in the model, as measured with one request at a time.
var (
	cpuOfRequest   = spread{p50: 4 * time.Millisecond, p99: 15 * time.Millisecond}
	storageOfWrite = spread{p50: 4 * time.Millisecond, p99: 25 * time.Millisecond}
)

const (
	// writesOfEviction is how often an eviction waits for etcd: for the pod, and for the budget.
	writesOfEviction = 2
	// seats is how many requests of service accounts priority and fairness lets run at a time, by the API
	// server's default flags, and queued how many more wait for one. Others are answered 429.
	seats, queued = 245, 300
	// conflictWait is when the API server tries again to write to a budget that another eviction wrote to.
	conflictWait = 500 * time.Millisecond
)

// apiModel stands for an API server that evicts pods: requests wait for one of its cores, for etcd, for others
// under the same budget, and for the network. It is a http.RoundTripper.
type apiModel struct {
	cores   int
	network time.Duration // there and back
	// budgetOf returns the budget of a pod, empty for none.
	budgetOf func(pod string) string

	mu       sync.Mutex
	random   *rand.Rand
	free     []time.Time          // when each core is
	written  map[string]time.Time // when each budget will have been
	inFlight int
	samples  []int // of inFlight
}

func newAPIModel(cores int, network time.Duration) *apiModel {
	return &apiModel{
		cores: cores, network: network, budgetOf: func(string) string { return "" },
		random: rand.New(rand.NewPCG(1, 2)), free: make([]time.Time, cores), written: map[string]time.Time{},
	}
}

// RoundTrip implements http.RoundTripper.
func (m *apiModel) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
	time.Sleep(m.network / 2)
	if !m.admit() {
		time.Sleep(m.network / 2)
		return answerOf(http.StatusTooManyRequests), nil
	}
	writes := 1
	if path := strings.Split(request.URL.Path, "/"); path[len(path)-1] == "eviction" {
		writes = writesOfEviction
		m.awaitBudget(m.budgetOf(path[len(path)-2]))
	}
	for range writes {
		time.Sleep(m.core(writes))
		time.Sleep(m.draw(storageOfWrite))
	}
	m.mu.Lock()
	m.inFlight--
	m.mu.Unlock()
	time.Sleep(m.network / 2)
	return answerOf(http.StatusCreated), nil
}

func answerOf(code int) *http.Response {
	header := http.Header{"Content-Type": []string{"application/json"}}
	if code == http.StatusTooManyRequests {
		header.Set("Retry-After", "1")
	}
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","code":%d}`, code)
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

// admit counts a request, unless there are too many already.
func (m *apiModel) admit() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight >= seats+queued {
		return false
	}
	m.inFlight++
	m.samples = append(m.samples, m.inFlight)
	return true
}

// core takes one of the parts of a request's time on a core, and returns when that is over from now on.
func (m *apiModel) core(parts int) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := 0
	for i := range m.free {
		if m.free[i].Before(m.free[first]) {
			first = i
		}
	}
	now := time.Now()
	begins := now
	if m.free[first].After(now) {
		begins = m.free[first]
	}
	m.free[first] = begins.Add(cpuOfRequest.draw(m.random) / time.Duration(parts))
	return m.free[first].Sub(now)
}

// awaitBudget waits as long as others write to a budget.
func (m *apiModel) awaitBudget(budget string) {
	if budget == "" {
		return
	}
	for {
		m.mu.Lock()
		now := time.Now()
		conflicts := now.Before(m.written[budget])
		if !conflicts {
			m.written[budget] = now.Add(storageOfWrite.draw(m.random))
		}
		m.mu.Unlock()
		if !conflicts {
			return
		}
		time.Sleep(conflictWait)
	}
}

func (m *apiModel) draw(s spread) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.draw(m.random)
}
