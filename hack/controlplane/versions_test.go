package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBinariesFor(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	for name, tt := range map[string]struct {
		version, want, err string
	}{
		"the default":         {want: "v1.36."},
		"the default by name": {version: "1.36", want: "v1.36."},
		"minor":               {version: "1.34", want: "v1.34."},
		"minor with v":        {version: "v1.35", want: "v1.35."},
		"patch":               {version: "v1.34.4", want: "v1.34.4"},
		"another patch":       {version: "1.34.99", err: "--kubernetes=1.34.99: use one of v1.34."},
		"unknown":             {version: "1.2", err: "use one of v1.34."},
		"a part":              {version: "1.3", err: "use one of"},
		"no version":          {version: "latest", err: "use one of"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := binariesFor(tt.version)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range got {
				want := tt.want
				if b.module != kubernetes {
					want = binaries[i].version()
				}
				if !strings.HasPrefix(b.version(), want) {
					t.Errorf("%s is %s, want %s", b.name, b.version(), want)
				}
			}
		})
	}

	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	if _, err := binariesFor("1.34"); err == nil || !strings.Contains(err.Error(), "unset one of them") {
		t.Errorf("with KUBEBUILDER_ASSETS: got error %v", err)
	}
	if _, err := binariesFor(""); err != nil {
		t.Errorf("with KUBEBUILDER_ASSETS and no version: got error %v", err)
	}
}

// The parts of Kubernetes that are modules of their own have the version of the whole, as in its releases.
func TestModuleFilesAreOfOneVersion(t *testing.T) {
	files, err := fs.Glob(modules, "kubernetes/*.mod")
	if err != nil || len(files) == 0 {
		t.Fatalf("got module files %q, %v", files, err)
	}
	for _, file := range append(files, "go.mod") {
		version := binary{module: kubernetes, modfile: file}.version()
		if file != "go.mod" && filepath.Base(file) != strings.TrimPrefix(minor(version), "v")+".mod" {
			t.Errorf("%s is for Kubernetes %s", file, version)
		}
		content, err := modules.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		replaced := 0
		for line := range strings.Lines(string(content)) {
			if _, part, found := strings.Cut(line, "=> k8s.io/"); found {
				replaced++
				if want := " v0" + strings.TrimPrefix(version, "v1"); !strings.HasSuffix(part, want+"\n") {
					t.Errorf("%s: %q, want%s", file, strings.TrimSpace(line), want)
				}
			}
		}
		if replaced < 30 {
			t.Errorf("%s: only %d modules are replaced by those of Kubernetes %s", file, replaced, version)
		}
	}
}

// What is installed with one version of Kubernetes is not built again for another.
func TestReuse(t *testing.T) {
	home := t.TempDir()
	installed, dir := filepath.Join(home, "1.36"), filepath.Join(home, "1.34")
	for _, d := range []string{installed, dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range binaries {
		writeExecutable(t, filepath.Join(installed, b.name))
	}
	if err := os.WriteFile(filepath.Join(installed, stampFile), []byte(stamp(binaries)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBEBUILDER_ASSETS", "")
	other, err := binariesFor("1.34")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, b := range reuse(home, dir, other) {
		missing = append(missing, b.name)
	}
	if want := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}; !slices.Equal(missing, want) {
		t.Errorf("missing are %q, want %q", missing, want)
	}
	if linked := missingBinaries(dir, binaries); !slices.Equal(linked, missing) {
		t.Errorf("the directory lacks %q, want %q", linked, missing)
	}
}
