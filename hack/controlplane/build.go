package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// build builds binaries into dir, with the module files there from which "go build" makes any of them, from wherever this
// program is called.
func build(ctx context.Context, dir string, missing []binary) error {
	if err := os.CopyFS(dir, modules); err != nil {
		return err
	}
	stop := downloadModules(ctx, dir, missing)
	defer stop()
	e := newEstimate(missing, runtime.NumCPU())
	progress("building %s: %s, once per machine", plural(len(missing), "program"), e.left())
	for i, b := range missing {
		if err := b.build(ctx, dir, fmt.Sprintf("[%d/%d] %s", i+1, len(missing), b.name), e); err != nil {
			return err
		}
	}
	progress("built all in %.0f s", time.Since(e.start).Seconds())
	return nil
}

// downloadModules has the go command download what the module files of binaries require while the first programs are
// compiled already: go build alone downloads only what it needs next, and waits for it. If it fails,
// go build says why. The function it returns ends it.
func downloadModules(ctx context.Context, dir string, binaries []binary) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var files []string
	for _, b := range binaries {
		if !slices.Contains(files, b.modfile) {
			files = append(files, b.modfile)
		}
	}
	go func() {
		defer close(done)
		for _, file := range files {
			_ = goCommand(ctx, dir, "mod", "download", "-modfile="+file).Run()
		}
	}()
	return func() { cancel(); <-done }
}

// goCommand returns the go command with arguments, to be run in dir. When ctx ends it is interrupted,
// and cleans up.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// build compiles the binary into dir, which has the module files, and says every few seconds how far it is.
func (b binary) build(ctx context.Context, dir, label string, e *estimate) error {
	start := time.Now()
	e.begin(b)
	cmd := goCommand(ctx, dir, "build", "-v", "-modfile="+b.modfile, "-ldflags", b.ldflags(), "-o", filepath.Join(dir, b.name), b.pkg)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("building needs the go command: %w", err)
	}

	stop := every(reportEvery, func() {
		progress("%s: %s in %.0f s; %s", label, plural(int(e.packages.Load()), "package"), time.Since(start).Seconds(), e.left())
	})
	var last []string
	for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
		e.packages.Add(1) // go build -v prints a line for each that it compiles
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
	e.end()
	progress("%s: built in %.0f s; %s", label, time.Since(start).Seconds(), e.left())
	return nil
}

// ldflags sets the version that the binary reports, as its own makefile would.
func (b binary) ldflags() string {
	v := b.version()
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
