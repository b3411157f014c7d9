// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// chart returns the Helm chart of a release, with its image by digest. hack/helm makes it, which is a module of
// its own for the sake of what Helm depends on.
func (s *source) chart(ctx context.Context, tag name.Tag, digest v1.Hash) (asset, error) {
	folder, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return asset{}, fmt.Errorf("cannot make the chart: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	root, err := filepath.Abs(s.root)
	if err != nil {
		return asset{}, fmt.Errorf("cannot make the chart: %w", err)
	}
	command := s.goCommand(ctx, "run", ".", "package", "--root="+root, "--dist="+folder, "--version="+s.version,
		fmt.Sprintf("--image=%s@%s", tag.Context().Name(), digest))
	command.Dir = filepath.Join(root, "hack", "helm")
	if out, err := command.CombinedOutput(); err != nil {
		return asset{}, fmt.Errorf("cannot make the chart: %w\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(files) != 1 {
		return asset{}, fmt.Errorf("cannot make the chart: hack/helm wrote %q, not one archive", files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return asset{}, fmt.Errorf("cannot make the chart: %w", err)
	}
	return asset{filepath.Base(files[0]), data}, nil
}
