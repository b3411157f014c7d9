// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodetermination/operator/hack/operator"
)

const (
	namespace = "shop"             // of workloads.yaml
	queueName = "node-termination" // of the sample
	sample    = "config/samples/nodetermination_v1alpha1_nodeterminationpolicy.yaml"
	workloads = "hack/demo/workloads.yaml"
)

// playground is everything that runs: each a process of its own.
type playground struct {
	*terminal
	root string // of the repository

	controlPlane *child
	dir          string // of our own files: among the control plane's, which it removes however we end
	kubeconfig   string // an administrator's
	kubectlPath  string
	config       *rest.Config

	simulator *child
	endpoint  string // what AWS_ENDPOINT_URL is set to

	manager *operator.Process
	metrics string // the address of its metrics

	// Of the second story only.
	metadata *child
	watcher  *operator.Process
}

// start starts everything and returns when the policy is ready.
func (p *playground) start(ctx context.Context) (err error) {
	if p.root, err = operator.Root(); err != nil {
		return err
	}
	p.heading("Two spot interruptions, from the queue and from the metadata, to an empty node")
	p.printf("  Kubernetes and the operator are real. AWS and the machines under the nodes\n  are simulated.\n\n")
	started := time.Now()
	for _, step := range []struct {
		what, details string
		do            func(context.Context) error
	}{
		{"build", "bin/manager, bin/imds-watcher, bin/awssim and, once per machine, the control plane", p.build},
		{"start", "etcd, kube-apiserver, kube-controller-manager, kube-scheduler; kwok for the kubelets", p.startControlPlane},
		{"start", "awssim with the SQS queue " + queueName, p.startSimulator},
		{"install", "config/default, with no replicas: the manager runs beside the cluster, not in it", p.install},
		{"create", fmt.Sprintf("%d spot nodes and %s", allNodes, workloads), p.deploy},
		{"start", "bin/manager, with its service account's token and AWS_ENDPOINT_URL set to awssim", p.startManager},
	} {
		p.line(time.Since(started), plain, step.what, "%s", step.details)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	p.line(time.Since(started), plain, "apply", "the sample policy as it is")
	return p.applyPolicy(ctx)
}

// stop ends everything, what others depend on last.
func (p *playground) stop() {
	for _, process := range []*operator.Process{p.watcher, p.manager} {
		if process != nil {
			_ = process.Stop() // its errors were shown if they mattered
		}
	}
	for _, c := range []*child{p.metadata, p.simulator, p.controlPlane} {
		if c != nil {
			c.stop()
		}
	}
}

// wait waits until ctx ends, which is how it should end, or one of the processes does.
func (p *playground) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		p.printf("\nStopping.\n")
		return nil
	case <-p.manager.Done():
		return p.managerEnded()
	case <-p.watcherDone():
		return p.watcherEnded()
	case <-p.metadata.done:
		return p.metadata.ended()
	case <-p.simulator.done:
		return p.simulator.ended()
	case <-p.controlPlane.done:
		return p.controlPlane.ended()
	}
}

// managerEnded returns the error that the operator has ended by itself.
func (p *playground) managerEnded() error {
	if err := p.manager.Wait(); err != nil {
		return fmt.Errorf("the operator ended by itself: %w. %s", err, p.managerLog())
	}
	return errors.New("the operator ended by itself, without an error. " + p.managerLog())
}

// managerLog returns the end of the operator's log, for people.
func (p *playground) managerLog() string {
	return "The end of the operator's log:\n" + p.manager.LogTail(20)
}

func (p *playground) bin(name string) string { return filepath.Join(p.root, "bin", name) }

func (p *playground) build(ctx context.Context) (err error) {
	if err := operator.Build(ctx, p.bin("manager")); err != nil {
		return err
	}
	if err := operator.BuildWatcher(ctx, p.bin("imds-watcher")); err != nil {
		return err
	}
	if _, err := output(ctx, p.root, "go", "build", "-o", p.bin("awssim"), "./hack/awssim/cmd/awssim"); err != nil {
		return err
	}
	p.kubectlPath, err = operator.Kubectl(ctx)
	return err
}

func (p *playground) startControlPlane(ctx context.Context) (err error) {
	dir := filepath.Join(p.root, "hack", "controlplane")
	if p.controlPlane, err = startChild(ctx, "control plane", dir, "go", "run", ".", "run", "--until-stdin-closes"); err != nil {
		return err
	}
	p.kubeconfig = strings.TrimPrefix(p.controlPlane.ready, "KUBECONFIG=")
	p.dir = filepath.Join(filepath.Dir(p.kubeconfig), "demo")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return err
	}
	p.config, err = clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	return err
}

func (p *playground) startSimulator(ctx context.Context) (err error) {
	p.simulator, err = startChild(ctx, "simulator", p.root, p.bin("awssim"), "serve", "--queue", queueName, "--until-stdin-closes")
	if err != nil {
		return err
	}
	var ready struct{ Endpoint string }
	if err := json.Unmarshal([]byte(p.simulator.ready), &ready); err != nil {
		return fmt.Errorf("the simulator should print JSON, but printed %q: %w", p.simulator.ready, err)
	}
	p.endpoint = ready.Endpoint
	return nil
}

func (p *playground) install(ctx context.Context) error { return operator.Install(ctx, p.kubeconfig) }

func (p *playground) startManager(ctx context.Context) (err error) {
	if p.metrics, err = freeAddress(); err != nil {
		return err
	}
	p.manager, err = operator.Start(ctx, operator.Options{
		Binary:     p.bin("manager"),
		Kubeconfig: p.kubeconfig,
		Dir:        p.dir,
		// The SDK's standard variables are all there is to it. The keys are those of AWS's own samples.
		Env: []string{
			"AWS_ENDPOINT_URL=" + p.endpoint,
			"AWS_REGION=us-east-1",
			"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
			"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
			"AWS_EC2_METADATA_DISABLED=true",
		},
		// kwok plays the watchers' pods too.
		Args: []string{"--log-format=console", "--watcher-image=" + operator.Image, "--metrics-bind-address=" + p.metrics},
	})
	return err
}

// freeAddress returns an address of this machine on which nothing listens.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// applyPolicy applies the sample as it is and waits until its queue is up.
func (p *playground) applyPolicy(ctx context.Context) error {
	p.printf("\n")
	if err := p.show(ctx, "apply", "-f", sample); err != nil {
		return err
	}
	wait := []string{"wait", "--for=condition=Ready", "--timeout=30s", "nodeterminationpolicy", "--all"}
	if err := p.show(ctx, wait...); err != nil {
		select {
		case <-p.manager.Done():
			return p.managerEnded()
		default:
		}
		policies, _ := p.kubectl(ctx, "get", "nodeterminationpolicy", "-o", "wide")
		return fmt.Errorf("the queue is not up: %w\n\n%s\n%s", err, policies, p.managerLog())
	}
	return nil
}

// kubectl runs kubectl in the root of the repository and returns what it prints.
func (p *playground) kubectl(ctx context.Context, args ...string) (string, error) {
	flags := []string{"--kubeconfig=" + p.kubeconfig, "--cache-dir=" + filepath.Join(p.dir, "cache")}
	return output(ctx, p.root, p.kubectlPath, append(flags, args...)...)
}

// show runs kubectl for everybody to see.
func (p *playground) show(ctx context.Context, args ...string) error {
	out, err := p.kubectl(ctx, args...)
	if err == nil {
		p.command(shell(append([]string{"kubectl"}, args...)...), out)
	}
	return err
}

// showColumns does the same with a table that is too wide: it shows so many columns of it.
func (p *playground) showColumns(ctx context.Context, columns int, args ...string) error {
	out, err := p.kubectl(ctx, args...)
	if err != nil {
		return err
	}
	var cut strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		cut.WriteString(line[:min(len(line), columns)] + "\n")
	}
	p.command(shell("kubectl", strings.Join(args, " "), fmt.Sprintf("| cut -c -%d", columns)), cut.String())
	return nil
}
