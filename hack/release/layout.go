// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referenceName is the annotation with the tag of an image in a layout.
const referenceName = "org.opencontainers.image.ref.name"

// write writes the bundle as one file: an OCI layout in a tar archive, the same bytes for the same
// bundle. skopeo, crane, podman and containerd read it.
func (b *bundle) write(name string, s *source) (err error) {
	folder, err := os.MkdirTemp("", "layout-")
	if err != nil {
		return fmt.Errorf("cannot write the image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	path, err := layout.Write(folder, empty.Index)
	if err == nil {
		err = path.AppendIndex(b.index, layout.WithAnnotations(map[string]string{referenceName: s.version}))
	}
	for _, sbom := range b.sboms {
		if err == nil {
			err = path.AppendImage(sbom)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the image: %w", err)
	}
	files, err := readFiles(folder)
	if err != nil {
		return err
	}
	data, err := archive(files, s.date)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("cannot write the image: %w", err)
	}
	return nil
}

// readFiles returns the files in a folder in the order of their names.
func readFiles(folder string) ([]file, error) {
	var files []file
	written := os.DirFS(folder)
	err := fs.WalkDir(written, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(written, path)
		files = append(files, file{path, 0o644, data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the image's layout: %w", err)
	}
	return files, nil
}

// read reads what write wrote, with a folder that is needed as long as the bundle is.
func read(name, folder string) (*bundle, error) {
	if err := unpack(name, folder); err != nil {
		return nil, err
	}
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", name, err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", name, err)
	}
	b := &bundle{}
	for _, d := range manifest.Manifests {
		if d.MediaType == types.OCIImageIndex {
			b.index, err = top.ImageIndex(d.Digest)
		} else {
			var sbom v1.Image
			sbom, err = top.Image(d.Digest)
			b.sboms = append(b.sboms, sbom)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if b.index == nil {
		return nil, fmt.Errorf("%s has no image for several platforms: make it with \"make image\"", name)
	}
	return b, nil
}

// unpack unpacks an archive of regular files.
func unpack(name, folder string) (err error) {
	archive, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read the image, make it with \"make image\": %w", err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot read %s: %w", name, err)
		case header.Typeflag != tar.TypeReg:
			continue
		}
		data, err := io.ReadAll(r)
		if err == nil {
			err = root.MkdirAll(filepath.Dir(header.Name), 0o755)
		}
		if err == nil {
			err = root.WriteFile(header.Name, data, header.FileInfo().Mode())
		}
		if err != nil {
			return fmt.Errorf("cannot unpack %s of %s: %w", header.Name, name, err)
		}
	}
}
