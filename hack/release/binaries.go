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

// programs are those in the image. The first one is its entry point. The Dockerfile has the same.
var programs = []program{
	{"manager", "."},
	{"imds-watcher", "./controllers/source/imds/imds-watcher"},
}

// platform is one that the image runs on.
type platform struct{ os, arch string }

// String returns the platform as Kubernetes and OCI write it.
func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are those of the image.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}}

// build compiles a program into a folder and returns its file. The same source makes the same
// bytes, wherever it is: no path, no time and nothing of the environment goes into them.
func (s *source) build(ctx context.Context, p program, for_ platform, folder string) (string, error) {
	file := filepath.Join(folder, p.name)
	set := []string{"-s", "-w", "-buildid="}
	for name, value := range map[string]string{"version": s.version, "commit": s.commit, "date": s.date.Format(time.RFC3339)} {
		set = append(set, fmt.Sprintf("-X %s.%s=%s", versionPackage, name, value))
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(set, " "), "-o", file, p.folder)
	command.Dir = s.root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off",
		"GOOS="+for_.os, "GOARCH="+for_.arch, "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s for %s: %w\n%s", p.name, for_, err, out)
	}
	return file, nil
}
