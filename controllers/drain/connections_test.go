// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// However many evictions are in flight, other requests share no connection with them. The API server allows as
// many requests on a connection as a client takes for granted before it is told.
func TestEvictionsHaveConnectionsOfTheirOwn(t *testing.T) {
	const perConnection, evictions = 100, 150
	var mu sync.Mutex
	connections := map[string]map[string]int{"evictions": {}, "others": {}} // requests by connection
	count := func(kind string) (requests int) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range connections[kind] {
			requests += n
		}
		return requests
	}
	release := make(chan struct{})
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "others"
		if strings.HasSuffix(r.URL.Path, "/eviction") {
			kind = "evictions"
		}
		mu.Lock()
		connections[kind][r.RemoteAddr]++
		mu.Unlock()
		if r.ProtoMajor != 2 {
			t.Errorf("a request over %s", r.Proto)
		}
		if kind == "evictions" {
			<-release
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Success"}`)
	}))
	api.EnableHTTP2 = true
	api.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: perConnection}
	api.StartTLS()
	t.Cleanup(api.Close)
	t.Cleanup(func() { close(release) })

	config := &rest.Config{Host: api.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	others, err := NewClient(config, shared)
	if err != nil {
		t.Fatal(err)
	}
	own, err := NewClient(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := others.RESTClient().Patch("").AbsPath("/api/v1/nodes/node").Body([]byte("{}")).Do(ctx).Error(); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	e := run(t, ExecutorOptions{Client: own, MinInFlight: evictions, MaxInFlight: evictions})
	e.Set("owner", evict(manyPods("pod", evictions)...))
	eventually(t, "all evictions are in flight", func() bool { return count("evictions") == evictions })
	for range 10 {
		ask()
	}
	mu.Lock()
	defer mu.Unlock()
	for connection, n := range connections["evictions"] {
		if n > perConnection {
			t.Errorf("%d requests at a time on one connection", n)
		}
		if connections["others"][connection] > 0 {
			t.Error("a connection with evictions and other requests")
		}
	}
	if n := len(connections["evictions"]); n < 2 {
		t.Errorf("%d connections for %d evictions at a time", n, evictions)
	}
	if n := len(connections["others"]); n != 1 {
		t.Errorf("%d connections for one request at a time", n)
	}
}
