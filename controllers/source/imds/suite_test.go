// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"errors"
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
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// watcherUser may do to NodeTerminations what config/watcher lets a watcher do, and nothing else.
const watcherUser = "imds-watcher"

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

func setUp(c *testcluster.Cluster) (err error) {
	if err := c.InstallCRDs("../../../config/crd/bases"); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(rbacv1.AddToScheme(scheme))
	if adminClient, err = client.New(c.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return errors.Join(
		adminClient.Create(context.Background(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: watcherUser},
			Rules: []rbacv1.PolicyRule{{
				APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"nodeterminations"}, Verbs: []string{"create", "patch"},
			}},
		}),
		adminClient.Create(context.Background(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: watcherUser},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: watcherUser},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: watcherUser}},
		}),
	)
}

// epoch is when the clocks begin.
var epoch = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

var instances atomic.Int64

// rig is an instance's metadata and watchers of it, one after the other.
type rig struct {
	t        *testing.T
	clock    *clocktesting.FakeClock
	sim      *awssim.Metadata
	id, node string
	beats    string             // the heartbeat file
	requests atomic.Int64       // to the API server
	faults   http.RoundTripper  // nil but where the network fails
	change   func(*rest.Config) // of the client for the API server

	mu  sync.Mutex
	log []string

	*Watcher // that is running
}

// newRig makes a watcher that has begun, of an instance of its own.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := idleRig(t)
	r.restart()
	return r
}

// idleRig is one without a watcher.
func idleRig(t *testing.T) *rig {
	t.Helper()
	n := instances.Add(1)
	r := &rig{
		t: t, clock: clocktesting.NewFakeClock(epoch), id: fmt.Sprintf("i-0abc%013x", n), node: fmt.Sprintf("ip-10-0-0-%d.ec2.internal", n),
		beats: filepath.Join(t.TempDir(), "heartbeat"),
	}
	sim, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: r.id}, Now: r.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	r.sim = sim
	return r
}

// watcher makes one that has not begun.
func (r *rig) watcher() (*Watcher, error) {
	config := cluster.Get(r.t).Config()
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own has ended
		defer cancel()
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: r.id}}
		if err := client.IgnoreNotFound(admin(r.t).Delete(ctx, nt)); err != nil {
			r.t.Logf("cleaning up: %v", err)
		}
	})
	config.Impersonate = rest.ImpersonationConfig{UserName: watcherUser}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			r.requests.Add(1)
			return next.RoundTrip(request)
		})
	})
	if r.change != nil {
		r.change(config)
	}
	return newWatcher(Options{
		NodeName: r.node, BootID: "boot-1", PollInterval: 2 * time.Second, Endpoint: r.sim.URL(), Heartbeat: r.beats,
		Config: config, Log: funcr.New(r.note, funcr.Options{}), Clock: r.clock,
	}, r.faults)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func (r *rig) note(_, args string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, args)
}

// restart replaces the watcher by a new process's, which knows nothing.
func (r *rig) restart() {
	r.t.Helper()
	w, err := r.watcher()
	if err == nil {
		err = w.begin(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.Watcher = w
}

// pass lets time pass, and the watcher do what is due.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	for end := r.clock.Now().Add(d); ; {
		next := r.step(r.t.Context())
		if next.After(end) {
			r.clock.SetTime(end)
			return
		}
		if !next.After(r.clock.Now()) {
			r.t.Fatalf("the watcher does not rest at %s", next)
		}
		r.clock.SetTime(next)
	}
}

func (r *rig) say(e awssim.MetadataEvent) {
	r.t.Helper()
	if err := r.sim.Say(e); err != nil {
		r.t.Fatal(err)
	}
}

// stored is the NodeTermination, nil if there is none.
func (r *rig) stored() *v1alpha1.NodeTermination {
	r.t.Helper()
	var nt v1alpha1.NodeTermination
	err := admin(r.t).Get(r.t.Context(), client.ObjectKey{Name: r.id}, &nt)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return &nt
}

// one is the only event that is stored.
func (r *rig) one() v1alpha1.Event {
	r.t.Helper()
	nt := r.stored()
	if nt == nil || len(nt.Spec.Events) != 1 {
		r.t.Fatalf("stored is %+v, want one event", nt)
	}
	return nt.Spec.Events[0]
}
