// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxClients is how many clients are kept, each with connections of its own.
const maxClients = 16

// clients holds the HTTP clients in use: one for each proxy and set of certificates, the
// last one used first.
type clients struct {
	mu   sync.Mutex
	list []keyedClient
}

type keyedClient struct {
	proxy  string
	ca     [sha256.Size]byte
	client *http.Client
}

// get returns the client for a proxy and certificates, either of which may be empty.
func (c *clients) get(proxy string, ca []byte) (*http.Client, error) {
	sum := sha256.Sum256(ca)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, known := range c.list {
		if known.proxy == proxy && known.ca == sum {
			copy(c.list[1:i+1], c.list[:i])
			c.list[0] = known
			return known.client, nil
		}
	}
	client, err := newClient(proxy, ca)
	if err != nil {
		return nil, err
	}
	if len(c.list) == maxClients {
		c.list[maxClients-1].client.CloseIdleConnections()
		c.list = c.list[:maxClients-1]
	}
	c.list = append([]keyedClient{{proxy: proxy, ca: sum, client: client}}, c.list...)
	return client, nil
}

func newClient(proxy string, ca []byte) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    4,
		MaxConnsPerHost:        16,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    timeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // what is answered is thrown away
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
			if response.StatusCode != http.StatusOK {
				return proxyError(response.StatusCode)
			}
			return nil
		},
	}
	if proxy != "" {
		address, err := url.Parse(proxy)
		if err != nil || address.Host == "" {
			return nil, errors.New("proxyURL is not a proxy's address: write one such as http://proxy.example.com:3128")
		}
		if address.Scheme == "tcp" { // as NTH's users write it
			address.Scheme = "http"
		}
		transport.Proxy = http.ProxyURL(address)
	}
	if len(ca) > 0 {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("what caFrom names has no certificate in it: write certificates in PEM, from -----BEGIN CERTIFICATE----- on")
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: followWithinHost}, nil
}

// followWithinHost follows redirects that stay with the receiver and repeat the POST. Any
// other redirect is the answer.
func followWithinHost(request *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > maxRedirects || request.Method != first.Method || request.URL.Scheme != first.URL.Scheme || request.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// proxyError is the status that a proxy refuses a connection with.
type proxyError int

// Error returns the status in words.
func (e proxyError) Error() string {
	return "the proxy answered " + strconv.Itoa(int(e)) + " " + http.StatusText(int(e))
}

// reason returns in words of its own what kept a request from being answered: errors of net/http
// have the URL in them.
func reason(err error) string {
	if proxy, ok := errors.AsType[proxyError](err); ok {
		return proxy.Error()
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the receiver's certificate is signed by nobody that is trusted: give the certificate of who signed it in caFrom"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the receiver's certificate is for another host"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "the receiver's certificate has expired or is not valid yet"
		}
		return "the receiver's certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the receiver does not speak TLS"
	}
	if missing, ok := errors.AsType[*net.DNSError](err); ok {
		if missing.IsNotFound {
			return "there is no host of that name"
		}
		return "the host's name was not resolved"
	}
	var timedOut net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "the manager stopped"
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return fmt.Sprintf("no answer within %d seconds", int(timeout.Seconds()))
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to the host"
	}
	return "the connection broke before there was an answer"
}
