package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The versions to build. With these two files in a directory of its own, "go build" makes any of
// the binaries, from wherever this program is called.
var (
	//go:embed go.mod
	goMod string
	//go:embed go.sum
	goSum string
)

// reportEvery is how often a build in progress says how far it is.
const reportEvery = 5 * time.Second

// buildAssets builds all binaries into a directory in dir and moves them up when all are there. Of several callers on this machine one builds and the others wait for it.
func buildAssets(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockBuild(ctx, filepath.Join(dir, "controlplane-lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if isBuilt(dir) {
		return nil
	}

	// The name is fixed, so what an interrupted build left is found here.
	temp := filepath.Join(dir, "controlplane-building")
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{"go.mod": goMod, "go.sum": goSum} {
		if err := os.WriteFile(filepath.Join(temp, name), []byte(content), 0o644); err != nil {
			return err
		}
	}

	start := time.Now()
	progress("building %d binaries into %s: some ten minutes the first time, then never again", len(binaries), dir)
	for i, b := range binaries {
		if err := b.build(ctx, temp, fmt.Sprintf("[%d/%d] %s %s", i+1, len(binaries), b.name, version(b.module))); err != nil {
			return err
		}
	}
	for _, b := range binaries {
		if err := os.Rename(filepath.Join(temp, b.name), filepath.Join(dir, b.name)); err != nil {
			return err
		}
	}
	progress("built all in %.0f s", time.Since(start).Seconds())
	return os.WriteFile(filepath.Join(dir, stampFile), []byte(stamp()), 0o644)
}

// build compiles the binary into dir, which has the go.mod, and says every few seconds how far it is.
func (b binary) build(ctx context.Context, dir, label string) error {
	start := time.Now()
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-ldflags", b.ldflags(), "-o", filepath.Join(dir, b.name), b.pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("building needs the go command: %w", err)
	}

	var lines atomic.Int64 // go build -v prints one for each package that it compiles
	stop := every(reportEvery, func() {
		progress("%s: %d packages compiled, %.0f s", label, lines.Load(), time.Since(start).Seconds())
	})
	var last []string
	for scanner := bufio.NewScanner(stderr); scanner.Scan(); lines.Add(1) {
		last = append(last[max(0, len(last)-29):], scanner.Text())
	}
	err = cmd.Wait()
	stop()
	if ctx.Err() != nil {
		return errors.New("interrupted; what is compiled is kept for the next time")
	}
	if err != nil {
		return fmt.Errorf("go build %s: %w; its last lines:\n%s", b.pkg, err, strings.Join(last, "\n"))
	}
	progress("%s: done in %.0f s", label, time.Since(start).Seconds())
	return nil
}

// ldflags sets the version that the binary reports, as its own makefile would.
func (b binary) ldflags() string {
	v := version(b.module)
	parts := strings.Split(strings.TrimPrefix(v, "v"), ".")
	flags := []string{"-s", "-w"}
	for name, value := range map[string]string{
		"k8s.io/component-base/version.gitVersion": v,
		"k8s.io/component-base/version.gitMajor":   parts[0],
		"k8s.io/component-base/version.gitMinor":   parts[1],
		"k8s.io/client-go/pkg/version.gitVersion":  v,
	} {
		flags = append(flags, "-X", name+"="+value)
	}
	return strings.Join(flags, " ")
}

// lockBuild waits until this process is the only one on the machine that holds the lock file, and
// returns what releases it. The kernel releases it if the process dies.
func lockBuild(ctx context.Context, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	stop := every(reportEvery, func() {
		progress("another process is building: waiting for it, %.0f s", time.Since(start).Seconds())
	})
	defer stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, errors.New("interrupted while waiting for another process to build")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// every calls f at an interval until the function it returns is called.
func every(interval time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				f()
			}
		}
	}()
	return func() { close(done) }
}

// progress prints what goes on, for people. Standard output is for what programs read.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "controlplane: "+format+"\n", args...)
}
