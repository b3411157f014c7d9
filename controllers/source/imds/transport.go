// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"io"
	"net/http"
)

// transport sends the SDK's requests, remembers how the last one went, since the
// SDK's errors hide that, and can send one again as it was, with its token: what
// the SDK does to make a request costs more than all else that a watcher does.
type transport struct {
	next http.RoundTripper
	last exchange
	sent map[string]*http.Request // by path: those that were answered well
}

// exchange is how a request went.
type exchange struct {
	token  bool // it was for a token
	status int  // of the answer; 0: there was none
	err    error
}

// Do implements the SDK's HTTPClient.
func (t *transport) Do(request *http.Request) (*http.Response, error) {
	t.last = exchange{token: request.Method == http.MethodPut}
	response, err := t.next.RoundTrip(request)
	if err != nil {
		t.last.err = err
		return nil, err
	}
	t.last.status = response.StatusCode
	response.Body = http.MaxBytesReader(nil, response.Body, maxDocument)
	if t.last.plain() {
		t.sent[request.URL.Path] = request.Clone(context.Background())
	}
	return response, nil
}

// plain reports whether the answer says that there is such a document, or none.
func (e exchange) plain() bool {
	return !e.token && (e.status == http.StatusOK || e.status == http.StatusNotFound)
}

// repeat sends the last request for a path again. It is not ok if there is none,
// or anything went wrong with it, such as the token's expiry: the SDK handles that.
func (t *transport) repeat(ctx context.Context, path string) (body []byte, found, ok bool) {
	request := t.sent[path]
	if request == nil {
		return nil, false, false
	}
	delete(t.sent, path)
	response, err := t.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, false, false
	}
	body, err = io.ReadAll(http.MaxBytesReader(nil, response.Body, maxDocument))
	closing := response.Body.Close()
	answer := exchange{status: response.StatusCode}
	if err != nil || closing != nil || !answer.plain() {
		return nil, false, false
	}
	t.sent[path] = request
	if answer.status == http.StatusNotFound {
		return nil, false, true
	}
	return body, true, true
}
