// Package testcluster gives a test package a Kubernetes control plane of its own: that of
// hack/controlplane, as a child process. Nodes and pods are played by kwok, all else is real.
//
//	var cluster testcluster.Shared
//
//	func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }
//
//	func TestNode(t *testing.T) {
//		node := cluster.Get(t).CreateNodes(t, 1)[0]
//		...
//	}
//
// The first start on a machine installs the control plane, which can take longer than "go test" allows
// by default: have "make controlplane" done before.
package testcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The components that StopComponent and StartComponent take.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// Cluster is a running control plane. Its methods may be called from several tests at once, except
// those that stop and start components.
type Cluster struct {
	process    *exec.Cmd
	stdin      io.WriteCloser
	lines      <-chan string // what the process prints
	kubeconfig string
	config     *rest.Config
	client     client.Client
	nodes      atomic.Int64 // created so far
}

// Start starts a control plane and returns when it is healthy. It ends with Stop, and also if this
// process dies without it. The flags are added to those of "controlplane run", such as --audit-log=FILE.
func Start(flags ...string) (*Cluster, error) {
	dir, err := controlplaneDir()
	if err != nil {
		return nil, err
	}
	args := append([]string{"run", ".", "run", "--until-stdin-closes"}, flags...)
	c := &Cluster{process: exec.CommandContext(context.Background(), "go", args...)}
	c.process.Dir = dir
	c.process.Env = append(os.Environ(), "GOWORK=off")
	c.process.Stderr = os.Stderr
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	c.lines = readLines(stdout)
	if err := c.connect(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// controlplaneDir finds hack/controlplane, going up from the working directory, which is the
// package's own in a test.
func controlplaneDir() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		candidate := filepath.Join(dir, "hack", "controlplane")
		if _, err := os.Stat(filepath.Join(candidate, "go.mod")); err == nil {
			return candidate, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no hack/controlplane in %s or above: run the test inside the repository", wd)
		}
	}
}

func readLines(r io.Reader) <-chan string {
	lines := make(chan string, 1)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}

// connect waits until the control plane is healthy and makes a client for it.
func (c *Cluster) connect() error {
	line, ok := <-c.lines // the process bounds how long each component may take
	if !ok {
		return errors.New("the control plane did not start: see its error above")
	}
	kubeconfig, ok := strings.CutPrefix(line, "KUBECONFIG=")
	if !ok {
		return fmt.Errorf("the control plane should print KUBECONFIG=<file>, but printed %q", line)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // priority and fairness in the API server is the limit
	c.kubeconfig, c.config = kubeconfig, config
	c.client, err = client.New(config, client.Options{})
	return err
}

// Stop ends the control plane; all its data is lost.
func (c *Cluster) Stop() error {
	_ = c.stdin.Close()
	for range c.lines { // until the process closes its output
	}
	if err := c.process.Wait(); err != nil {
		return fmt.Errorf("the control plane ended with an error: %w", err)
	}
	return nil
}

// Kubeconfig returns the path of an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig }

// Config returns a copy of an administrator's client configuration, without a rate limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client returns an administrator's client for the kinds that Kubernetes has built in. It does not cache.
func (c *Cluster) Client() client.Client { return c.client }

// InstallCRDs creates or updates the CustomResourceDefinitions in a directory's files and returns
// when they are served.
func (c *Cluster) InstallCRDs(dir string) error {
	_, err := envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{Paths: []string{dir}, ErrorIfPathMissing: true})
	return err
}

// StopAPIServer takes the API server away as a crash would, until StartAPIServer or the test's end.
// What is stored stays.
func (c *Cluster) StopAPIServer(tb testing.TB) {
	tb.Helper()
	c.StopComponent(tb, APIServer)
}

// StartAPIServer brings the API server back at the same address and returns when it is ready.
func (c *Cluster) StartAPIServer(tb testing.TB) {
	tb.Helper()
	c.StartComponent(tb, APIServer)
}

// StallAPIServer has the API server answer nobody for so long, as if the machine had no time for it. Its
// connections stay.
func (c *Cluster) StallAPIServer(tb testing.TB, duration time.Duration) {
	tb.Helper()
	if answer, want := c.command(tb, "stall "+APIServer), "stalled "+APIServer; answer != want {
		tb.Fatalf("stalling %s: %s", APIServer, answer)
	}
	time.Sleep(duration)
	if answer, want := c.command(tb, "resume "+APIServer), "resumed "+APIServer; answer != want {
		tb.Fatalf("resuming %s: %s", APIServer, answer)
	}
}

// StopComponent kills a component. If it is not running again at the end of the test, it is started.
func (c *Cluster) StopComponent(tb testing.TB, name string) {
	tb.Helper()
	if answer, want := c.command(tb, "stop "+name), "stopped "+name; answer != want {
		tb.Fatalf("stopping %s: %s", name, answer)
	}
	tb.Cleanup(func() {
		if answer := c.command(tb, "start "+name); answer != "started "+name && !strings.Contains(answer, "is running already") {
			tb.Errorf("starting %s after the test: %s", name, answer)
		}
	})
}

// StartComponent starts a component that was stopped, on the same data, and returns when it is ready.
func (c *Cluster) StartComponent(tb testing.TB, name string) {
	tb.Helper()
	if answer, want := c.command(tb, "start "+name), "started "+name; answer != want {
		tb.Fatalf("starting %s: %s", name, answer)
	}
}

// command sends a line to the control plane and returns its answer.
func (c *Cluster) command(tb testing.TB, line string) string {
	tb.Helper()
	if _, err := fmt.Fprintln(c.stdin, line); err != nil {
		tb.Fatalf("%s: the control plane is gone: %v", line, err)
	}
	select {
	case answer, ok := <-c.lines:
		if !ok {
			tb.Fatalf("%s: the control plane ended: see its error above", line)
		}
		return answer
	case <-time.After(3 * time.Minute):
		tb.Fatalf("%s: no answer", line)
	}
	return ""
}
