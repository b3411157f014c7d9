// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestErrors: every path has to log what is wrong with it, once, and neither
// it nor the others may miss anything because of it.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		fault awssim.MetadataFault
		want  string
	}{
		"503":     {awssim.MetadataFault{Status: 503}, "answers 503 Service Unavailable."},
		"403":     {awssim.MetadataFault{Status: 403}, "is disabled (403 Forbidden): set HttpEndpoint to enabled"},
		"401":     {awssim.MetadataFault{Status: 401}, "does not take the token that it has given (401 Unauthorized)."},
		"garbage": {awssim.MetadataFault{Body: "<html>"}, "The document cannot be read: "},
		"endless": {awssim.MetadataFault{Body: strings.Repeat("x", 2*maxDocument)}, "cannot be read: http: request body too large."},
		"dropped": {awssim.MetadataFault{Drop: true}, "cannot be read: EOF."},
		"cut":     {awssim.MetadataFault{Truncate: true}, "An answer of the instance metadata service cannot be read: unexpected EOF."},
		"slow":    {awssim.MetadataFault{Delay: time.Hour}, "does not answer in time."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.pass(time.Minute)
			c.fault.Path = awssim.MetadataSpotAction
			if err := f.sim.AddFault(c.fault); err != nil {
				t.Fatal(err)
			}
			f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
			f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindRebalance})
			f.pass(20 * time.Second)
			if e := f.one(); e.Kind != v1alpha1.RebalanceRecommendation {
				t.Errorf("stored is %+v, want what the other path announces", e)
			}
			lines := 0
			for _, line := range f.log {
				if strings.Contains(line, c.want) && strings.Contains(line, event.PathSpotInstanceAction) {
					lines++
				}
			}
			if lines != 1 || len(f.log) != 3 {
				t.Errorf("the log should say %q, once:\n%s", c.want, strings.Join(f.log, "\n"))
			}
			f.sim.ClearFaults()
			f.pass(maxRetry)
			if n := len(f.stored().Spec.Events); n != 2 {
				t.Errorf("%d events once it works again, want two", n)
			}
			if last := f.log[len(f.log)-2]; !strings.Contains(last, "can be read again") {
				t.Errorf("the log says %s", last)
			}
		})
	}
}

// expiredTimers is a clock whose timers have expired.
type expiredTimers struct{ clock.RealClock }

func (h expiredTimers) NewTimer(time.Duration) clock.Timer { return h.RealClock.NewTimer(0) }

// TestStart: what keeps a watcher from starting is what the policy is to show.
func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, *fixture)
		want   string
	}{
		"disabled":  {func(_ *testing.T, f *fixture) { _ = f.sim.SetAccess(awssim.AccessDisabled) }, "The instance metadata service is disabled (403 Forbidden): set HttpEndpoint to enabled in the instance's metadata options and in its launch template."},
		"hop limit": {func(_ *testing.T, f *fixture) { _ = f.sim.SetAccess(awssim.AccessHopLimit) }, "The instance metadata service does not answer requests for a token, as with a hop limit of 1: let the watcher's pods use the host's network, or set HttpPutResponseHopLimit to 2 in the instance's metadata options and in its launch template."},
		"version 1": {func(_ *testing.T, f *fixture) {
			_ = f.sim.AddFault(awssim.MetadataFault{Path: awssim.MetadataToken, Status: 404})
		}, "The instance metadata service gives no tokens (404 Not Found): it has to be version 2."},
		"not EC2":     {func(_ *testing.T, f *fixture) { f.sim.Set(awssim.MetadataIdentity, `{"instanceId": "vm-1"}`) }, `The instance identity document names the instance "vm-1": this is not EC2.`},
		"no JSON":     {func(_ *testing.T, f *fixture) { f.sim.Set(awssim.MetadataIdentity, "<html>") }, "An answer of the instance metadata service cannot be read: invalid character '<' looking for beginning of value."},
		"no document": {func(_ *testing.T, f *fixture) { f.sim.Set(awssim.MetadataIdentity, "") }, "The instance metadata service answers 404 Not Found."},
		"no life-cycle": {func(t *testing.T, f *fixture) {
			if err := f.sim.AddFault(awssim.MetadataFault{Path: "meta-data/" + pathLifeCycle, Status: 500}); err != nil {
				t.Error(err)
			}
		}, "The instance metadata service answers 500 Internal Server Error."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := idleFixture(t)
			c.change(t, f)
			w, err := f.watcher()
			if err != nil {
				t.Fatal(err)
			}
			w.opts.Clock = expiredTimers{}
			if err := w.Run(t.Context()); err == nil || err.Error() != c.want {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
			if len(f.log) != startAttempts-1 {
				t.Errorf("%d attempts were logged, want %d", len(f.log), startAttempts-1)
			}
			if err := Probe(f.heartbeatFile); err == nil {
				t.Error("the probe succeeds")
			}
		})
	}
}

// TestMetadataDisabled: a watcher ends, so that its pod's status says why, if the metadata service is disabled while it runs;
// short of that it goes on.
func TestMetadataDisabled(t *testing.T) {
	f := newFixture(t)
	f.pass(time.Minute)
	disable := func(access awssim.Access) {
		if err := f.sim.SetAccess(access); err != nil {
			t.Fatal(err)
		}
	}
	until := func(d time.Duration) bool {
		for end := f.clock.Now().Add(d); f.clock.Now().Before(end); {
			f.pass(10 * time.Second)
			if f.metadataDisabled() {
				return true
			}
		}
		return false
	}
	disable(awssim.AccessDisabled)
	if until(disabledTimeout - time.Minute) {
		t.Error("it ends at once")
	}
	disable(awssim.AccessEnabled)
	if until(2 * time.Minute) {
		t.Error("it ends although it is enabled again")
	}
	disable(awssim.AccessDisabled)
	if !until(disabledTimeout + time.Minute) {
		t.Errorf("it goes on: %s", f.log[len(f.log)-1])
	}
}

func TestNothingListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	m, err := newMetadata("http://"+address, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "No connection to the instance metadata service (dial " + address + ": connection refused): let the watcher's pods use the host's network, and look for firewall rules and network policies against it."
	if _, err = m.identify(t.Context()); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}

// TestStartAgain: a short failure does not keep the watcher from starting.
func TestStartAgain(t *testing.T) {
	f := idleFixture(t)
	if err := f.sim.AddFault(awssim.MetadataFault{Status: 503, Times: 4}); err != nil {
		t.Fatal(err)
	}
	w, err := f.watcher()
	if err != nil {
		t.Fatal(err)
	}
	w.opts.Clock = expiredTimers{}
	if err := w.begin(t.Context()); err != nil || w.instance.InstanceID != f.id {
		t.Errorf("%v, instance %q", err, w.instance.InstanceID)
	}
}

// TestEnvironment: the SDK's own variables count, where there is no flag.
func TestEnvironment(t *testing.T) {
	v4, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: "i-44444444"}})
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	for name, c := range map[string]struct {
		env                  map[string]string
		endpoint, mode, want string // an error, or an instance
	}{
		"flag":               {nil, v4.URL(), "", "i-44444444"},
		"variable":           {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": v4.URL()}, "", "", "i-44444444"},
		"flag over variable": {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, v4.URL(), "", "i-44444444"},
		"proxy":              {map[string]string{"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}, v4.URL(), "", "i-44444444"},
		"disabled":           {map[string]string{"AWS_EC2_METADATA_DISABLED": "TRUE"}, v4.URL(), "", "AWS_EC2_METADATA_DISABLED is true, so there is nothing to watch: unset it"},
		"mode":               {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}, v4.URL(), "", "i-44444444"},
		"unknown mode":       {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv5"}, "", "", `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is "IPv5": write IPv4 or IPv6`},
		"unknown flag":       {nil, "", "IPv5", `--endpoint-mode is "IPv5": write IPv4 or IPv6`},
		"no URL":             {nil, "169.254.169.254", "", `the endpoint of the metadata service is "169.254.169.254": write a URL such as http://169.254.169.254 or http://[fd00:ec2::254]`},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			m, err := newMetadata(c.endpoint, c.mode, nil)
			got := ""
			if err == nil {
				var i identity
				if i, err = m.identify(t.Context()); err == nil {
					got = i.instanceID
				}
			}
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestEndpoints: where the requests go to EC2's own service.
func TestEndpoints(t *testing.T) {
	const modeEnv, service = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_SERVICE_ENDPOINT"
	for name, c := range map[string]struct {
		env        map[string]string
		mode, want string
	}{
		"by default":              {nil, "", "169.254.169.254"},
		"IPv4":                    {nil, "IPv4", "169.254.169.254"},
		"IPv6":                    {nil, "IPv6", "[fd00:ec2::254]"},
		"the variable IPv4":       {map[string]string{modeEnv: "IPv4"}, "", "169.254.169.254"},
		"the variable IPv6":       {map[string]string{modeEnv: "IPv6"}, "", "[fd00:ec2::254]"},
		"IPv4 over the variable":  {map[string]string{modeEnv: "IPv6"}, "IPv4", "169.254.169.254"},
		"IPv6 over the variables": {map[string]string{modeEnv: "IPv5", service: "http://127.0.0.1:1"}, "IPv6", "[fd00:ec2::254]"},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			asked := ""
			m, err := newMetadata("", c.mode, roundTripper(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.Host
				return nil, net.ErrClosed
			}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.identify(t.Context()); err == nil || asked != c.want {
				t.Errorf("%q was asked (%v), want %s", asked, err, c.want)
			}
		})
	}
}

// TestIPv6: a watcher whose endpoint is an IPv6 address does all that another one does.
func TestIPv6(t *testing.T) {
	f := idleFixture(t)
	sim, err := awssim.StartMetadata(awssim.MetadataOptions{Addr: "[::1]:0", Instance: awssim.MetadataInstance{ID: f.id}, Now: f.clock.Now})
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	defer sim.Close()
	if !strings.HasPrefix(sim.URL(), "http://[::1]:") {
		t.Fatalf("it listens at %s", sim.URL())
	}
	f.sim = sim
	f.restart()
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.pass(3 * time.Second)
	if e := f.one(); e.Kind != v1alpha1.SpotInterruption {
		t.Errorf("stored is %+v", e)
	}
}

// TestTokens: a token is asked for when the last has expired, and not for every document.
func TestTokens(t *testing.T) {
	f := newFixture(t)
	f.pass(4 * time.Minute)
	if n := f.sim.Requests(awssim.MetadataToken); n != 1 {
		t.Errorf("%d tokens, want one", n)
	}
	f.pass(time.Hour)
	if n := f.sim.Requests(awssim.MetadataToken); n < 10 || n > 14 {
		t.Errorf("%d tokens in an hour, want one every five minutes", n)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.pass(3 * time.Second)
	f.one()
	if len(f.log) != 2 {
		t.Errorf("an expired token is nothing to tell of:\n%s", strings.Join(f.log, "\n"))
	}
}

func TestIdentity(t *testing.T) {
	f := idleFixture(t)
	long := strings.Repeat("x", 65)
	f.sim.Set(awssim.MetadataIdentity, `{"instanceId": "`+f.id+`", "instanceType": "`+long+`", "region": "us-east-1"}`)
	f.sim.Set("meta-data/"+pathLifeCycle, "")
	m, err := newMetadata(f.sim.URL(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := identity{f.id, &v1alpha1.Instance{Region: "us-east-1"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(identity{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	f.sim.Set(awssim.MetadataIdentity, `{"instanceId": "`+f.id+`", "region": "example.com/"}`)
	if got, err = m.identify(t.Context()); err != nil || got != (identity{instanceID: f.id}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRetryBackoff(t *testing.T) {
	backoff := retryBackoff
	wants := append([]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, slices.Repeat([]time.Duration{maxRetry}, 1000)...)
	for i, want := range wants {
		if got := backoff.Step(); got != want {
			t.Fatalf("%d failures: %s, want %s", i+1, got, want)
		}
	}
}
