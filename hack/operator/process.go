// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// stopTimeout is how long Stop waits, the default of a pod's terminationGracePeriodSeconds.
const stopTimeout = 30 * time.Second

// Options of a Process.
type Options struct {
	// Binary is the path that Build was given.
	Binary string
	// Kubeconfig is an administrator's. The process gets one of its own, with a token of the
	// service account.
	Kubeconfig string
	// Dir is an existing directory for the process's kubeconfig and log. Each process that runs at
	// the same time needs its own.
	Dir string
	// Deployment is the manager's. Default: that of config/default. StartWatcher does not read it.
	Deployment types.NamespacedName
	// Env is added to the environment that the Deployment gives to the manager, as KEY=value, and wins over it.
	// Besides there are HOME and KUBECONFIG: a container does not see this machine's environment either.
	// awssim's Server.Env is what makes it talk to the simulator.
	Env []string
	// Args are added to those of the Deployment and win over them. By default the metrics and
	// health endpoints are on free ports of the loopback interface.
	Args []string
	// OnLine, if set, is called for every line of the log, one after the other, without its end of line.
	OnLine func(line string)
}

// Process is a manager or a watcher that was started. It dies with the process that started it. Its methods may
// be called from any goroutine.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // how it ended; to be read when done is closed
}

// Start starts the manager. It returns once the process runs, which is before it leads or serves.
// ctx is for Start itself; the process goes on when it ends.
func Start(ctx context.Context, opts Options) (*Process, error) {
	cluster, err := connect(opts.Kubeconfig)
	if err != nil {
		return nil, err
	}
	deployment := opts.Deployment
	if deployment.Name == "" {
		deployment = types.NamespacedName{Namespace: Namespace, Name: Deployment}
	}
	pod, err := cluster.manager(ctx, deployment)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := cluster.kubeconfig(ctx, deployment.Namespace, pod.ServiceAccountName, nil)
	if err != nil {
		return nil, err
	}
	opts.Env = append(environment(deployment.Namespace, pod), opts.Env...)
	// The last of several flags of a name counts.
	args := append(slices.Clone(pod.Containers[0].Args),
		"--metrics-bind-address=127.0.0.1:0",
		"--health-probe-bind-address=127.0.0.1:0",
	)
	return launch(ctx, "manager", opts, args, kubeconfig)
}

// launch starts a program of the operator, named for messages and its files in opts.Dir.
func launch(ctx context.Context, name string, opts Options, args []string, kubeconfig clientcmdapi.Config) (*Process, error) {
	binary, err := filepath.Abs(opts.Binary)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfig, file); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, append(args, opts.Args...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + dir, "KUBECONFIG=" + file}, opts.Env...)
	// A process group of its own: Ctrl-C at a terminal is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{name: name, cmd: cmd, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	if err := p.start(opts.OnLine); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", name, err)
	}
	return p, nil
}

// start starts the command with its output going to the log and to onLine.
func (p *Process) start(onLine func(string)) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	err = p.cmd.Start()
	_ = writer.Close() // the process has its own
	if err != nil {
		return errors.Join(err, reader.Close(), log.Close())
	}
	go func() {
		defer close(p.done)
		copyLines(reader, log, onLine)
		_, _ = reader.Close(), log.Close()
		p.err = p.cmd.Wait()
	}()
	return nil
}

// copyLines writes what it reads to w, line by line, until there is no more.
func copyLines(r io.Reader, w io.Writer, onLine func(string)) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		_, _ = io.WriteString(w, line) // on a full disk the process is not to stop for its log
		if onLine != nil && line != "" {
			onLine(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns the path of the file that has everything the process prints. A process started again with
// the same Options.Dir adds to it.
func (p *Process) Log() string { return p.log }

// LogTail returns the last lines of the log, at most n.
func (p *Process) LogTail(n int) string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Done returns a channel that is closed when the process has ended and all it printed is in the log.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the process has ended and returns how, nil for exit code 0.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill kills the process as a machine that loses power would, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.done
}

// Stop asks the process to end, as the deletion of its pod would, and returns when it is gone. The
// error says that it ended with an error, now or before, or had to be killed after 30 s.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("the %s was still there %s after SIGTERM and was killed", p.name, stopTimeout)
	}
	if p.err != nil {
		return fmt.Errorf("the %s ended with an error: %w\n%s", p.name, p.err, p.LogTail(20))
	}
	return nil
}
