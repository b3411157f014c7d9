package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain also is the program that TestChildrenDieWithParent kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CONTROLPLANE_TEST_PARENT"); dir != "" {
		s := newSupervisor("/bin", dir, []*component{{name: "sleep", args: []string{"3600"}}})
		if err := s.startAll(context.Background()); err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(s.running["sleep"].cmd.Process.Pid) + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestEveryBinaryHasAVersion(t *testing.T) {
	for _, b := range binaries {
		if v := b.version(); !strings.HasPrefix(v, "v") {
			t.Errorf("%s: go.mod has no version of %s", b.name, b.module)
		}
	}
}

func TestKubebuilderAssets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	for _, b := range binaries {
		_, err := ensureAssets(t.Context(), binaries)
		if err == nil || !strings.Contains(err.Error(), b.name) {
			t.Errorf("without %s: got error %v, want one that names it", b.name, err)
		}
		writeExecutable(t, filepath.Join(dir, b.name))
	}
	if got, err := ensureAssets(t.Context(), binaries); got != dir || err != nil {
		t.Errorf("with all binaries: got %q, %v, want the directory", got, err)
	}
}

func TestIsInstalled(t *testing.T) {
	dir := t.TempDir()
	for _, b := range binaries {
		writeExecutable(t, filepath.Join(dir, b.name))
	}
	if isInstalled(dir, binaries) {
		t.Error("binaries of unknown versions, as from setup-envtest, count as installed")
	}
	if err := os.WriteFile(filepath.Join(dir, stampFile), []byte(stamp(binaries)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := stamp(binaries); !strings.HasPrefix(got, "etcd v") || !strings.Contains(got, "\nkubectl v") || strings.Index(got, "kubectl") > strings.Index(got, "kwok") {
		t.Errorf("the stamp is not in the order of names, so those of other versions of this program do not count:\n%s", got)
	}
	if !isInstalled(dir, binaries) {
		t.Error("binaries of the right versions do not count as installed")
	}
	if err := os.Remove(filepath.Join(dir, "kwok")); err != nil {
		t.Fatal(err)
	}
	if isInstalled(dir, binaries) {
		t.Error("a directory without kwok counts as installed")
	}
}

func writeExecutable(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestReservedPortStaysReserved(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given out twice", port)
		}
		seen[port] = true
	}
}

func TestWorkDirAndKubeconfigMustBeNew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	if _, err := workDir(dir); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := newFile(file); err != nil {
		t.Errorf("a new file: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := workDir(dir); err == nil {
		t.Error("a directory with a file in it is accepted")
	}
	if _, err := newFile(file); err == nil {
		t.Error("an existing kubeconfig would be overwritten")
	}
}

func TestCommands(t *testing.T) {
	s := newSupervisor("/bin", t.TempDir(), []*component{{name: "sleep", args: []string{"3600"}}})
	if err := s.startAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.stopAll()
	for _, tt := range []struct{ line, answer, err string }{
		{line: "start sleep", err: "is running already"},
		{line: "stall sleep", answer: "stalled sleep"},
		{line: "resume sleep", answer: "resumed sleep"},
		{line: "stop sleep", answer: "stopped sleep"},
		{line: "stall sleep", err: "is not running"},
		{line: "stop sleep", err: "is not running"},
		{line: "start sleep", answer: "started sleep"},
		{line: "stop etcd", err: "with one of sleep"},
		{line: "restart sleep", err: `use "stop COMPONENT"`},
		{line: "stop", err: `use "stop COMPONENT"`},
	} {
		answer, err := s.command(t.Context(), tt.line)
		if answer != tt.answer || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got %q, error %v, want %q, error %q", tt.line, answer, err, tt.answer, tt.err)
		}
	}
}

// A component that ends by itself ends the control plane, with the last it had to say.
func TestFailingComponent(t *testing.T) {
	notReady := func(context.Context) error { return errors.New("not yet") }
	s := newSupervisor("/bin", t.TempDir(), []*component{
		{name: "sh", args: []string{"-c", "echo no such flag >&2; exit 3"}, ready: notReady},
	})
	err := s.startAll(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no such flag") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got error %v, want one with the log and the exit status", err)
	}
}

func TestChildrenDieWithParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "CONTROLPLANE_TEST_PARENT="+t.TempDir())
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent printed %q", line)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child does not run: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); alive(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child is still alive")
		}
	}
}

// alive is false also for a zombie, which waits for whoever adopted it to take note.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(fields, "Z")
}

// One that runs in the background holds its lock; the file alone means nothing.
func TestRunningIsKnownByTheLock(t *testing.T) {
	s := &state{dir: t.TempDir()}
	running := func(want int) {
		t.Helper()
		if got, err := s.running(); got != want || err != nil {
			t.Errorf("got process %d, %v, want %d", got, err, want)
		}
	}
	running(0)
	file, err := holdPIDFile(s.path("pid"))
	if err != nil {
		t.Fatal(err)
	}
	running(os.Getpid())
	if _, err := holdPIDFile(s.path("pid")); err == nil {
		t.Error("two hold the lock")
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	running(0)
}
