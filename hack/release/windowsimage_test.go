// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// TestWindowsImage checks the layer of the image for Windows: folders come before what is in them, and nothing is outside
// of Files.
func TestWindowsImage(t *testing.T) {
	s := &source{version: "v0.1.0", commit: "c", date: time.Unix(1_800_000_000, 0).UTC()}
	img, err := s.windowsImage(platform{"windows", "amd64"}, []file{{"imds-watcher.exe", 0o755, []byte("MZ")}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "windows" || config.Architecture != "amd64" || config.OSVersion != "" || config.Config.User != "" ||
		!slices.Equal(config.Config.Entrypoint, []string{"imds-watcher.exe"}) {
		t.Errorf("config %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	const config32 = "Files/Windows/System32/config/"
	want := []string{
		"Files/", "Files/Windows/", "Files/Windows/System32/", config32,
		config32 + "DEFAULT", config32 + "SAM", config32 + "SECURITY", config32 + "SOFTWARE", config32 + "SYSTEM", "Files/imds-watcher.exe",
	}
	if !slices.Equal(names, want) {
		t.Errorf("the layer has %q, want %q", names, want)
	}
}
