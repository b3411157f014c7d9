package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// state is where the control plane in the background keeps its files: pid (locked while it
// runs), kubeconfig and log.
type state struct{ dir string }

// newState makes the directory, by default one in the user's data home.
func newState(dir string) (*state, error) {
	if dir == "" {
		home, err := dataHome()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(home, "node-termination-controlplane")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &state{dir: dir}, os.MkdirAll(dir, 0o700)
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// up starts "controlplane run" in a session of its own, waits until it is healthy and prints the
// shell command that points kubectl at it. If one is running already, that is said instead.
func (s *state) up(ctx context.Context, kubernetes string) error {
	pid, err := s.running()
	if err != nil {
		return err
	}
	if pid != 0 {
		progress("already running, process %d", pid)
		return s.printUse()
	}
	binaries, err := binariesFor(kubernetes)
	if err != nil {
		return err
	}
	if _, err := ensureAssets(ctx, binaries); err != nil { // here, where people see the progress
		return err
	}
	// What one that was killed left behind.
	if err := os.Remove(s.path("kubeconfig")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.Create(s.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "run", "--pid-file", s.path("pid"), "--kubeconfig", s.path("kubeconfig"), "--kubernetes", kubernetes)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	interrupted := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer interrupted()
	if !bufio.NewScanner(stdout).Scan() { // it ended, within the bounds that run has
		_ = cmd.Wait()
		content, _ := os.ReadFile(s.path("log"))
		return fmt.Errorf("it did not start (%s):\n%s", cmd.ProcessState, strings.TrimSpace(string(content)))
	}
	progress("running, process %d; \"make cluster-down\" (controlplane down) ends it", cmd.Process.Pid)
	return s.printUse()
}

func (s *state) printUse() error {
	_, err := fmt.Printf("export KUBECONFIG=%s\n", s.path("kubeconfig"))
	return err
}

// down ends the control plane in the background and returns when all of it is gone.
func (s *state) down(ctx context.Context) error {
	pid, err := s.running()
	if err != nil {
		return err
	}
	if pid == 0 {
		progress("nothing is running")
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if still, err := s.running(); err != nil {
			return err
		} else if still != pid {
			progress("stopped")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d was sent a signal to end but is still running", pid)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// running returns the process ID of the control plane in the background, 0 if there is none. The lock
// tells, so a process that later got the same ID is never mistaken for it.
func (s *state) running() (int, error) {
	file, err := os.Open(s.path("pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, fmt.Errorf("locking %s: %w", file.Name(), err)
	}
	content, err := os.ReadFile(file.Name())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s does not hold a process ID but %q: it has just been started, try again", file.Name(), content)
	}
	return pid, nil
}
