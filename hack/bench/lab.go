// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

const (
	// patience bounds every wait that is not itself what is measured.
	patience = 5 * time.Minute
	// settlePerPod and maxSettle are how long the control plane has to come to rest after pods were created in it.
	settlePerPod, maxSettle = 2 * time.Millisecond, 3 * time.Second
	// creators is how many objects are created or deleted side by side.
	creators = 32
)

// lab is what measurements share: a directory of their own and, once one of them starts it, a control
// plane in which the operator is installed, and the simulated AWS.
type lab struct {
	dir     string
	keepDir bool // for what is in it to be looked at
	started time.Time
	// apiServerCPUs are those that the API server is held to, 0 for all; latency is how far away it is
	// from whoever drains nodes.
	apiServerCPUs int
	latency       time.Duration
	profiles      string // the directory for profiles, empty for none

	cluster *testcluster.Cluster
	aws     *awssim.Server
	admin   client.WithWatch
	core    corev1client.CoreV1Interface // speaks protobuf, as the operator does for pods
	// kubeconfig and floor are for whoever drains nodes: behind the latency.
	kubeconfig string
	floor      corev1client.CoreV1Interface
	audit      *auditLog
	binary     string // the manager

	names atomic.Int64 // given so far
}

func newLab() (*lab, error) {
	dir, err := os.MkdirTemp("", "bench-")
	return &lab{dir: dir, started: time.Now()}, err
}

// start starts what a measurement in a cluster needs, unless another has.
func (l *lab) start(ctx context.Context) (err error) {
	if l.core != nil {
		return nil
	}
	l.binary = filepath.Join(l.dir, "manager")
	if err := operator.Build(ctx, l.binary); err != nil {
		return err
	}
	l.audit = &auditLog{path: filepath.Join(l.dir, "audit.log")}
	if l.cluster, err = testcluster.Start("--audit-log="+l.audit.path, fmt.Sprintf("--api-server-cpus=%d", l.apiServerCPUs)); err != nil {
		return err
	}
	if err := operator.Install(ctx, l.cluster.Kubeconfig()); err != nil {
		return err
	}
	if l.aws, err = awssim.Start(awssim.Options{}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if l.admin, err = client.NewWithWatch(l.cluster.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	config := l.cluster.Config()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if l.core, err = corev1client.NewForConfig(config); err != nil {
		return err
	}
	l.kubeconfig = l.cluster.Kubeconfig()
	if l.latency > 0 {
		if err := l.moveAway(ctx, config); err != nil {
			return err
		}
	}
	l.floor, err = l.asManager(ctx, config)
	return err
}

// asManager returns a client that is the manager to the API server. An administrator of the local cluster would be
// something else: no priority and fairness queues it, and it needs no RBAC rule to be found.
func (l *lab) asManager(ctx context.Context, config *rest.Config) (corev1client.CoreV1Interface, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.ServiceAccount}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(24 * 60 * 60))}}
	if err := l.admin.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("a token for the floor: %w", err)
	}
	own := rest.AnonymousClientConfig(config)
	own.BearerToken, own.QPS = token.Status.Token, -1
	return corev1client.NewForConfig(own)
}

// moveAway has whoever drains nodes reach the API server only through a proxy.
func (l *lab) moveAway(ctx context.Context, config *rest.Config) error {
	address, err := startProxy(ctx, strings.TrimPrefix(config.Host, "https://"), l.latency)
	if err != nil {
		return err
	}
	config.Host = "https://" + address
	files, err := clientcmd.LoadFromFile(l.kubeconfig)
	if err != nil {
		return err
	}
	for _, cluster := range files.Clusters {
		cluster.Server = config.Host
	}
	l.kubeconfig = filepath.Join(l.dir, "away.kubeconfig")
	return clientcmd.WriteToFile(*files, l.kubeconfig)
}

// close ends what was started.
func (l *lab) close() error {
	var err error
	if l.aws != nil {
		err = l.aws.Close()
	}
	if l.cluster != nil {
		err = errors.Join(err, l.cluster.Stop())
	}
	if l.keepDir {
		return err
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// progress prints how far it is.
func (l *lab) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(l.started).Seconds(), fmt.Sprintf(format, args...))
}

// name returns a name that nothing in the cluster has yet.
func (l *lab) name() string { return fmt.Sprintf("bench-%d", l.names.Add(1)) }

// each calls do for 0 to n-1, so many at a time, until one of them fails.
func each(ctx context.Context, n, atOnce int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, atOnce) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// await waits until check returns nil. Its error is the last that check returned.
func await(ctx context.Context, interval time.Duration, check func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", patience, err)
		}
		if err := wait(ctx, interval); err != nil {
			return err
		}
	}
}

// wait waits unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
