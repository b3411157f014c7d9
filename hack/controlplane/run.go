package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type runOptions struct {
	kubernetes       string // empty: the default version
	dir              string // empty: a temporary one
	kubeconfig       string // empty: in dir
	auditLog         string // empty: none
	apiServerCPUs    int    // 0: all
	pidFile          string // empty: none
	untilStdinCloses bool
}

// startTimeout is how long a component may take until it is ready. It takes seconds on an idle
// machine; this is for one that is busy with other things.
const startTimeout = 2 * time.Minute

// run implements "controlplane run": it returns when ctx ends, when standard input closes if that was asked
// for, or with an error when a component fails.
func run(ctx context.Context, opts runOptions) error {
	if opts.pidFile != "" {
		file, err := holdPIDFile(opts.pidFile)
		if err != nil {
			return err
		}
		defer file.Close()
		defer os.Remove(opts.pidFile)
	}
	binaries, err := binariesFor(opts.kubernetes)
	if err != nil {
		return err
	}
	assets, err := ensureAssets(ctx, binaries)
	if err != nil {
		return err
	}
	dir, err := workDir(opts.dir)
	if err != nil {
		return err
	}
	if opts.dir == "" {
		defer os.RemoveAll(dir)
	}
	kubeconfig := filepath.Join(dir, "admin.kubeconfig")
	if opts.kubeconfig != "" {
		if kubeconfig, err = newFile(opts.kubeconfig); err != nil {
			return err
		}
		defer os.Remove(kubeconfig)
	}
	if opts.auditLog != "" {
		if opts.auditLog, err = filepath.Abs(opts.auditLog); err != nil {
			return err
		}
	}
	port, err := reservePort()
	if err != nil {
		return fmt.Errorf("finding a free port: %w", err)
	}
	cfg, err := newConfig(dir, kubeconfig, opts, port)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := readLines(os.Stdin, func() {
		if opts.untilStdinCloses {
			cancel()
		}
	})
	s := newSupervisor(assets, dir, cfg.components())
	defer s.stopAll()
	if err := s.startAll(ctx); err != nil {
		return orInterrupted(ctx, err)
	}
	fmt.Printf("KUBECONFIG=%s\n", kubeconfig)
	return orInterrupted(ctx, s.serve(ctx, lines))
}

// orInterrupted returns nil if ctx has ended, as the error comes from that, and else err.
func orInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// workDir makes the directory for one run, the given one or else a temporary one.
func workDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "controlplane-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("--dir %s is not empty: name an empty or new directory", dir)
	}
	return dir, nil
}

// newFile checks that there is no file at path, lest somebody's own kubeconfig be overwritten.
func newFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("--kubeconfig %s exists: name a new file, which is removed at the end", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return path, nil
}

// holdPIDFile writes our process ID to a file and locks it until it is closed or we die.
func holdPIDFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		err = fmt.Errorf("locking %s, is it running already? %w", path, err)
	} else if err = file.Truncate(0); err == nil {
		_, err = fmt.Fprintln(file, os.Getpid())
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// readLines sends the lines of r and calls closed at its end.
func readLines(r io.Reader, closed func()) <-chan string {
	lines := make(chan string)
	go func() {
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			lines <- strings.TrimSpace(scanner.Text())
		}
		closed()
	}()
	return lines
}

// serve carries out the commands until ctx ends or a component fails.
func (s *supervisor) serve(ctx context.Context, commands <-chan string) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-s.exits:
			if err := s.exited(p); err != nil {
				return err
			}
		case line := <-commands:
			if line == "" {
				continue
			}
			answer, err := s.command(ctx, line)
			if err != nil {
				answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
			}
			fmt.Println(answer)
		}
	}
}

// command carries out one line such as "stop kube-apiserver" and returns the answer.
func (s *supervisor) command(ctx context.Context, line string) (string, error) {
	verb, name, _ := strings.Cut(line, " ")
	c, ok := s.components[name]
	if !ok {
		verb = ""
	}
	switch verb {
	case "stop":
		if !s.stop(name) {
			return "", fmt.Errorf("%s is not running", name)
		}
		return "stopped " + name, nil
	case "start":
		if s.running[name] != nil {
			return "", fmt.Errorf("%s is running already", name)
		}
		if err := s.start(c); err != nil {
			return "", err
		}
		if err := s.awaitReady(ctx, c); err != nil {
			return "", err
		}
		return "started " + name, nil
	case "stall":
		if err := s.signal(name, syscall.SIGSTOP); err != nil {
			return "", err
		}
		return "stalled " + name, nil
	case "resume":
		if err := s.signal(name, syscall.SIGCONT); err != nil {
			return "", err
		}
		return "resumed " + name, nil
	}
	return "", fmt.Errorf("%q: use \"stop COMPONENT\", \"start COMPONENT\", \"stall COMPONENT\" or \"resume COMPONENT\" with one of %s",
		line, strings.Join(s.names, ", "))
}
