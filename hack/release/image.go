// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// imageFile is the archive in dist that push reads.
const imageFile = "image.tar"

// bundle is an image for several platforms, and the list of what is in it for each.
type bundle struct {
	index v1.ImageIndex
	sboms []v1.Image
}

// image writes the image as an OCI layout.
func image(ctx context.Context, o *options, stdout io.Writer) error {
	s, err := newSource(ctx, o.root, o.version)
	if err != nil {
		return err
	}
	b, err := s.bundle(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dist, 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of --dist: %w", err)
	}
	archive := filepath.Join(o.dist, imageFile)
	if err := b.write(archive, s); err != nil {
		return err
	}
	digest, err := b.index.Digest()
	if err != nil {
		return fmt.Errorf("cannot compute the digest of the image: %w", err)
	}
	_, _ = fmt.Fprintf(stdout, "%s: version %s, %s\n", archive, s.version, digest)
	return nil
}

// bundle builds the image for all platforms.
func (s *source) bundle(ctx context.Context) (b *bundle, err error) {
	folder, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, fmt.Errorf("cannot build: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b = &bundle{index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex)}
	for _, p := range platforms {
		programs, err := s.buildAll(ctx, p, folder)
		if err != nil {
			return nil, err
		}
		img, err := s.image(ctx, p, programs)
		if err != nil {
			return nil, err
		}
		sbom, err := s.sbomImage(img, p, programs)
		if err != nil {
			return nil, err
		}
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: p.os, Architecture: p.arch},
		}})
		b.sboms = append(b.sboms, sbom)
	}
	annotated, ok := mutate.Annotations(b.index, s.annotations()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("the annotated index is none")
	}
	b.index = annotated
	return b, nil
}

// buildAll builds the programs for a platform, and returns their files.
func (s *source) buildAll(ctx context.Context, p platform, folder string) ([]string, error) {
	folder = filepath.Join(folder, p.os+"-"+p.arch)
	var files []string
	for _, program := range p.programs() {
		file, err := s.build(ctx, program, p, folder)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// image returns the image for one platform.
func (s *source) image(ctx context.Context, p platform, programs []string) (v1.Image, error) {
	var ours []file
	for _, program := range programs {
		data, err := os.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("cannot read what was built: %w", err)
		}
		ours = append(ours, file{filepath.Base(program), 0o755, data})
	}
	if p.os == "windows" {
		return s.windowsImage(p, ours)
	}
	return s.linuxImage(ctx, p, ours)
}

// linuxImage returns the image for Linux: a layer that rarely changes, and one with the programs.
func (s *source) linuxImage(ctx context.Context, p platform, programs []file) (v1.Image, error) {
	root, err := s.rootFiles(ctx)
	if err != nil {
		return nil, err
	}
	config := v1.Config{
		User: user, Entrypoint: []string{"/" + programs[0].path}, Labels: s.annotations(),
		Env: []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "ZONEINFO=/usr/share/zoneinfo.zip"},
	}
	// The times of what is always the same do not change with the commit, so that registries and
	// nodes keep the layer.
	return s.newImage(p, config, []layer{{root, time.Unix(0, 0).UTC(), "certificates, time zones and the user"}, {programs, s.date, "the programs"}})
}

// layer is one of an image.
type layer struct {
	files []file
	date  time.Time
	name  string
}

// newImage returns an image of layers.
func (s *source) newImage(p platform, config v1.Config, layers []layer) (v1.Image, error) {
	img, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS: p.os, Architecture: p.arch, Created: v1.Time{Time: s.date},
		RootFS: v1.RootFS{Type: "layers"},
		Config: config,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot configure the image: %w", err)
	}
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, l := range layers {
		layer, err := newLayer(l.files, l.date)
		if err != nil {
			return nil, fmt.Errorf("cannot make the layer of %s: %w", l.name, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: l.date}, CreatedBy: "release image", Comment: l.name}})
		if err != nil {
			return nil, fmt.Errorf("cannot add the layer of %s: %w", l.name, err)
		}
	}
	return annotate(img, s.annotations())
}

// newLayer returns files as a layer. A module compresses it, for what the standard library's makes
// of the same bytes depends on the version of Go.
func newLayer(files []file, date time.Time) (v1.Layer, error) {
	data, err := archive(files, date)
	if err != nil {
		return nil, err
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(compressed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// annotate returns an image with annotations.
func annotate(img v1.Image, annotations map[string]string) (v1.Image, error) {
	return asImage(mutate.Annotations(img, annotations))
}

// asImage returns what mutate has made of an image.
func asImage(made partial.WithRawManifest) (v1.Image, error) {
	img, ok := made.(v1.Image)
	if !ok {
		return nil, fmt.Errorf("an image was made a %T", made)
	}
	return img, nil
}

// annotations returns what the image says of itself.
// https://github.com/opencontainers/image-spec/blob/main/annotations.md
func (s *source) annotations() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "node-termination-operator",
		"org.opencontainers.image.description": "Drains the nodes of EC2 instances that are about to be terminated.",
		"org.opencontainers.image.source":      "https://github.com/nodetermination/operator",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.version,
		"org.opencontainers.image.revision":    s.commit,
		"org.opencontainers.image.created":     s.date.Format(time.RFC3339),
	}
}
