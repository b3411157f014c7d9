// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientapply "k8s.io/client-go/applyconfigurations"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/api/v1alpha1/applyconfiguration"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

var cluster = testcluster.Shared{SetUp: func(c *testcluster.Cluster) error {
	return c.InstallCRDs(filepath.Join("..", "..", "..", "config", "crd", "bases"))
}}

func TestMain(m *testing.M) {
	crlog.SetLogger(logr.Discard()) // or controller-runtime complains
	os.Exit(cluster.Main(m))
}

const (
	bound     = 20 * time.Second // for things that take milliseconds
	instance  = "i-0abc1234def567890"
	instance2 = "i-0abc1234def567891"
	instance3 = "i-0abc1234def567892"
	instance4 = "i-0abc1234def567893"
	stranger  = "i-0fff1234def567890" // no node of ours
)

// epoch is when the fake nodes booted; the clock starts an hour later.
var epoch = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// fixture is a queue, a Kubernetes and the consumers between them.
type fixture struct {
	t     *testing.T
	clock *clocktesting.FakeClock
	sim   *awssim.Server
	url   string
	kube  client.Client
	queue Queue
	opts  Options
	nodes *informertest.FakeInformers
	aws   lifecyclehook.AWS
	added atomic.Int32 // how often a hook was
	looks atomic.Int32 // how often a hook's node was looked for

	*Consumers
	stop context.CancelFunc // ends Start
	done chan struct{}      // Start has returned

	outcomes float64 // counted before
	logged   lines
}

// lines are log lines.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line)
}

// with are the lines that contain all the texts.
func (l *lines) with(texts ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
next:
	for _, line := range l.text {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// newFixture has an empty queue and a fake Kubernetes with the objects. Nothing
// is read until run.
func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(epoch.Add(time.Hour)), done: make(chan struct{}), stop: func() {}}
	f.kube = fakeKube(t, objects...)
	f.connect(f.kube)
	return f
}

// connect makes the simulator, its queue and the consumers of a Kubernetes.
func (f *fixture) connect(cache client.Reader) {
	f.t.Helper()
	var err error
	if f.sim, err = awssim.Start(awssim.Options{Now: f.clock.Now}); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = f.sim.Close() })
	if f.url, err = f.sim.CreateQueue("q", nil); err != nil {
		f.t.Fatal(err)
	}
	f.queue = Queue{URL: f.url, Region: "us-east-1"}
	f.nodes = &informertest.FakeInformers{}
	f.aws = awsapi.New(awsapi.Options{LoadAWSConfig: f.autoScaling})
	f.opts = Options{
		Nodes: f.nodes, NewAdopter: f.newAdopter,
		Cache: cache, Live: f.kube, Client: f.kube, Clock: f.clock, LoadAWSConfig: signed,
		Log: funcr.New(func(_, line string) { f.logged.add(line) }, funcr.Options{}),
	}
}

// newAdopter completes hooks as the manager does, and notes which are added.
func (f *fixture) newAdopter(queue AdoptedQueue) Adopter {
	return &notingAdopter{f, lifecyclehook.NewAdopter(lifecyclehook.AdopterOptions{
		Queue: queue, AWS: f.aws, Cache: countingReader{f.opts.Cache, &f.looks}, Log: queue.Log, Clock: f.clock,
	})}
}

// countingReader counts how often it was read.
type countingReader struct {
	client.Reader
	lists *atomic.Int32
}

func (r countingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	defer r.lists.Add(1)
	return r.Reader.List(ctx, list, opts...)
}

// notingAdopter notes which hooks are added to an Adopter.
type notingAdopter struct {
	f *fixture
	Adopter
}

func (a *notingAdopter) Add(hook event.AdoptedHook) {
	a.f.added.Add(1)
	a.Adopter.Add(hook)
}

// signed is the SDK's default configuration with fixed credentials and without the SDK's own
// retries. Connections are not kept: closing the simulator would wait for those never used.
func signed(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, append(options,
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })),
	)...)
}

// autoScaling is signed, and leads to the simulator.
func (f *fixture) autoScaling(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	cfg, err := signed(ctx, options...)
	cfg.BaseEndpoint = aws.String(f.sim.URL())
	return cfg, err
}

// run starts reading the queue, until the test ends or stop is called.
func (f *fixture) run() {
	f.t.Helper()
	f.outcomes = f.counted()
	f.Consumers = NewConsumers(f.opts)
	f.Ensure([]Queue{f.queue})
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go func() {
		defer close(f.done)
		if err := f.Start(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	f.t.Cleanup(func() {
		f.stop()
		f.waitFor("the consumers to end", func() bool {
			select {
			case <-f.done:
				return true
			default:
				return false
			}
		})
	})
}

// counted is how many messages have had an outcome in this process. Tests do not run side by side.
func (f *fixture) counted() (sum float64) {
	for o := skipped; o <= unreadable; o++ {
		sum += testutil.ToFloat64(messagesTotal.WithLabelValues(o.String()))
	}
	return sum
}

// of is how many messages have had that outcome in this process.
func (f *fixture) of(o outcome) float64 {
	return testutil.ToFloat64(messagesTotal.WithLabelValues(o.String()))
}

// handled waits until n more messages than before have had an outcome and been deleted or given back.
func (f *fixture) handled(n int) {
	f.t.Helper()
	f.outcomes += float64(n)
	f.waitFor(fmt.Sprintf("%d messages to be handled", n), func() bool { return f.counted() >= f.outcomes })
	if got := f.counted(); got != f.outcomes {
		f.t.Fatalf("%v messages too many were handled", got-f.outcomes)
	}
}

// step moves both clocks.
func (f *fixture) step(d time.Duration) {
	f.clock.Step(d)
	f.sim.Advance(0)
}

func (f *fixture) waitFor(what string, condition func() bool) {
	f.t.Helper()
	testcluster.Eventually(f.t, bound, func() error {
		if !condition() {
			return fmt.Errorf("waiting for %s", what)
		}
		return nil
	})
}

// send puts a notice into the queue; its time is now unless it has one.
func (f *fixture) send(n awssim.Notice) (messageID string) {
	f.t.Helper()
	id, err := f.sim.Send(f.url, n)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// sendBody puts any text into the queue.
func (f *fixture) sendBody(body string) (messageID string) {
	f.t.Helper()
	id, err := f.sim.SendMessage(f.url, body)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *fixture) spot(instanceID string) (messageID string) {
	f.t.Helper()
	return f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instanceID}})
}

// messages are what is in the queue.
func (f *fixture) messages() []awssim.Message {
	f.t.Helper()
	messages, err := f.sim.Messages(f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	return messages
}

// hiddenFor is for how long the queue's only message is hidden from now on.
func (f *fixture) hiddenFor() time.Duration {
	f.t.Helper()
	messages := f.messages()
	if len(messages) != 1 || !messages[0].InFlight {
		f.t.Fatalf("want one message in flight, got %+v", messages)
	}
	return messages[0].VisibleAt.Sub(f.clock.Now())
}

// termination is the NodeTermination of an instance, nil if there is none.
func (f *fixture) termination(instanceID string) *v1alpha1.NodeTermination {
	f.t.Helper()
	nt := &v1alpha1.NodeTermination{}
	err := f.kube.Get(f.t.Context(), client.ObjectKey{Name: instanceID}, nt)
	if client.IgnoreNotFound(err) != nil {
		f.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return nt
}

// policy creates a policy that selects everything and names the fixture's queue, changed as given.
func (f *fixture) policy(name string, change ...func(*v1alpha1.NodeTerminationPolicy)) *v1alpha1.NodeTerminationPolicy {
	f.t.Helper()
	p := &v1alpha1.NodeTerminationPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.NodeTerminationPolicySpec{
			Sources: []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: f.url, Region: "us-east-1"}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	if err := f.kube.Create(f.t.Context(), p); err != nil {
		f.t.Fatal(err)
	}
	return p
}

func selecting(pool string) func(*v1alpha1.NodeTerminationPolicy) {
	return func(p *v1alpha1.NodeTerminationPolicy) {
		p.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": v1alpha1.LabelValue(pool)}}
	}
}

func discarding(p *v1alpha1.NodeTerminationPolicy) {
	p.Spec.Sources[0].SQS.UnknownInstances = v1alpha1.UnknownDiscard
}

// node is a Node in pool a that has been Ready since epoch.
func node(name, instanceID string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "a"}, CreationTimestamp: metav1.NewTime(epoch)},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instanceID},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch)},
		}},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func fakeKube(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := newScheme(t)
	return fake.NewClientBuilder().WithScheme(scheme).
		WithTypeConverters(clientapply.NewTypeConverter(scheme), applyconfiguration.NewTypeConverter(scheme)).
		WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).
		WithObjects(objects...).Build()
}

// onApply has calls of Apply go through intercept, which may call apply.
func (f *fixture) onApply(intercept func(ctx context.Context, instanceID string, apply func() error) error) {
	f.t.Helper()
	whole, ok := f.kube.(client.WithWatch)
	if !ok {
		f.t.Fatal("only for the fake client")
	}
	f.opts.Client = interceptor.NewClient(whole, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			named, ok := obj.(interface{ GetName() *string })
			if !ok {
				return fmt.Errorf("%T has no name", obj)
			}
			return intercept(ctx, *named.GetName(), func() error { return c.Apply(ctx, obj, opts...) })
		},
	})
}
