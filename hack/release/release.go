// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
)

// asset is a file of a release.
type asset struct {
	name string
	data []byte
}

// release writes all that users install into dist, the same bytes for the same commit.
func release(ctx context.Context, o *options, stdout io.Writer) error {
	if o.version == "" {
		return errors.New("--version: write the release's, such as v0.1.0: make release VERSION=v0.1.0")
	}
	tag, err := parseTag(o.image)
	if err != nil {
		return err
	}
	s, err := newSource(ctx, o.root, o.version)
	if err != nil {
		return err
	}
	notes, err := s.notes() // before minutes are spent on the rest
	if err != nil {
		return err
	}
	if err := makeEmpty(o.dist); err != nil {
		return err
	}
	b, err := s.bundle(ctx)
	if err != nil {
		return err
	}
	if err := b.write(filepath.Join(o.dist, imageFile), s); err != nil {
		return err
	}
	assets, err := s.assets(ctx, tag, b)
	if err != nil {
		return err
	}
	assets = append(assets, asset{"release-notes.md", notes})
	for _, a := range assets {
		if err := os.WriteFile(filepath.Join(o.dist, a.name), a.data, 0o644); err != nil {
			return fmt.Errorf("cannot write the release: %w", err)
		}
	}
	if err := writeChecksums(o.dist); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "%s: version %s, commit %s\n", o.dist, s.version, s.commit)
	return nil
}

// assets returns the files of a release besides its image.
func (s *source) assets(ctx context.Context, tag name.Tag, b *bundle) ([]asset, error) {
	digest, err := b.index.Digest()
	if err != nil {
		return nil, fmt.Errorf("cannot compute the digest of the image: %w", err)
	}
	install, err := s.render("config/default", tag, digest)
	if err != nil {
		return nil, err
	}
	crds, err := s.render("config/crd", tag, digest)
	if err != nil {
		return nil, err
	}
	chart, err := s.chart(ctx, tag, digest)
	if err != nil {
		return nil, err
	}
	sboms, err := b.sbomFiles()
	if err != nil {
		return nil, err
	}
	image := fmt.Sprintf("%s@%s\n", tag.Name(), digest)
	return append(sboms, chart, asset{"install.yaml", install}, asset{"crds.yaml", crds}, asset{"image.txt", []byte(image)}), nil
}

// sbomFiles returns the lists of what is in the image, one a platform.
func (b *bundle) sbomFiles() ([]asset, error) {
	var files []asset
	for i, p := range platforms {
		layers, err := b.sboms[i].Layers()
		if err != nil {
			return nil, fmt.Errorf("cannot read the list of modules for %s: %w", p, err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			return nil, fmt.Errorf("cannot read the list of modules for %s: %w", p, err)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			return nil, fmt.Errorf("cannot read the list of modules for %s: %w", p, err)
		}
		files = append(files, asset{fmt.Sprintf("sbom-%s-%s.cdx.json", p.os, p.arch), data})
	}
	return files, nil
}

// makeEmpty makes a folder that has nothing in it: what an earlier run left would be released too. It
// removes nothing, as it does not know whose it is.
func makeEmpty(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of --dist: %w", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("cannot read the folder of --dist: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("--dist %s: empty it first, it has %s", folder, entries[0].Name())
	}
	return nil
}

// writeChecksums writes the SHA-256 of every file in dist, as "sha256sum --check" reads them.
func writeChecksums(dist string) error {
	entries, err := os.ReadDir(dist) // in the order of their names
	if err != nil {
		return fmt.Errorf("cannot compute checksums: %w", err)
	}
	var sums bytes.Buffer
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dist, entry.Name()))
		if err != nil {
			return fmt.Errorf("cannot compute checksums: %w", err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), entry.Name())
	}
	if err := os.WriteFile(filepath.Join(dist, "checksums.txt"), sums.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the checksums: %w", err)
	}
	return nil
}
