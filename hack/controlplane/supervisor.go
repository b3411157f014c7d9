package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// supervisor runs the processes of one control plane. Its methods are for the goroutine that made
// it: the kernel kills a child when the thread that started it ends (see start).
type supervisor struct {
	assets     string
	dir        string
	names      []string // in the order to start them
	components map[string]*component
	running    map[string]*process
	exits      chan *process
}

// process is a running component, or one that has exited.
type process struct {
	component *component
	cmd       *exec.Cmd
	done      chan struct{} // closed when it has exited
	stopped   bool          // by us
}

// newSupervisor ties the calling goroutine to its thread, for as long as this process lives.
func newSupervisor(assets, dir string, components []*component) *supervisor {
	runtime.LockOSThread()
	s := &supervisor{
		assets:     assets,
		dir:        dir,
		components: map[string]*component{},
		running:    map[string]*process{},
		exits:      make(chan *process),
	}
	for _, c := range components {
		s.names = append(s.names, c.name)
		s.components[c.name] = c
	}
	return s
}

// startAll starts one component after the other, each when the one before is ready.
func (s *supervisor) startAll(ctx context.Context) error {
	for _, name := range s.names {
		if err := s.start(s.components[name]); err != nil {
			return err
		}
		if err := s.awaitReady(ctx, s.components[name]); err != nil {
			return err
		}
	}
	return nil
}

// start starts a component in a process group of its own, so that Ctrl-C at a terminal is for us
// alone. Its output goes to <name>.log in the directory. However we die, it dies too.
func (s *supervisor) start(c *component) error {
	log, err := os.OpenFile(s.logPath(c), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.assets, c.name), c.args...)
	cmd.Dir = s.dir
	cmd.Env = append([]string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.dir}, c.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", c.name, err)
	}
	p := &process{component: c, cmd: cmd, done: make(chan struct{})}
	s.running[c.name] = p
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.done)
		s.exits <- p
	}()
	return nil
}

// awaitReady waits until a component that was started is ready.
func (s *supervisor) awaitReady(ctx context.Context, c *component) error {
	if c.ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("timeout"))
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := c.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %w\n%s", c.name, startTimeout, err, s.logTail(c))
		case p := <-s.exits:
			if err := s.exited(p); err != nil {
				return err
			}
		case <-ticker.C:
		}
	}
}

// exited takes note that a process is gone. It is an error unless we stopped it.
func (s *supervisor) exited(p *process) error {
	if p.stopped {
		return nil
	}
	delete(s.running, p.component.name)
	return fmt.Errorf("%s ended by itself: %s\n%s", p.component.name, p.cmd.ProcessState, s.logTail(p.component))
}

// stop kills a component and reports whether it was running. Killing is quick and, for the API
// server, what clients of one that crashed see. The data is in etcd, and etcd's is in the
// kernel's hands with every write.
func (s *supervisor) stop(name string) bool {
	p := s.running[name]
	if p == nil {
		return false
	}
	delete(s.running, name)
	p.stopped = true
	_ = p.cmd.Process.Kill() // fails if it has just exited
	<-p.done
	return true
}

// signal sends a signal to a running component.
func (s *supervisor) signal(name string, signal syscall.Signal) error {
	p := s.running[name]
	if p == nil {
		return fmt.Errorf("%s is not running", name)
	}
	return p.cmd.Process.Signal(signal)
}

// stopAll stops what is running, what others depend on last.
func (s *supervisor) stopAll() {
	for _, name := range slices.Backward(s.names) {
		s.stop(name)
	}
}

func (s *supervisor) logPath(c *component) string { return filepath.Join(s.dir, c.name+".log") }

// logTail returns the end of a component's log, for people.
func (s *supervisor) logTail(c *component) string {
	content, err := os.ReadFile(s.logPath(c))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Sprintf("the end of %s:\n%s", s.logPath(c), strings.Join(lines[max(0, len(lines)-20):], "\n"))
}
