// SPDX-License-Identifier: Apache-2.0

package main

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
	"syscall"
)

// child is a process that prints one line when it is ready and ends when its standard input closes,
// as it does when we die, however we die.
type child struct {
	name  string
	ready string // the line
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended
}

// startChild starts a process and waits for its line.
func startChild(ctx context.Context, name, dir string, command ...string) (*child, error) {
	// It outlives ctx: it is ended in its turn.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	c := &child{name: name, cmd: cmd, done: make(chan struct{})}
	c.cmd.Dir = dir
	c.cmd.Env = append(os.Environ(), "GOWORK=off")
	c.cmd.Stderr = os.Stderr
	// A process group of its own: Ctrl-C at a terminal is for us alone.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", name, err)
	}
	lines := make(chan string, 1)
	go func() {
		defer close(c.done)
		reader := bufio.NewReader(stdout)
		line, _ := reader.ReadString('\n')
		lines <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, reader)
		_ = c.cmd.Wait() // how it ended is in cmd.ProcessState
	}()
	select {
	case c.ready = <-lines:
	case <-ctx.Done():
	}
	if c.ready == "" {
		c.stop()
		return nil, fmt.Errorf("the %s did not start: %s", name, c.cmd.ProcessState)
	}
	return c, nil
}

// ended returns the error that the process has ended by itself.
func (c *child) ended() error {
	return fmt.Errorf("the %s ended by itself: %s", c.name, c.cmd.ProcessState)
}

// stop ends the process and returns when it is gone.
func (c *child) stop() {
	_ = c.stdin.Close()
	<-c.done
}

// output runs a command and returns what it prints. Its error has what the command printed to standard error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w:\n%s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return string(out), nil
}
