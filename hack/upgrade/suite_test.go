// SPDX-License-Identifier: Apache-2.0

// Package upgrade tests upgrades of the operator while nodes are drained. Each folder of testdata holds what an earlier
// version has left in a cluster when it was killed: how it was installed, and a NodeTermination in each state with its
// node. It is put into a control plane of its own, this version is installed over it and takes over.
//
// After a release, record what it leaves: make record-upgrade VERSION=v0.1.0
package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// programs is a directory for the manager, which is built once.
var programs string

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "upgrade-")
	if err != nil {
		log.Fatal(err)
	}
	programs = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// cluster is a control plane of one test, with a simulator of AWS: an upgrade changes all of the cluster, and there is
// no way back from newer CRDs.
type cluster struct {
	*testcluster.Cluster
	t       *testing.T
	admin   client.Client
	aws     *awssim.Server
	queue   string // its URL
	program string // kubectl
}

// newCluster starts a control plane, which ends with the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a control plane: not under -short")
	}
	control, err := testcluster.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := control.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{Cluster: control, t: t}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if c.admin, err = client.New(control.Config(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if c.program, err = operator.Kubectl(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.aws, err = awssim.Start(awssim.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.aws.Close() })
	if c.queue, err = c.aws.CreateQueue("upgrade", nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// kubectl runs kubectl as the administrator and returns what it prints.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	args = append([]string{"--kubeconfig=" + c.Kubeconfig(), "--cache-dir=" + filepath.Join(filepath.Dir(c.Kubeconfig()), "cache")}, args...)
	output, err := exec.CommandContext(c.t.Context(), c.program, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		c.t.Fatalf("kubectl %s: %v", strings.Join(args[2:], " "), err)
	}
	return string(output)
}

// install applies a file of manifests, or with -k a kustomization, as a user does: whoever owns a field keeps it, or
// kubectl ends with an error.
func (c *cluster) install(args ...string) {
	c.t.Helper()
	c.kubectl(append([]string{"apply", "--server-side"}, args...)...)
	c.kubectl("wait", "--for=condition=Established", "--timeout=60s",
		"crd/nodeterminations.nodetermination.dev", "crd/nodeterminationpolicies.nodetermination.dev")
}

// prepare makes what nodes and policies have beside them.
func (c *cluster) prepare() {
	c.t.Helper()
	c.kubectl("apply", "--server-side", "-f", "testdata/cluster.yaml")
	c.kubectl("-n", namespace, "wait", "--for=create", "--timeout=60s", "serviceaccount/default")
}

// start starts a manager, which ends with the test.
func (c *cluster) start(binary string, env ...string) *operator.Process {
	c.t.Helper()
	m, err := operator.Start(c.t.Context(), operator.Options{
		Binary: binary, Kubeconfig: c.Kubeconfig(), Dir: c.t.TempDir(), Env: append(c.aws.Env(), env...),
		Args: []string{"--watcher-image=" + operator.Image}, // there is no pod of the manager
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		m.Kill()
		if c.t.Failed() {
			c.t.Logf("the end of the manager's log:\n%s", m.LogTail(40))
		}
	})
	return m
}

// create creates an object.
func (c *cluster) create(object client.Object) {
	c.t.Helper()
	if err := c.admin.Create(c.t.Context(), object); err != nil {
		c.t.Fatalf("creating %T %s: %v", object, object.GetName(), err)
	}
}

// get returns an object.
func get[T any, P interface {
	*T
	client.Object
}](c *cluster, namespace, name string) P {
	c.t.Helper()
	object := P(new(T))
	if err := c.admin.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		c.t.Fatal(err)
	}
	return object
}

// list returns all objects of a kind, as the API server has them.
func (c *cluster) list(apiVersion, kind string, opts ...client.ListOption) []unstructured.Unstructured {
	c.t.Helper()
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": apiVersion, "kind": kind + "List"}}
	if err := c.admin.List(c.t.Context(), list, opts...); err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

// eventually waits until check returns nil.
func (c *cluster) eventually(check func(ctx context.Context) error) {
	c.t.Helper()
	testcluster.Eventually(c.t, patience, func() error { return check(c.t.Context()) })
}

// until waits until the NodeTermination of a node is in a state.
func (c *cluster) until(node, state string) *v1alpha1.NodeTermination {
	c.t.Helper()
	var found *v1alpha1.NodeTermination
	c.eventually(func(ctx context.Context) error {
		var list v1alpha1.NodeTerminationList
		if err := c.admin.List(ctx, &list); err != nil {
			return err
		}
		for i := range list.Items {
			nt := &list.Items[i]
			if nt.Spec.NodeName != node {
				continue
			}
			ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != state || nt.Status.ObservedGeneration != nt.Generation {
				return fmt.Errorf("the NodeTermination of node %s should be %s and is %+v", node, state, ready)
			}
			found = nt
			return nil
		}
		return fmt.Errorf("node %s has no NodeTermination, want one that is %s", node, state)
	})
	return found
}

// replaced returns an object with strings replaced that are anywhere in it.
func replaced(object map[string]any, pairs ...string) map[string]any {
	content, err := json.Marshal(object)
	utilruntime.Must(err)
	var result map[string]any
	utilruntime.Must(json.Unmarshal([]byte(strings.NewReplacer(pairs...).Replace(string(content))), &result))
	return result
}
