// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/hack/operator"
)

// recording says when and how the objects of a folder of testdata were recorded.
type recording struct {
	Commit string    `json:"commit"`
	Time   time.Time `json:"time"`
	Queue  string    `json:"queue"` // the URL in the policies
	Token  string    `json:"token"` // of the lifecycle action of the node completing
}

// The files of a recording.
const (
	installFile   = "install.yaml" // what was installed
	objectsFile   = "objects.yaml" // what was in the cluster when the manager was killed, in the order to create them
	recordingFile = "recording.yaml"
)

// TestRecord records what the version of a commit or tag leaves in a cluster: RECORD=v0.1.0 go test -run TestRecord
func TestRecord(t *testing.T) {
	version := os.Getenv("RECORD")
	if version == "" {
		t.Skip("records a version for the other tests: set RECORD to its commit or tag")
	}
	commit := strings.TrimSpace(run(t, "git", "rev-parse", version+"^{commit}"))
	source := t.TempDir()
	run(t, "bash", "-c", fmt.Sprintf("set -o pipefail; git -C ../.. archive %s | tar -x -C %s", commit, source))
	run(t, "go", "build", "-C", source, "-o", "manager", ".")

	c := newCluster(t)
	dir := filepath.Join("testdata", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(dir, installFile)
	write(t, installed, []byte(c.kubectl("kustomize", filepath.Join(source, "hack", "operator"))))
	c.install("-f", installed)
	c.prepare()
	m := c.start(filepath.Join(source, "manager"))
	c.applyPolicies()
	for _, s := range scenes {
		s.play(c, c.makeNode(s))
		c.until(s.node, s.state)
	}
	c.eventually(func(ctx context.Context) error { // the watchers run
		ds := &appsv1.DaemonSet{}
		err := c.admin.Get(ctx, client.ObjectKey{Namespace: operator.WatcherNamespace, Name: "imds-watcher-workers"}, ds)
		if err == nil && (ds.Status.DesiredNumberScheduled == 0 || ds.Status.NumberReady < ds.Status.DesiredNumberScheduled) {
			err = fmt.Errorf("of %d watchers %d are ready", ds.Status.DesiredNumberScheduled, ds.Status.NumberReady)
		}
		return err
	})
	for _, s := range scenes { // some have had time to go on
		c.until(s.node, s.state)
	}
	m.Kill()

	record := recording{Commit: commit, Time: time.Now().UTC(), Queue: c.queue, Token: c.aws.LifecycleActions()[0].Token}
	content, err := yaml.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, recordingFile), content)
	write(t, filepath.Join(dir, objectsFile), c.recorded())
	t.Logf("recorded %s in hack/upgrade/%s: commit it", commit, dir)
}

// applyPolicies applies the policies of the scenes, as a user does.
func (c *cluster) applyPolicies() {
	c.t.Helper()
	content, err := os.ReadFile("testdata/policies.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "policies.yaml")
	write(c.t, file, bytes.ReplaceAll(content, []byte("QUEUE"), []byte(c.queue)))
	c.kubectl("apply", "--server-side", "-f", file)
}

// recorded returns all objects that a cluster needs to look as this one, as YAML.
func (c *cluster) recorded() []byte {
	c.t.Helper()
	var objects []unstructured.Unstructured
	objects = append(objects, c.list("nodetermination.dev/v1alpha1", "NodeTerminationPolicy")...)
	objects = append(objects, c.list("v1", "Node")...)
	objects = append(objects, c.list("v1", "Pod", client.InNamespace(namespace))...)
	objects = append(objects, c.list("apps/v1", "DaemonSet", client.InNamespace(operator.WatcherNamespace))...)
	objects = append(objects, c.list("nodetermination.dev/v1alpha1", "NodeTermination")...)
	var all bytes.Buffer
	for _, object := range objects {
		unstructured.RemoveNestedField(object.Object, "metadata", "resourceVersion")
		unstructured.RemoveNestedField(object.Object, "metadata", "creationTimestamp")
		content, err := yaml.Marshal(object.Object)
		if err != nil {
			c.t.Fatal(err)
		}
		all.WriteString("---\n")
		all.Write(content)
	}
	return all.Bytes()
}

// run runs a command and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return string(output)
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
