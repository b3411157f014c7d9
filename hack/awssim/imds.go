// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The paths of the metadata service that Send writes, for Set, AddFault and Requests.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
const (
	MetadataToken              = "api/token"
	MetadataIdentity           = "dynamic/instance-identity/document"
	MetadataSpotAction         = "meta-data/spot/instance-action"
	MetadataRebalance          = "meta-data/events/recommendations/rebalance"
	MetadataMaintenance        = "meta-data/events/maintenance/scheduled"
	MetadataMaintenanceHistory = "meta-data/events/maintenance/history"
	MetadataTargetState        = "meta-data/autoscaling/target-lifecycle-state"
)

// Access says whether an instance's metadata can be read.
type Access string

// The values of Access.
const (
	// AccessEnabled: it can.
	AccessEnabled Access = "enabled"
	// AccessDisabled: every request is answered with 403, as with HttpEndpoint=disabled.
	AccessDisabled Access = "disabled"
	// AccessHopLimit: requests for a token are not answered, as when the hop limit ends
	// their answers on the way to a pod.
	AccessHopLimit Access = "hop-limit"
)

// MetadataOptions of a Metadata server. The zero value is ready to use.
type MetadataOptions struct {
	// Addr to listen on, which must be loopback. Default 127.0.0.1:0, a free port; [::1]:0 is IPv6.
	Addr string
	// Instance that the metadata is about.
	Instance MetadataInstance
	// Now is the server's clock. Default time.Now.
	Now func() time.Time
	// Seed of the random source behind MetadataFault.Probability.
	Seed uint64
}

// MetadataInstance is what an instance's metadata says of it.
type MetadataInstance struct {
	ID        string // default i-1234567890abcdef0
	Type      string // default m6i.large
	LifeCycle string // default spot
	Zone      string // default us-east-1a
}

// Metadata is a running instance metadata service (IMDSv2), that of one instance: start one for
// each. Its methods may be called from any goroutine.
type Metadata struct {
	*endpoint
	opts   MetadataOptions
	offset atomic.Int64
	routes *http.ServeMux

	mu        sync.Mutex
	access    Access
	documents map[string]string // by path below /latest/
	tokens    map[string]time.Time
	lastToken int
	requests  map[string]int
	faults    metadataFaults
}

// StartMetadata listens and serves until Close. It fails if the address is taken or not loopback.
func StartMetadata(opts MetadataOptions) (*Metadata, error) {
	opts.Instance.ID = cmp.Or(opts.Instance.ID, "i-1234567890abcdef0")
	opts.Instance.Type = cmp.Or(opts.Instance.Type, "m6i.large")
	opts.Instance.LifeCycle = cmp.Or(opts.Instance.LifeCycle, "spot")
	opts.Instance.Zone = cmp.Or(opts.Instance.Zone, "us-east-1a")
	if opts.Now == nil {
		opts.Now = time.Now
	}
	endpoint, err := listen(opts.Addr)
	if err != nil {
		return nil, err
	}
	m := &Metadata{
		endpoint:  endpoint,
		opts:      opts,
		access:    AccessEnabled,
		documents: opts.Instance.documents(),
		tokens:    map[string]time.Time{},
		requests:  map[string]int{},
		faults:    newMetadataFaults(opts.Seed),
	}
	m.routes = m.controlRoutes()
	m.serve(m)
	return m, nil
}

// Close ends requests that hang and returns when all is answered.
func (m *Metadata) Close() error {
	return m.close()
}

// URL returns the endpoint, for AWS_EC2_METADATA_SERVICE_ENDPOINT.
func (m *Metadata) URL() string { return m.url }

// Env returns the environment, as KEY=value, in which the SDK's client talks to m.
func (m *Metadata) Env() []string {
	return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + m.url}
}

// Advance moves the server's clock forward, on top of MetadataOptions.Now: tokens expire.
func (m *Metadata) Advance(d time.Duration) { m.offset.Add(int64(d)) }

func (m *Metadata) now() time.Time {
	return m.opts.Now().Add(time.Duration(m.offset.Load()))
}

// SetAccess sets whether the metadata can be read from now on.
func (m *Metadata) SetAccess(access Access) error {
	switch access {
	case AccessEnabled, AccessDisabled, AccessHopLimit:
	default:
		return fmt.Errorf("access %q: use %s, %s or %s", access, AccessEnabled, AccessDisabled, AccessHopLimit)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.access = access
	return nil
}

// Set makes the document at a path below /latest/ what body says. An empty body removes it.
func (m *Metadata) Set(path, body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(path, body)
}

func (m *Metadata) set(path, body string) {
	if body == "" {
		delete(m.documents, path)
	} else {
		m.documents[path] = body
	}
}

// Requests counts those so far for a path below /latest/, whatever became of them. Empty: all.
func (m *Metadata) Requests(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if path != "" {
		return m.requests[path]
	}
	sum := 0
	for _, n := range m.requests {
		sum += n
	}
	return sum
}

// ServeHTTP answers one request for metadata or one call to the control endpoint.
func (m *Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if strings.HasPrefix(r.URL.Path, controlPath) {
		m.routes.ServeHTTP(w, r)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	access, fault := m.received(path)
	switch {
	case access == AccessDisabled:
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	case access == AccessHopLimit && path == MetadataToken:
		<-r.Context().Done()
		return
	case !wait(r.Context(), fault.Delay) || fault.Drop:
		drop(w)
		return
	case fault.Status != 0:
		http.Error(w, "Simulated by awssim.", fault.Status)
		return
	}
	status, body := m.answer(w.Header(), r, path)
	if fault.Body != "" && status == http.StatusOK {
		body = fault.Body
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if fault.Truncate {
		body = body[:len(body)/2]
	}
	_, _ = w.Write([]byte(body)) // fails only if the client has gone
}

// received counts a request and returns what is to happen to it.
func (m *Metadata) received(path string) (Access, MetadataFault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[path]++
	return m.access, m.faults.match(path)
}

// answer answers a request as the service does without faults.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
func (m *Metadata) answer(header http.Header, r *http.Request, path string) (status int, body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if path == MetadataToken {
		return m.newToken(header, r)
	}
	if r.Method != http.MethodGet {
		return http.StatusMethodNotAllowed, "Method Not Allowed\n"
	}
	expires, known := m.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")]
	if !known || m.now().After(expires) {
		return http.StatusUnauthorized, "Unauthorized\n"
	}
	document, found := m.documents[path]
	if !found {
		return http.StatusNotFound, "Not Found\n"
	}
	return http.StatusOK, document
}

func (m *Metadata) newToken(header http.Header, r *http.Request) (status int, body string) {
	const ttlHeader = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.Method != http.MethodPut:
		return http.StatusMethodNotAllowed, "Method Not Allowed\n"
	case r.Header.Get("X-Forwarded-For") != "":
		return http.StatusForbidden, "Forbidden\n"
	case err != nil || ttl < 1 || ttl > 21600:
		return http.StatusBadRequest, "Bad Request\n"
	}
	now := m.now()
	for token, expires := range m.tokens {
		if now.After(expires) {
			delete(m.tokens, token)
		}
	}
	m.lastToken++
	token := fmt.Sprintf("AQAEA-awssim-%d==", m.lastToken)
	m.tokens[token] = now.Add(time.Duration(ttl) * time.Second)
	header.Set(ttlHeader, strconv.Itoa(ttl))
	return http.StatusOK, token
}
