// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

// watcherUser is the watchers' service account.
const watcherUser = "system:serviceaccount:" + operator.WatcherNamespace + ":imds-watcher"

// asWatcher returns a configuration with the rights of the watcher on a node.
func asWatcher(config *rest.Config, node string) *rest.Config {
	config.Impersonate = rest.ImpersonationConfig{
		UserName: watcherUser,
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
		Extra:    map[string][]string{"authentication.kubernetes.io/node-name": {node}},
	}
	return config
}

var (
	cluster     = testcluster.Shared{SetUp: setUp}
	adminClient client.Client // set by setUp
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(cluster.Main(m))
}

// admin returns an administrator's client that does not cache.
func admin(tb testing.TB) client.Client {
	tb.Helper()
	cluster.Get(tb)
	return adminClient
}

// setUp installs everything, and returns when the watchers' admission policy is in force.
func setUp(c *testcluster.Cluster) (err error) {
	ctx := context.Background()
	if err := operator.Install(ctx, c.Kubeconfig()); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if adminClient, err = client.New(c.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	watcher, err := client.New(asWatcher(c.Config(), "own"), client.Options{Scheme: scheme, Mapper: adminClient.RESTMapper()})
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: "i-0000000000000000f"}}
		nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: nt.Name, NodeName: "another", Events: []v1alpha1.Event{
			{ID: "x", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceIMDS, Time: *at(0)},
		}}
		return apierrors.IsInvalid(watcher.Create(ctx, nt, client.DryRunAll)), nil
	})
}

// epoch is when the clocks begin.
var epoch = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

var instances atomic.Int64

// fixture is an instance's metadata and watchers of it, one after the other.
type fixture struct {
	t             *testing.T
	clock         *clocktesting.FakeClock
	sim           *awssim.Metadata
	id, node      string
	bootID        string
	heartbeatFile string
	requests      atomic.Int64       // to the API server
	faults        http.RoundTripper  // nil but where the network fails
	change        func(*rest.Config) // of the client for the API server

	mu  sync.Mutex
	log []string

	*Watcher // that is running
}

// newFixture makes a watcher that has begun, of an instance of its own.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := idleFixture(t)
	f.restart()
	return f
}

// idleFixture makes one without a watcher.
func idleFixture(t *testing.T) *fixture {
	t.Helper()
	n := instances.Add(1)
	f := &fixture{
		t: t, clock: clocktesting.NewFakeClock(epoch), id: fmt.Sprintf("i-0abc%013x", n), node: fmt.Sprintf("ip-10-0-0-%d.ec2.internal", n), bootID: "boot-1",
		heartbeatFile: filepath.Join(t.TempDir(), "heartbeat"),
	}
	sim, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: f.id}, Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	f.sim = sim
	return f
}

// watcher makes one that has not begun.
func (f *fixture) watcher() (*Watcher, error) {
	config := cluster.Get(f.t).Config()
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own has ended
		defer cancel()
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: f.id}}
		if err := client.IgnoreNotFound(admin(f.t).Delete(ctx, nt)); err != nil {
			f.t.Logf("cleaning up: %v", err)
		}
	})
	config = asWatcher(config, f.node)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			f.requests.Add(1)
			return next.RoundTrip(request)
		})
	})
	if f.change != nil {
		f.change(config)
	}
	return newWatcher(Options{
		NodeName: f.node, BootID: f.bootID, PollInterval: 2 * time.Second, Endpoint: f.sim.URL(), Heartbeat: f.heartbeatFile,
		Config: config, Log: funcr.New(f.note, funcr.Options{}), Clock: f.clock,
	}, f.faults)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func (f *fixture) note(_, args string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, args)
}

// restart replaces the watcher by a new process's, which knows nothing.
func (f *fixture) restart() {
	f.t.Helper()
	w, err := f.watcher()
	if err == nil {
		err = w.begin(f.t.Context())
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.Watcher = w
}

// boot is a restart of the whole machine.
func (f *fixture) boot(id string) {
	f.t.Helper()
	f.bootID = id
	f.restart()
}

// pass lets time pass, and the watcher do what is due.
func (f *fixture) pass(d time.Duration) {
	f.t.Helper()
	for end := f.clock.Now().Add(d); ; {
		next := f.step(f.t.Context())
		if next.After(end) {
			f.clock.SetTime(end)
			return
		}
		if !next.After(f.clock.Now()) {
			f.t.Fatalf("the watcher does not rest at %s", next)
		}
		f.clock.SetTime(next)
	}
}

func (f *fixture) announce(e awssim.MetadataEvent) {
	f.t.Helper()
	if err := f.sim.Say(e); err != nil {
		f.t.Fatal(err)
	}
}

// stored returns the NodeTermination, nil if there is none.
func (f *fixture) stored() *v1alpha1.NodeTermination {
	f.t.Helper()
	var nt v1alpha1.NodeTermination
	err := admin(f.t).Get(f.t.Context(), client.ObjectKey{Name: f.id}, &nt)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return &nt
}

// one returns the only event that is stored.
func (f *fixture) one() v1alpha1.Event {
	f.t.Helper()
	nt := f.stored()
	if nt == nil || len(nt.Spec.Events) != 1 {
		f.t.Fatalf("stored is %+v, want one event", nt)
	}
	return nt.Spec.Events[0]
}
