// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the operator as a whole program: the manager as it is built, with the rights
// and the flags of config/default, on a real control plane, with the AWS SDK as it is against
// awssim. Its tests kill it, starve it and feed it malformed messages.
//
// Only one manager of a cluster acts at a time, so tests do not run side by side unless they share
// one: then they are subtests of one test, each with nodes, a policy and a queue of its own.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/go-logr/logr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

// patience bounds every wait that is not itself what a test is about.
const patience = 90 * time.Second

var (
	cluster = testcluster.Shared{SetUp: setUp, TearDown: tearDown}
	// adminClient is for admin, and set by setUp.
	adminClient client.Client
	// aws is the simulator that managers talk to, unless a test breaks one of its own.
	aws *awssim.Server
	// audit is what the API server has recorded of the managers' requests.
	audit *auditLog
	// binary is the manager, built by setUp.
	binary string
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
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "manager")
	audit = &auditLog{path: filepath.Join(dir, "audit.log")}
	if aws, err = awssim.Start(awssim.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, aws.Close()) }()
	cluster.Flags = []string{"--audit-log=" + audit.path}
	return cluster.Main(m), nil
}

// admin returns an administrator's client that does not cache.
func admin(tb testing.TB) client.Client {
	tb.Helper()
	cluster.Get(tb)
	return adminClient
}

// setUp builds the manager and installs what it needs in the cluster.
func setUp(c *testcluster.Cluster) (err error) {
	ctx := context.Background()
	if err := operator.Build(ctx, binary); err != nil {
		return err
	}
	if err := operator.Install(ctx, c.Kubeconfig()); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	adminClient, err = client.New(c.Config(), client.Options{Scheme: scheme})
	return err
}

// tearDown checks the managers' rights, once the tests have used them.
func tearDown(code int) error {
	if err := checkRights(context.Background(), everyTestRan(code)); err != nil {
		return fmt.Errorf("the manager's rights are not those that it needs:\n%w", err)
	}
	return nil
}

// everyTestRan is whether what no test has used is of no use.
func everyTestRan(code int) bool {
	return code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
}

// eventually waits until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	testcluster.Eventually(t, patience, check)
}
