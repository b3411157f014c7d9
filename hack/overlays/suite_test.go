// SPDX-License-Identifier: Apache-2.0

// Package overlays tests the kustomize overlays of config/overlays: each is applied to a real control plane, and the
// manager, with the flags, the environment and the rights that the overlay gives it, drains a node.
//
// All overlays install the same kinds, so their tests do not run side by side.
package overlays

import (
	"bytes"
	"context"
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
	aws     *awssim.Server
	dir     string // has the programs
	// These are set by setUp.
	admin   client.Client
	kubectl func(ctx context.Context, args ...string) (string, error)
)

func TestMain(m *testing.M) {
	code, err := runSuite(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// runSuite makes what takes no time; the rest waits for the first test that asks for it.
func runSuite(m *testing.M) (code int, err error) {
	ctrl.SetLogger(logr.Discard())
	if dir, err = os.MkdirTemp("", "overlays-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if aws, err = awssim.Start(awssim.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, aws.Close()) }()
	return cluster.Main(m), nil
}

// setUp builds the programs, and makes what the cluster has before an overlay is applied.
func setUp(c *testcluster.Cluster) error {
	ctx := context.Background()
	if err := errors.Join(operator.Build(ctx, program("manager")), operator.BuildWatcher(ctx, program("imds-watcher"))); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	var err error
	if admin, err = client.New(c.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	path, err := operator.Kubectl(ctx)
	if err != nil {
		return err
	}
	kubectl = func(ctx context.Context, args ...string) (string, error) {
		args = append([]string{"--kubeconfig=" + c.Kubeconfig(), "--cache-dir=" + filepath.Join(dir, "cache")}, args...)
		cmd := exec.CommandContext(ctx, path, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		output, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args[2:], " "), err, stderr.String())
		}
		return string(output), err
	}
	_, err = kubectl(ctx, "apply", "--server-side", "-f", "testdata/cluster.yaml")
	return err
}

// program returns the path of one of the operator's programs.
func program(name string) string { return filepath.Join(dir, name) }

func eventually(t *testing.T, check func() error) {
	t.Helper()
	testcluster.Eventually(t, patience, check)
}
