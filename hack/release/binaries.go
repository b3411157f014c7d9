// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// versionPackage has the variables that programs print with --version.
const versionPackage = "github.com/nodetermination/operator/controllers/version"

// program is one that is built.
type program struct {
	name   string
	folder string
}

// programs are those in the image for Linux. The first one is its entry point. The Dockerfile has the same.
var programs = []program{
	{"manager", "."},
	{"imds-watcher", "./controllers/source/imds/imds-watcher"},
}

// platform is one that the image runs on.
type platform struct{ os, arch string }

// String returns the platform as Kubernetes and OCI write it.
func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are those of the image.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"windows", "amd64"}}

// programs returns those in the image for the platform.
func (p platform) programs() []program {
	if p.os == "windows" {
		return windowsPrograms
	}
	return programs
}

// build compiles a program into a folder and returns its file. The same source makes the same
// bytes, wherever it is: no path, no time and nothing of the environment goes into them.
func (s *source) build(ctx context.Context, p program, target platform, folder string) (string, error) {
	file := filepath.Join(folder, p.name)
	ldflags := fmt.Sprintf("-s -w -buildid= -X %[1]s.version=%[2]s -X %[1]s.commit=%[3]s -X %[1]s.date=%[4]s",
		versionPackage, s.version, s.commit, s.date.Format(time.RFC3339))
	command := s.goCommand(ctx, "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", file, p.folder)
	command.Env = append(command.Env, "GOOS="+target.os, "GOARCH="+target.arch)
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s for %s: %w\n%s", p.name, target, err, out)
	}
	return file, nil
}

// goCommand returns a command of the toolchain in go.mod. Nothing of the environment that changes
// what is compiled reaches it; where modules come from and are kept does. GOFLAGS is not empty, as
// that would leave those of "go env -w" in force.
func (s *source) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = s.root
	command.Env = append(os.Environ(), "GOTOOLCHAIN="+s.toolchain, "GOFLAGS=-mod=readonly", "GOWORK=off",
		"CGO_ENABLED=0", "GOEXPERIMENT=", "GOFIPS140=off", "GOAMD64=v1", "GOARM64=v8.0")
	return command
}

// timeZones returns the time zones that come with the toolchain, as package time reads them.
func (s *source) timeZones(ctx context.Context) ([]byte, error) {
	goroot, err := s.goCommand(ctx, "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find %s: %w", s.toolchain, err)
	}
	zones, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the time zones of %s: %w", s.toolchain, err)
	}
	return zones, nil
}
