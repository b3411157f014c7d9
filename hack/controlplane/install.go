package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// origin is where binaries come from.
type origin string

const (
	anyOrigin      origin = "" // downloaded if they can be, else built
	downloadOrigin origin = "download"
	buildOrigin    origin = "build"
)

// originFromEnv returns what the environment variable CONTROLPLANE asks for.
func originFromEnv() (origin, error) {
	switch from := origin(os.Getenv("CONTROLPLANE")); from {
	case anyOrigin, downloadOrigin, buildOrigin:
		return from, nil
	default:
		return "", fmt.Errorf("CONTROLPLANE=%s: set it to download or build to force either, or unset it to download what can be had and build the rest", from)
	}
}

// reportEvery is how often something in progress says how far it is.
const reportEvery = 5 * time.Second

// install downloads or builds all binaries and moves them into dir when all are there. Of several
// callers on this machine one does and the others wait for it.
func install(ctx context.Context, dir string, from origin, binaries []binary) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockInstall(ctx, filepath.Join(dir, "controlplane-lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if isInstalled(dir, binaries) {
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
	progress("installing into %s", dir)
	downloads := filepath.Join(dir, "controlplane-downloads")
	missing := reuse(filepath.Dir(dir), temp, binaries)
	if from != buildOrigin && len(missing) > 0 {
		if missing, err = download(ctx, downloads, temp, from, missing); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		if err := build(ctx, temp, missing); err != nil {
			return err
		}
	}
	// What it says no longer holds from the first one on.
	if err := os.Remove(filepath.Join(dir, stampFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, b := range binaries {
		if err := os.Rename(filepath.Join(temp, b.name), filepath.Join(dir, b.name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, stampFile), []byte(stamp(binaries)), 0o644); err != nil {
		return err
	}
	return os.RemoveAll(downloads)
}

// lockInstall waits until this process is the only one on the machine that holds the lock file, and
// returns what releases it. The kernel releases it if the process dies.
func lockInstall(ctx context.Context, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	stop := every(reportEvery, func() {
		progress("another process is installing the control plane: waiting for it, %.0f s", time.Since(start).Seconds())
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
			return nil, errors.New("interrupted while waiting for another process to install")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// every calls f at an interval until the function it returns is called. f does not run once that returns.
func every(interval time.Duration, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
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
	return func() { close(done); <-ended }
}

// progressTo is where progress goes. Standard output is for what programs read.
var progressTo io.Writer = os.Stderr

// progress prints what goes on, for people.
func progress(format string, args ...any) {
	fmt.Fprintf(progressTo, "controlplane: "+format+"\n", args...)
}
