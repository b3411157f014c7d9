// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"context"
	"errors"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
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
const patience = 90 * time.Second

var (
	cluster = testcluster.Shared{SetUp: setUp}
	// admin is an administrator's client that does not cache.
	admin client.Client
	// aws is the simulator that the manager talks to.
	aws *awssim.Server
	// binary is the manager, kubectl the control plane's.
	binary, kubectlPath string
)

func TestMain(m *testing.M) {
	code, err := runSuite(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "deploy-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "manager")
	if aws, err = awssim.Start(awssim.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, aws.Close()) }()
	return cluster.Main(m), nil
}

// setUp builds the manager; the tests install it.
func setUp(c *testcluster.Cluster) (err error) {
	ctx := context.Background()
	if err := operator.Build(ctx, binary); err != nil {
		return err
	}
	if kubectlPath, err = operator.Kubectl(ctx); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	admin, err = client.New(c.Config(), client.Options{Scheme: scheme})
	return err
}

// kubectl runs kubectl as an administrator and returns what it prints.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryKubectl(t, cluster.Get(t).Kubeconfig(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryKubectl runs kubectl with a kubeconfig and an input.
func tryKubectl(t *testing.T, kubeconfig, input string, args ...string) (string, error) {
	t.Helper()
	cluster.Get(t) // kubectlPath is known afterwards
	args = append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Join(filepath.Dir(kubeconfig), "cache")}, args...)
	cmd := exec.CommandContext(t.Context(), kubectlPath, args...)
	cmd.Stdin = bytes.NewBufferString(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(err, errors.New(cmd.String()), errors.New(string(out)+stderr.String()))
	}
	return string(out), err
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	testcluster.Eventually(t, patience, check)
}
