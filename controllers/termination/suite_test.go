// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/leader"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/webhook"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// patience bounds every wait; on an idle machine each takes a second or two.
const patience = 60 * time.Second

var (
	cluster = testcluster.Shared{SetUp: setUp, TearDown: func(int) error { return stopManager() }}
	// These are set by setUp: sim is AWS, adminClient is for admin.
	sim         *awssim.Server
	adminClient client.Client
	stopManager func() error
	// reconcilerCache is what the reconciler reads.
	reconcilerCache client.Reader
	// testClock is the reconciler's.
	testClock = &shiftedClock{PassiveClock: clock.RealClock{}}
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(cluster.Main(m))
}

// admin returns an administrator's client that does not cache.
func admin(tb testing.TB) client.Client {
	tb.Helper()
	cluster.Get(tb)
	return adminClient
}

// setUp runs the reconciler in this process, with AWS simulated.
func setUp(c *testcluster.Cluster) (err error) {
	if err := c.InstallCRDs("../../config/crd/bases"); err != nil {
		return err
	}
	if sim, err = awssim.Start(awssim.Options{}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
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
		return errors.Join(<-ended, sim.Close())
	}
	return nil
}

func newManager(config *rest.Config, scheme *runtime.Scheme) (ctrl.Manager, error) {
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Node{}:                {Transform: ec2node.Trim},
				&storagev1.VolumeAttachment{}: {Transform: drain.TrimVolumeAttachment},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	if err := manager.GetFieldIndexer().IndexField(context.Background(), &corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID); err != nil {
		return nil, err
	}
	reconcilerCache = manager.GetCache()
	local := &LocalState{}
	queue := NewQueue(manager.GetCache(), local, ctrl.Log, testClock)
	events := NewEventRecorder(manager.GetEventRecorder(v1alpha1.FieldManager), manager.GetCache(), local, testClock)
	events.states.SetLimit(rate.Inf) // or tests would take events from each other
	events.pods.SetLimit(rate.Inf)
	cloud := awsapi.New(awsapi.Options{LoadAWSConfig: simulated, Notify: queue.Wake})
	pods, err := drain.NewClient(config, nil)
	if err != nil {
		return nil, err
	}
	watcher := drain.NewPodWatcher(pods, queue.WakeNode)
	executor := drain.NewExecutor(drain.ExecutorOptions{
		Client: pods, Budgets: manager.GetCache(), StillExists: watcher.Has, OnEvicted: events.OnEvicted, Notify: queue.Wake,
	})
	dispatcher := webhook.NewDispatcher(queue.Wake)
	r, err := New(Options{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Queue: queue, Local: local, Events: events, Executor: executor, Watcher: watcher,
		AWS: cloud, Dispatcher: dispatcher, Sender: webhook.NewSender(testClock),
		Webhooks: &webhook.Resolver{Reader: manager.GetClient(), Namespace: metav1.NamespaceDefault}, Replica: &leader.Replica{}, Log: ctrl.Log, Clock: testClock,
	})
	if err != nil {
		return nil, err
	}
	return manager, errors.Join(manager.Add(dispatcher), manager.Add(cloud), manager.Add(watcher), manager.Add(executor), r.SetupWithManager(manager))
}

// simulated is the SDK's configuration for sim.
func simulated(ctx context.Context, options ...func(*awsconfig.LoadOptions) error) (aws.Config, error) {
	return awsconfig.LoadDefaultConfig(ctx, append(options,
		awsconfig.WithBaseEndpoint(sim.URL()),
		awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")),
	)...)
}

// shiftedClock is the real clock moved by some time. Tests that move it do not
// run in parallel with others.
type shiftedClock struct {
	clock.PassiveClock
	by atomic.Int64
}

func (c *shiftedClock) Now() time.Time { return c.PassiveClock.Now().Add(time.Duration(c.by.Load())) }

func (c *shiftedClock) shift(t *testing.T, by time.Duration) {
	t.Helper()
	c.by.Store(int64(by))
	t.Cleanup(func() { c.by.Store(0) })
}

// setting is what one test works with: a policy for its own nodes only.
type setting struct {
	t      *testing.T
	policy *v1alpha1.NodeTerminationPolicy
	nodes  []*corev1.Node
	ns     string
}

// newSetting makes a namespace, n nodes and a policy that selects just these.
func newSetting(t *testing.T, n int, change func(*v1alpha1.NodeTerminationPolicySpec)) *setting {
	t.Helper()
	label := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	label = label[max(0, len(label)-50):]
	s := &setting{t: t, ns: cluster.Get(t).CreateNamespace(t)}
	s.policy = &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	s.policy.Spec = v1alpha1.NodeTerminationPolicySpec{
		NodeSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"test": v1alpha1.LabelValue(label)}},
		Sources:      []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: "http://127.0.0.1:1/000000000000/none"}}},
	}
	if change != nil {
		change(&s.policy.Spec)
	}
	s.create(s.policy)
	s.nodes = cluster.Get(t).CreateNodes(t, n, func(node *corev1.Node) { node.Labels["test"] = label })
	return s
}

func (s *setting) create(object client.Object) {
	s.t.Helper()
	if err := admin(s.t).Create(s.t.Context(), object); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.IgnoreNotFound(admin(s.t).Delete(context.Background(), object)) })
}

// terminate writes a NodeTermination of the i-th node as a source would.
func (s *setting) terminate(i int, events ...v1alpha1.Event) *v1alpha1.NodeTermination {
	s.t.Helper()
	id, ok := ec2node.InstanceID(s.nodes[i])
	if !ok {
		s.t.Fatalf("node %s has no instance", s.nodes[i].Name)
	}
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: id}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: id, NodeName: s.nodes[i].Name, Events: events}
	s.create(nt)
	return nt
}

// change changes the spec of a NodeTermination as people and sources do.
func (s *setting) change(nt *v1alpha1.NodeTermination, change func(*v1alpha1.NodeTerminationSpec)) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(nt), nt); err != nil {
			return err
		}
		change(&nt.Spec)
		return admin(s.t).Update(s.t.Context(), nt)
	})
}

// until waits for a state and returns the NodeTermination in it. One that is draining knows its pods.
func (s *setting) until(nt *v1alpha1.NodeTermination, state string) *v1alpha1.NodeTermination {
	s.t.Helper()
	return s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != state || nt.Status.ObservedGeneration != nt.Generation {
			return fmt.Errorf("want state %s, got %+v", state, ready)
		}
		if state == v1alpha1.StateDraining && nt.Status.Pods == nil {
			return errors.New("its pods are not known yet")
		}
		return nil
	})
}

func (s *setting) untilHolds(nt *v1alpha1.NodeTermination, check func(*v1alpha1.NodeTermination) error) *v1alpha1.NodeTermination {
	s.t.Helper()
	current := &v1alpha1.NodeTermination{}
	testcluster.Eventually(s.t, patience, func() error {
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(nt), current); err != nil {
			return err
		}
		return check(current)
	})
	return current
}

func (s *setting) node(i int) *corev1.Node {
	s.t.Helper()
	node := &corev1.Node{}
	if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(s.nodes[i]), node); err != nil {
		s.t.Fatal(err)
	}
	return node
}

// untilNode waits until a node is as check wants it.
func (s *setting) untilNode(i int, check func(*corev1.Node) error) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		node := &corev1.Node{}
		if err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(s.nodes[i]), node); err != nil {
			return err
		}
		return check(node)
	})
}

// untouched is an error if anything of ours is on the node.
func untouched(node *corev1.Node) error {
	if node.Spec.Unschedulable || node.Annotations[v1alpha1.AnnotationApplied] != "" {
		return fmt.Errorf("node %s is not as it was: unschedulable %v, annotations %v", node.Name, node.Spec.Unschedulable, node.Annotations)
	}
	for _, taint := range node.Spec.Taints {
		if strings.HasPrefix(taint.Key, "nodetermination.dev/") {
			return fmt.Errorf("node %s has taint %s", node.Name, taint.Key)
		}
	}
	return nil
}

func cordoned(node *corev1.Node) error {
	if !node.Spec.Unschedulable {
		return fmt.Errorf("node %s is schedulable", node.Name)
	}
	return nil
}

// left are the names of the pods that are still on a node and were not evicted.
func (s *setting) left(i int) []string {
	s.t.Helper()
	var pods corev1.PodList
	if err := admin(s.t).List(s.t.Context(), &pods, client.MatchingFields{"spec.nodeName": s.nodes[i].Name}); err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

func now(offset time.Duration) metav1.Time { return metav1.Time{Time: time.Now().Add(offset)} }

// notice is a spot notice of this moment with its deadline after left.
func notice(id string, left time.Duration) v1alpha1.Event {
	return v1alpha1.Event{
		ID: id, Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS,
		Time: now(0), Deadline: ptr.To(now(left)), InstanceAction: "terminate",
	}
}
