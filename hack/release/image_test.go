// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestImage makes the image, pushes it to a registry, pulls it back and runs what is in it.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the programs for all platforms")
	}
	dist := t.TempDir()
	var said strings.Builder
	if err := run(t.Context(), []string{"image", "--root=../..", "--dist=" + dist}, &said); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/node-termination-operator:v1"
	var pushed strings.Builder
	if err := run(t.Context(), []string{"push", "--dist=" + dist, "--image=" + reference}, &pushed); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil || !strings.Contains(said.String(), digest.String()) || !strings.Contains(pushed.String(), "@"+digest.String()) {
		t.Errorf("the image in the registry is %s, %v; made was %q, pushed %q", digest, err, said.String(), pushed.String())
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["org.opencontainers.image.revision"] == "" || len(manifest.Manifests) != len(platforms) {
		t.Errorf("index %+v", manifest)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, d := range manifest.Manifests {
		t.Run(d.Platform.String(), func(t *testing.T) {
			img, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			root := extract(t, img)
			checkSBOM(t, tag, d)
			if d.Platform.OS == "windows" {
				checkWindows(t, img, d.Platform, root)
				return
			}
			checkConfig(t, img)
			for _, p := range programs {
				checkMachine(t, filepath.Join(root, p.name), machines[d.Platform.Architecture])
			}
			t.Run("run", func(t *testing.T) {
				if arch := d.Platform.Architecture; arch == runtime.GOARCH {
					runInside(t, root)
				} else {
					runEmulated(t, root, arch)
				}
			})
		})
	}
}

// extract unpacks an image and returns the folder.
func extract(t *testing.T, img v1.Image) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	layers := mutate.Extract(img)
	defer func() { _ = layers.Close() }()
	r := tar.NewReader(layers)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d, want root", header.Name, header.Uid, header.Gid)
		}
		path := filepath.Join(folder, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, data, os.FileMode(header.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkConfig checks how a container of an image is started.
func checkConfig(t *testing.T, img v1.Image) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != user || len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/manager" || c.Labels["org.opencontainers.image.version"] == "" {
		t.Errorf("config %+v", c)
	}
	if config.Created.IsZero() || config.Created.Location().String() != "UTC" {
		t.Errorf("created %s", config.Created)
	}
}

// checkWindows checks what a HostProcess container needs, as far as that can be seen elsewhere: any version of Windows takes
// the image, and the layer has the folders and files that containerd looks for.
func checkWindows(t *testing.T, img v1.Image, p *v1.Platform, root string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; p.OSVersion != "" || config.OSVersion != "" || c.User != "" || len(c.Entrypoint) != 1 || c.Entrypoint[0] != "imds-watcher.exe" {
		t.Errorf("platform %+v, config %+v", p, c)
	}
	program, err := pe.Open(filepath.Join(root, "Files", "imds-watcher.exe"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	if program.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		t.Errorf("the watcher is for machine %#x", program.Machine)
	}
	for _, name := range windowsHives {
		hive, err := os.ReadFile(filepath.Join(root, "Files", "Windows", "System32", "config", name))
		if err != nil || !bytes.HasPrefix(hive, []byte("regf")) {
			t.Errorf("hive %s: %d bytes, %v", name, len(hive), err)
		}
	}
}

func checkMachine(t *testing.T, program string, want elf.Machine) {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if file.Machine != want {
		t.Errorf("%s is for %s, want %s", program, file.Machine, want)
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s needs the libraries %v, %v", program, libraries, err)
	}
}

// checkSBOM checks that the registry knows the list of what is in an image.
func checkSBOM(t *testing.T, tag name.Tag, image v1.Descriptor) {
	t.Helper()
	referrers, err := remote.Referrers(tag.Digest(image.Digest.String()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	found, err := referrers.IndexManifest()
	if err != nil || len(found.Manifests) != 1 || found.Manifests[0].ArtifactType != string(cycloneDX) {
		t.Fatalf("referrers %+v, %v, want one of type %s", found, err, cycloneDX)
	}
	list, err := remote.Image(tag.Digest(found.Manifests[0].Digest.String()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := list.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		SerialNumber string
		Metadata     struct {
			Timestamp  string
			Properties []struct{ Name, Value string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.NewDecoder(content).Decode(&sbom); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, c := range sbom.Components {
		versions[c.Name] = c.Version
		if strings.Contains(c.PURL, "?") {
			t.Errorf("the package URL %s says more than what is always the same", c.PURL)
		}
	}
	modules := []string{"k8s.io/client-go", "github.com/aws/aws-sdk-go-v2", "std"}
	if image.Platform.OS == "linux" { // where the manager is
		modules = append(modules, "sigs.k8s.io/controller-runtime")
	}
	for _, module := range modules {
		if versions[module] == "" {
			t.Errorf("the list does not have %s", module)
		}
	}
	if p := sbom.Metadata.Properties; len(p) != 2 || p[0].Value != image.Platform.Architecture || p[1].Value != image.Platform.OS {
		t.Errorf("the list is for %v, want %s", p, image.Platform)
	}
	if sbom.SerialNumber != "" || sbom.Metadata.Timestamp != "" {
		t.Errorf("the list has the serial number %q and the time %q", sbom.SerialNumber, sbom.Metadata.Timestamp)
	}
}

// versionLine is what each program says of itself, after its name.
const versionLine = `v0\.0\.0-[0-9a-f]{12}(-dirty)? \(commit [0-9a-f]{40}(-dirty)?, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, go1\.\S+ linux/`

// runInside runs the programs with nothing but the image around them.
func runInside(t *testing.T, root string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may chroot, so that it was NOT TRIED whether the programs run in their image")
	}
	insider := filepath.Join(root, "insider")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", insider, "./testdata/insider")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, folder := range []string{root, filepath.Dir(root)} { // another user has to reach it
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for command, want := range map[string]string{
		"/manager --version":      `^manager ` + versionLine + runtime.GOARCH + `\)\n$`,
		"/imds-watcher --version": `^imds-watcher ` + versionLine + runtime.GOARCH + `\)\n$`,
		"/insider":                `^found, as user 65532\n$`,
	} {
		words := strings.Fields(command)
		inside := exec.CommandContext(t.Context(), words[0], words[1:]...)
		inside.Dir = "/"
		inside.Env = []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "ZONEINFO=/usr/share/zoneinfo.zip"}
		inside.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		checkOutput(t, inside, want)
	}
}

// runEmulated runs the programs of another processor.
func runEmulated(t *testing.T, root, arch string) {
	t.Helper()
	emulator := map[string]string{"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}[arch]
	qemu, err := exec.LookPath(emulator)
	if err != nil {
		qemu, err = exec.LookPath(emulator + "-static")
	}
	if err != nil {
		t.Skipf("%s is not installed, so that it was NOT TRIED whether the programs run on %s", emulator, arch)
	}
	for _, p := range programs {
		command := exec.CommandContext(t.Context(), qemu, filepath.Join(root, p.name), "--version")
		checkOutput(t, command, `^`+p.name+` `+versionLine+arch+`\)\n$`)
	}
}

func checkOutput(t *testing.T, command *exec.Cmd, want string) {
	t.Helper()
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil || !regexp.MustCompile(want).Match(out.Bytes()) {
		t.Errorf("%s: %v, says %q, want %s", command, err, out.String(), want)
	}
}

func TestErrors(t *testing.T) {
	for command, want := range map[string]string{
		"images":                             `command "images": write image, push or all`,
		"image now":                          `argument "now": release help lists the flags`,
		"image --size=1":                     "flag provided but not defined: -size: release help lists the flags",
		"image --root=../.. --version=0.1.0": `version "0.1.0": write it like v0.1.0 or v0.1.0-rc.1`,
		"push":                               "--image: write where the image is pushed",
		"push --image=operator":              `--image "operator": write registry/repository:tag`,
		"push --dist=nowhere --image=localhost:1/operator:v1": `make it with "make image"`,
		"all":                  "make release VERSION=v0.1.0",
		"all --version=v0.1.0": "--image: write where the image is pushed",
	} {
		err := run(t.Context(), strings.Fields(command), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("release %s: %v, want %q", command, err, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"help"}, &help); err != nil || !strings.Contains(help.String(), "release push") {
		t.Errorf("help %q, %v", help.String(), err)
	}
}
