// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/sqs"
	"github.com/nodetermination/operator/controllers/webhook"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

// patience bounds every wait; on an idle machine each takes a second or two.
const patience = 90 * time.Second

const image = operator.Image

// How the watchers of config/default run.
var (
	watchers = WatcherOptions{Namespace: operator.WatcherNamespace, ServiceAccount: watcher, Image: image}
	settings = watcherSettings{namespace: operator.WatcherNamespace, serviceAccount: watcher, image: image}
)

var (
	cluster = testcluster.Shared{SetUp: setUp, TearDown: func(int) error { return stopManager() }}
	// These are set by setUp.
	adminClient client.Client
	stopManager func() error
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

// setUp installs everything and runs the reconciler in this process.
func setUp(c *testcluster.Cluster) error {
	if err := operator.Install(context.Background(), c.Kubeconfig()); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	var err error
	if adminClient, err = client.New(c.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	manager, err := newManager(c.Config(), scheme)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	stopManager = func() error {
		cancel()
		return <-ended
	}
	return nil
}

func newManager(config *rest.Config, scheme *runtime.Scheme) (ctrl.Manager, error) {
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&corev1.Node{}:      {Transform: ec2node.Trim},
			&appsv1.DaemonSet{}: {Namespaces: map[string]cache.Config{operator.WatcherNamespace: {}}},
		}},
	})
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Queues: sqs.NewConsumers(sqs.Options{NewAdopter: func(sqs.AdoptedQueue) sqs.Adopter { return nil }}),
		Webhooks: &webhook.Resolver{Reader: manager.GetClient(), Namespace: metav1.NamespaceDefault}, Watchers: watchers, Clock: clock.RealClock{},
	}
	return manager, r.SetupWithManager(manager)
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	testcluster.Eventually(t, patience, check)
}

// create creates an object, which is deleted at the end of the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := admin(t).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin(t).Delete(context.Background(), object) })
}

// labelOf returns a label that nodes and policies of one test have in common.
func labelOf(t *testing.T) map[string]string {
	t.Helper()
	name := strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())
	return map[string]string{"test": name[max(0, len(name)-60):]}
}

// newNodes makes nodes of a test.
func newNodes(t *testing.T, n int, change ...func(*corev1.Node)) []*corev1.Node {
	t.Helper()
	return cluster.Get(t).CreateNodes(t, n, append(change, func(node *corev1.Node) {
		maps.Copy(node.Labels, labelOf(t))
	})...)
}

// labelValues returns labels as a selector has them.
func labelValues(labels map[string]string) map[string]v1alpha1.LabelValue {
	values := map[string]v1alpha1.LabelValue{}
	for key, value := range labels {
		values[key] = v1alpha1.LabelValue(value)
	}
	return values
}

// applyIMDS creates a policy with an imds source for the nodes of a test.
func applyIMDS(t *testing.T, name string, change ...func(*v1alpha1.NodeTerminationPolicySpec)) *v1alpha1.NodeTerminationPolicy {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: labelValues(labelOf(t))}
	policy.Spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}}
	for _, f := range change {
		f(&policy.Spec)
	}
	create(t, policy)
	return policy
}
