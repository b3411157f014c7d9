// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// handlerUser is the user name of another handler at the API server. It may do anything.
const handlerUser = "bench-handler"

// handler is another program that handles the messages of a queue, measured beside the operator.
type handler struct {
	*exec.Cmd
	log *os.File
}

// measureHandler interrupts a fleet's nodes, all at once, under the handler of --handler-command.
func measureHandler(ctx context.Context, l *lab, of fleetOptions, o *options) (result operatorDrain, err error) {
	f, err := l.prepare(ctx, of)
	if err != nil {
		return result, err
	}
	queue, err := l.aws.CreateQueue(f.name, nil)
	if err != nil {
		return result, err
	}
	l.aws.ClearCalls()
	h, err := l.startHandler(ctx, o, queue)
	if err != nil {
		return result, err
	}
	if result, err = h.drain(ctx, l, f, queue); err != nil {
		err = fmt.Errorf("%w\nThe handler's log: %s", err, h.log.Name())
		l.keepDir = true
	}
	return result, errors.Join(err, h.stop(), l.aws.DeleteQueue(queue), f.remove(ctx))
}

// startHandler starts the handler by a shell. It finds the API server by KUBECONFIG, the queue by QUEUE_URL and the
// simulated AWS by the SDKs' own variables.
func (l *lab) startHandler(ctx context.Context, o *options, queue string) (*handler, error) {
	dir := filepath.Join(l.dir, l.name())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	config, err := clientcmd.LoadFromFile(l.kubeconfig)
	if err != nil {
		return nil, err
	}
	for _, user := range config.AuthInfos {
		user.Impersonate, user.ImpersonateGroups = handlerUser, []string{"system:masters"}
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "handler.log"))
	if err != nil {
		return nil, err
	}
	h := &handler{exec.CommandContext(ctx, "sh", "-c", "exec "+o.handlerCommand), log}
	h.Env = append(os.Environ(), l.aws.Env()...)
	h.Env = append(h.Env, "KUBECONFIG="+kubeconfig, "QUEUE_URL="+queue)
	h.Env = append(h.Env, o.handlerEnv...)
	h.Stdout, h.Stderr = log, log
	h.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = h.Start()
	return h, err
}

// stop ends the handler.
func (h *handler) stop() error {
	_ = h.Process.Kill()
	_ = h.Wait() // it was killed
	return h.log.Close()
}

// drain waits until the handler polls the queue, and then measures it as the operator is.
func (h *handler) drain(ctx context.Context, l *lab, f *fleet, queue string) (result operatorDrain, err error) {
	err = await(ctx, pollInterval, func() error {
		if len(l.aws.Calls("sqs", "ReceiveMessage")) == 0 {
			return errors.New("the handler does not receive messages: it gets the queue in QUEUE_URL and the endpoint of AWS in AWS_ENDPOINT_URL")
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	if err := f.settle(ctx); err != nil {
		return result, err
	}
	before, err := operator.UsageOf(h.Process.Pid)
	if err != nil {
		return result, fmt.Errorf("the handler has ended: %w", err)
	}
	anonymous := watchAnonymous(h.Process.Pid)
	start := time.Now()
	for i := range f.nodes {
		if _, err := l.aws.Send(queue, awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{f.nodes[i].instance}}); err != nil {
			return result, err
		}
	}
	if result.drainTimes, err = f.untilDrained(ctx, start); err != nil {
		return result, err
	}
	end := time.Now()
	result.Anonymous = anonymous()
	after, err := operator.UsageOf(h.Process.Pid)
	if err != nil {
		return result, err
	}
	err = result.note(f, handlerUser, start, end, before, after)
	return result, err
}
