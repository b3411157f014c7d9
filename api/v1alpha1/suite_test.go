// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

const crds = "../../config/crd/bases"

var (
	cluster = testcluster.Shared{SetUp: setUp}
	strict  client.Client // set by setUp
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// admin returns a client that validates as strictly as kubectl apply does.
func admin(tb testing.TB) client.Client {
	tb.Helper()
	cluster.Get(tb)
	return strict
}

func setUp(c *testcluster.Cluster) error {
	// The server refuses a CRD whose rules it estimates to cost too much.
	if err := c.InstallCRDs(crds); err != nil {
		return fmt.Errorf("installing %s: %w", crds, err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	plain, err := client.New(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	strict = client.WithFieldValidation(plain, "Strict")
	return nil
}

// parse reads an object from YAML.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	var object unstructured.Unstructured
	if err := yaml.UnmarshalStrict([]byte(text), &object.Object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return &object
}

// indent moves every line of a block of YAML to the right.
func indent(text string) string {
	var out bytes.Buffer
	for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
		out.WriteString("  " + line)
	}
	return out.String()
}

// refused fails the test unless err has every text, which tells what to write instead.
func refused(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted; should be refused")
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the message lacks %q:\n%v", text, err)
		}
	}
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := admin(t).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, object client.Object) {
	t.Helper()
	if err := admin(t).Delete(t.Context(), object); err != nil {
		t.Error(err)
	}
}
