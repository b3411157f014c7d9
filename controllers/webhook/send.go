// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"k8s.io/utils/clock"

	"github.com/nodetermination/operator/controllers/webhook/template"
)

const (
	// timeout of one attempt in all.
	timeout = 10 * time.Second
	// drainTimeout and maxAnswer bound what is read of an answer, only so that its
	// connection can be used again.
	drainTimeout = time.Second
	maxAnswer    = 64 << 10
	// maxRedirects within the receiver's own host.
	maxRedirects = 3

	userAgent = "node-termination-operator"
)

// Delivery is one thing to send, with all that secrets and config maps hold read.
type Delivery struct {
	// URL to post to. White space around it is cut off.
	URL string
	// AllowPlainHTTP permits an http URL.
	AllowPlainHTTP bool
	// Header is as headersOf made it. Without a Content-Type there it is template.DefaultContentType.
	Header http.Header
	// ProxyURL to send through. Empty: what the environment says.
	ProxyURL string
	// CA is certificates in PEM that the receiver's must be signed by. Empty: the system's.
	CA []byte
	// Body is what the template was rendered to.
	Body []byte
}

// Result is what became of an attempt, in a word.
type Result string

// The results of an attempt.
const (
	// Delivered: the receiver has taken it.
	Delivered Result = "Delivered"
	// Retry: it may succeed later.
	Retry Result = "Retry"
	// GivenUp: it will not succeed unless somebody changes something.
	GivenUp Result = "GivenUp"
)

// Outcome is what became of an attempt.
type Outcome struct {
	// Result is Delivered, Retry or GivenUp.
	Result Result
	// Reason says why it was not delivered. There is nothing in it of the URL, the headers
	// or the answer, as they may hold secrets. Empty: it was.
	Reason string
	// RetryAfter is how long the receiver asks to wait. Zero: it does not say.
	RetryAfter time.Duration
}

// Sender sends deliveries. It is safe for use by several goroutines and keeps connections open
// for the next delivery, some of them and for a while.
type Sender struct {
	clock   clock.PassiveClock
	clients clients
}

// NewSender returns a Sender. The clock is for receivers that say until when to wait.
func NewSender(c clock.PassiveClock) *Sender {
	return &Sender{clock: c}
}

// Send makes one attempt, of at most ten seconds.
func (s *Sender) Send(ctx context.Context, d Delivery) Outcome {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := d.request(ctx)
	if err != nil {
		return Outcome{Result: GivenUp, Reason: err.Error()}
	}
	client, err := s.clients.get(d.ProxyURL, d.CA)
	if err != nil {
		return Outcome{Result: GivenUp, Reason: err.Error()}
	}
	response, err := client.Do(request)
	if err != nil {
		return Outcome{Result: Retry, Reason: reason(err)}
	}
	defer func() { _ = response.Body.Close() }() // nothing in it is of interest
	stop := time.AfterFunc(drainTimeout, cancel)
	defer stop.Stop()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // the head has said all
	return s.outcome(response)
}

// outcome returns what the head of an answer says.
func (s *Sender) outcome(response *http.Response) Outcome {
	code := response.StatusCode
	answered := strings.TrimSpace("the receiver answered " + strconv.Itoa(code) + " " + http.StatusText(code))
	switch {
	case code >= 200 && code < 300:
		return Outcome{Result: Delivered}
	case code >= 300 && code < 400:
		return Outcome{Result: GivenUp, Reason: answered + ": redirects are followed within one host, by 307 and 308, three times; write the address that it leads to"}
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return Outcome{Result: Retry, Reason: answered, RetryAfter: retryAfter(response.Header.Get("Retry-After"), s.clock.Now())}
	}
	return Outcome{Result: GivenUp, Reason: answered}
}

// request returns the delivery as an HTTP request. The error says what of it is wrong, without its value.
func (d *Delivery) request(ctx context.Context) (*http.Request, error) {
	address, err := url.Parse(strings.TrimSpace(d.URL))
	switch {
	case err != nil || address.Host == "" || (address.Scheme != "https" && address.Scheme != "http"):
		return nil, fmt.Errorf("the URL is not a whole address: write one such as https://example.com/hook")
	case address.User != nil:
		return nil, fmt.Errorf("the URL has a user in it: write an Authorization header in headersFrom instead")
	case address.Scheme == "http" && !d.AllowPlainHTTP:
		return nil, fmt.Errorf("the URL is http, which sends everything in clear: write https, or plainHTTP: Allow for a receiver on a network that you trust")
	}
	address.Fragment = ""
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(d.Body))
	if err != nil {
		return nil, fmt.Errorf("the URL is not a whole address: write one such as https://example.com/hook")
	}
	request.Header = d.Header.Clone()
	if request.Header == nil {
		request.Header = http.Header{}
	}
	for name, value := range map[string]string{"Content-Type": template.DefaultContentType, "User-Agent": userAgent} {
		if request.Header.Get(name) == "" {
			request.Header.Set(name, value)
		}
	}
	return request, nil
}

// headersOf returns those of a secret: its keys are names, its values the headers'. White space around
// a value is cut off. The error names the key.
func headersOf(secret map[string][]byte) (http.Header, error) {
	header := http.Header{}
	for name, bytes := range secret {
		value := strings.TrimSpace(string(bytes))
		switch canonical := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("the key %q is no header's name: use one such as Authorization", name)
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("the value of the key %q cannot be a header's: write it in one line", name)
		case canonical == "Host" || canonical == "Content-Length" || canonical == "Transfer-Encoding" || canonical == "Connection" || canonical == "Trailer" || canonical == "Upgrade":
			return nil, fmt.Errorf("the header %s is set by the connection: leave it out", canonical)
		case header.Values(name) != nil:
			return nil, fmt.Errorf("the header %s is there twice: leave one out", canonical)
		default:
			header.Set(name, value)
		}
	}
	return header, nil
}

// contentType returns that of a delivery with these headers.
func contentType(header http.Header) string {
	if value := header.Get("Content-Type"); value != "" {
		return value
	}
	return template.DefaultContentType
}
