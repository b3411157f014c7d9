// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the operator as a whole program: the manager as it is built, with the rights
// and the flags of config/default, on a real control plane, with the AWS SDK as it is against
// awssim. Its tests kill it, starve it and feed it rubbish.
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
	cluster *testcluster.Cluster
	// admin is an administrator's client that does not cache.
	admin client.Client
	// aws is the simulator that managers talk to, unless a test breaks one of its own.
	aws *awssim.Server
	// audit is what the API server has recorded of the managers' requests.
	audit *auditLog
	// binary is the manager.
	binary string
)

func TestMain(m *testing.M) {
	code, err := runSuite(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "manager")
	audit = &auditLog{path: filepath.Join(dir, "audit.log")}

	ctx := context.Background()
	if err := operator.Build(ctx, binary); err != nil {
		return 0, err
	}
	if cluster, err = testcluster.Start("--audit-log=" + audit.path); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	if err := operator.Install(ctx, cluster.Kubeconfig()); err != nil {
		return 0, err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if admin, err = client.New(cluster.Config(), client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	if aws, err = awssim.Start(awssim.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, aws.Close()) }()

	code = m.Run()
	if err := checkRights(ctx, everyTestRan(code)); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: the manager's rights are not those that it needs:\n"+err.Error())
		code = max(code, 1)
	}
	return code, nil
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
