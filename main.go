// SPDX-License-Identifier: Apache-2.0

// The manager of node-termination-operator: it receives the events of EC2 instances that
// are about to go away, and gets the pods off their nodes in time.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/identity"
	"github.com/nodetermination/operator/controllers/leader"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	"github.com/nodetermination/operator/controllers/logging"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/policy"
	"github.com/nodetermination/operator/controllers/source/manual"
	"github.com/nodetermination/operator/controllers/source/sqs"
	"github.com/nodetermination/operator/controllers/termination"
	"github.com/nodetermination/operator/controllers/version"
	"github.com/nodetermination/operator/controllers/webhook"
)

// Leader election: two minutes' notice leaves no room for the usual fifteen
// seconds, so another replica acts within ten seconds of a leader's death. It
// looks at the lease every retryPeriod or a little more than twice that: once
// until it has seen the last renewal, and once after the lease has run out.
const (
	leaseDuration = 7 * time.Second
	renewDeadline = 5 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// gcPercent trades a little CPU while many nodes are drained for memory all the time.
// The environment's GOGC wins.
const gcPercent = 50

// memoryShare is the part of the container's memory that Go keeps to. The rest is for what it does
// not count, such as the binary.
const memoryShare = 0.9

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

type options struct {
	leaderElection          bool
	leaderElectionNamespace string
	metricsAddress          string
	metricsSecure           bool
	probeAddress            string
	pprofAddress            string
	minEvictions            int
	maxEvictions            int
	watchers                policy.WatcherOptions
	version                 bool
	log                     logging.Options
}

// parseFlags reads the command line. The error is flag.ErrHelp if help was asked for, and given.
func parseFlags() (options, error) {
	var o options
	flag.BoolVar(&o.leaderElection, "leader-elect", true, "act only while holding the lease, so that several replicas can run")
	flag.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", os.Getenv("POD_NAMESPACE"), "namespace of the lease; by default that of the manager's own pod, POD_NAMESPACE")
	flag.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "address of the metrics endpoint, or 0 for none")
	flag.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve metrics by https to authenticated clients that may get /metrics; false: by plain http to everybody who reaches the address")
	flag.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz, or 0 for none")
	flag.StringVar(&o.pprofAddress, "pprof-bind-address", "0", "address of /debug/pprof, without authentication: 127.0.0.1:6060 for kubectl port-forward, or 0 for none")
	flag.IntVar(&o.minEvictions, "min-evictions-in-flight", drain.DefaultMinInFlight, "evict at least so many pods at a time, however slowly the API server answers")
	flag.IntVar(&o.maxEvictions, "max-evictions-in-flight", drain.DefaultMaxInFlight, "evict at most so many pods at a time; how many is found by what the API server answers")
	flag.StringVar(&o.watchers.Namespace, "watcher-namespace", os.Getenv("WATCHER_NAMESPACE"), "namespace of the watchers of the instance metadata service, in which nothing else runs; by default WATCHER_NAMESPACE. Empty: there are none")
	flag.StringVar(&o.watchers.ServiceAccount, "watcher-service-account", cmp.Or(os.Getenv("WATCHER_SERVICE_ACCOUNT"), policy.WatcherServiceAccount(os.Getenv("POD_SERVICE_ACCOUNT"))),
		"service account of the watchers, whose name has imds-watcher in it; by default WATCHER_SERVICE_ACCOUNT, else imds-watcher with the prefix and suffix that node-termination-manager has in POD_SERVICE_ACCOUNT")
	flag.StringVar(&o.watchers.Image, "watcher-image", "", "image of the watchers; if empty that of the manager's own pod, which POD_NAME and POD_NAMESPACE name")
	flag.Func("watcher-env", "`names` of environment variables, such as HTTPS_PROXY,NO_PROXY, that watchers have as well, with the values that the manager's container has in its Deployment", func(names string) error {
		o.watchers.Env = nil
		if names != "" {
			o.watchers.Env = strings.Split(names, ",")
		}
		return nil
	})
	flag.BoolVar(&o.version, "version", false, "print version, commit and date of this build, and exit")
	o.log.BindFlags(flag.CommandLine)
	flag.CommandLine.Init("manager", flag.ContinueOnError)
	flag.CommandLine.SetOutput(io.Discard) // an error is one line, without all flags after it
	err := flag.CommandLine.Parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Println("Flags of the manager:")
		flag.CommandLine.SetOutput(os.Stdout)
		flag.PrintDefaults()
	case err != nil:
		err = fmt.Errorf("%w: manager -help lists the flags", err)
	case flag.NArg() > 0:
		err = fmt.Errorf("argument %q: the manager takes flags only, manager -help lists them", flag.Arg(0))
	case o.minEvictions < 1 || o.maxEvictions < o.minEvictions:
		err = fmt.Errorf("--min-evictions-in-flight=%d and --max-evictions-in-flight=%d: write a minimum of 1 or more, and a maximum that is not less", o.minEvictions, o.maxEvictions)
	}
	return o, err
}

func run() error {
	o, err := parseFlags()
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.version {
		fmt.Println("manager", version.String())
		return nil
	}
	log, err := o.log.New()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		limit, err := memoryLimit(os.Getenv("MEMORY_LIMIT"))
		if err != nil {
			return err
		}
		debug.SetMemoryLimit(limit)
	}
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("cannot find a cluster: %w", err)
	}
	if o.leaderElection && o.leaderElectionNamespace == "" {
		return errors.New("--leader-election-namespace is empty, and so is POD_NAMESPACE: write the namespace of the lease")
	}
	if err := o.watchers.Validate(o.leaderElectionNamespace); err != nil {
		return err
	}
	config.UserAgent = v1alpha1.FieldManager
	// Priority and fairness in the API server is the limit, not a client's guess.
	config.QPS = -1

	ctx, stop := context.WithCancel(ctrl.SetupSignalHandler())
	defer stop()
	var replica *leader.Replica // the lock of the manager asks for it once it is started
	manager, err := newManager(config, o, log, func(ctx context.Context) bool { return replica.NodeTerminating(ctx) })
	if err != nil {
		return err
	}
	replica = &leader.Replica{
		NodeName: os.Getenv("NODE_NAME"), Pod: ownPod(), Nodes: manager.GetClient(), Live: manager.GetAPIReader(), Log: log.WithName("leader"),
	}
	if o.leaderElection {
		replica.Stop = stop
	}
	if err := addControllers(ctx, manager, o, log, replica); err != nil {
		return err
	}
	err = errors.Join(manager.AddHealthzCheck("ping", healthz.Ping), manager.AddReadyzCheck("ping", healthz.Ping))
	if err != nil {
		return fmt.Errorf("cannot add health checks: %w", err)
	}
	if err := manager.Start(ctx); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	return nil
}

// memoryLimit returns what Go's memory is limited to, in bytes: a share of the container's memory, of which text
// says how many bytes it has. Empty: there is no limit.
func memoryLimit(text string) (int64, error) {
	if text == "" {
		return math.MaxInt64, nil
	}
	bytes, err := strconv.ParseInt(text, 10, 64)
	if err != nil || bytes <= 0 {
		return 0, fmt.Errorf("MEMORY_LIMIT is %q: write the container's memory in bytes, from resourceFieldRef limits.memory, or leave it out", text)
	}
	return int64(float64(bytes) * memoryShare), nil
}

// ownPod returns the pod that the manager runs in, empty if it runs in none.
func ownPod() types.NamespacedName {
	return types.NamespacedName{Namespace: os.Getenv("POD_NAMESPACE"), Name: os.Getenv("POD_NAME")}
}

// metrics returns how metrics are served.
func metrics(o options) metricsserver.Options {
	if !o.metricsSecure {
		return metricsserver.Options{BindAddress: o.metricsAddress}
	}
	return metricsserver.Options{
		BindAddress: o.metricsAddress, SecureServing: true, FilterProvider: filters.WithAuthenticationAndAuthorization,
	}
}

func newManager(config *rest.Config, o options, log logr.Logger, nodeTerminating func(context.Context) bool) (ctrl.Manager, error) {
	lock, err := leader.NewLock(config, o.leaderElectionNamespace, renewDeadline/2, log.WithName("leader"), nodeTerminating)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	// Secrets and config maps are read in the manager's own namespace only, and those for webhooks only.
	forWebhooks := cache.ByObject{
		Namespaces: map[string]cache.Config{o.leaderElectionNamespace: {}},
		Label:      labels.SelectorFromSet(labels.Set{v1alpha1.LabelWebhook: "true"}),
	}
	cached := map[client.Object]cache.ByObject{
		&corev1.Node{}:                {Transform: ec2node.Trim},
		&storagev1.VolumeAttachment{}: {Transform: drain.TrimVolumeAttachment},
		&corev1.Secret{}:              forWebhooks,
		&corev1.ConfigMap{}:           forWebhooks,
	}
	if o.watchers.Namespace != "" {
		cached[&appsv1.DaemonSet{}] = cache.ByObject{
			Namespaces: map[string]cache.Config{o.watchers.Namespace: {}},
			Transform:  func(in any) (any, error) { return in, nil }, // who set what tells of drift
		}
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                              scheme,
		Metrics:                             metrics(o),
		HealthProbeBindAddress:              o.probeAddress,
		PprofBindAddress:                    o.pprofAddress,
		LeaderElection:                      o.leaderElection,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionID:                    v1alpha1.FieldManager,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(leaseDuration),
		RenewDeadline:                       ptr.To(renewDeadline),
		RetryPeriod:                         ptr.To(retryPeriod),
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         cached,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot set up the manager: %w", err)
	}
	return manager, nil
}

// addControllers builds each part once and adds it to the manager: from policies to
// NodeTerminations, and from these to drained nodes.
func addControllers(ctx context.Context, manager ctrl.Manager, o options, log logr.Logger, replica *leader.Replica) error {
	if err := manager.GetFieldIndexer().IndexField(ctx, &corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID); err != nil {
		return fmt.Errorf("cannot index nodes: %w", err)
	}
	pods, err := drain.NewClient(manager.GetConfig(), manager.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("cannot set up the client for pods: %w", err)
	}
	evictions, err := drain.NewClient(manager.GetConfig(), nil)
	if err != nil {
		return fmt.Errorf("cannot set up the client for evictions: %w", err)
	}
	local := &termination.LocalState{}
	queue := termination.NewQueue(manager.GetCache(), local, log, clock.RealClock{})
	events := termination.NewEventRecorder(manager.GetEventRecorder(v1alpha1.FieldManager), manager.GetCache(), local, clock.RealClock{})
	aws := awsapi.New(awsapi.Options{Log: log.WithName("aws"), Notify: queue.Wake})
	var queues *sqs.Consumers // which need the finder, and are told by it of nodes that it has found
	identities := identity.New(identity.Options{
		Cache: manager.GetCache(), Informers: manager.GetCache(), AWS: aws, Log: log.WithName("identity"), Clock: clock.RealClock{},
		Notify: func(instanceID string) {
			queue.Wake(instanceID)
			queues.NodeReady(instanceID)
		},
	})
	watcher := drain.NewPodWatcher(pods, queue.WakeNode)
	executor := drain.NewExecutor(drain.ExecutorOptions{
		Client: evictions, Budgets: manager.GetCache(), StillExists: watcher.Has, OnEvicted: events.OnEvicted, Notify: queue.Wake,
		MinInFlight: o.minEvictions, MaxInFlight: o.maxEvictions,
	})
	dispatcher := webhook.NewDispatcher(queue.Wake)
	webhooks := &webhook.Resolver{Reader: manager.GetClient(), Namespace: o.leaderElectionNamespace}
	terminations, err := termination.New(termination.Options{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Queue: queue, Local: local, Events: events, Executor: executor, Watcher: watcher,
		AWS: aws, Identities: identities, Dispatcher: dispatcher, Sender: webhook.NewSender(clock.RealClock{}), Webhooks: webhooks, Replica: replica,
		Log: log, Clock: clock.RealClock{},
	})
	if err != nil {
		return err
	}
	queues = sqs.NewConsumers(sqs.Options{
		Cache: manager.GetCache(), Live: manager.GetAPIReader(), Client: manager.GetClient(), Log: log.WithName("sqs"), Clock: clock.RealClock{},
		Nodes: manager.GetCache(), Identities: identities, AWS: aws,
		NewAdopter: func(queue sqs.AdoptedQueue) sqs.Adopter {
			return lifecyclehook.NewAdopter(lifecyclehook.AdopterOptions{
				Queue: queue, AWS: aws, Cache: manager.GetCache(), Identities: identities, Log: queue.Log, Clock: clock.RealClock{},
			})
		},
	})
	policies := &policy.Reconciler{
		Client: manager.GetClient(), Live: manager.GetAPIReader(), Queues: queues, Clock: clock.RealClock{},
		Webhooks: webhooks, Watchers: o.watchers, Pod: ownPod(), Identities: identities, AWS: aws,
	}
	tagged := &policy.TaggedInstances{Cache: manager.GetCache(), Identities: identities, AWS: aws, Log: log.WithName("aws"), Clock: clock.RealClock{}}
	annotations := &manual.Reconciler{
		Cache: manager.GetCache(), Live: manager.GetAPIReader(), Client: manager.GetClient(), Clock: clock.RealClock{}, Identities: identities,
	}
	for _, part := range []ctrlmanager.Runnable{replica, aws, identities, watcher, executor, dispatcher, queues, tagged} {
		if err := manager.Add(part); err != nil {
			return fmt.Errorf("cannot add the %T: %w", part, err)
		}
	}
	for _, controller := range []interface{ SetupWithManager(ctrl.Manager) error }{terminations, policies, annotations} {
		if err := controller.SetupWithManager(manager); err != nil {
			return fmt.Errorf("cannot set up the controller %T: %w", controller, err)
		}
	}
	return nil
}
