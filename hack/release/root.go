// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"time"

	roots "golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is who the programs run as: nonroot, as in the distroless images.
const user = "65532:65532"

// file is one of an image.
type file struct {
	path string // without a leading slash
	mode int64
	data []byte
}

// rootFiles returns what an image has besides its programs: whom to trust, who the user is, and
// time zones.
func (s *source) rootFiles(ctx context.Context) ([]file, error) {
	zones, err := s.timeZones(ctx)
	if err != nil {
		return nil, err
	}
	return []file{
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates()},
		{"usr/share/zoneinfo.zip", 0o644, zones},
	}, nil
}

// certificates returns the certification authorities that Mozilla trusts, as crypto/x509 reads them.
// Those that are trusted only for certificates of some time are left out, as a file cannot say so.
func certificates() []byte {
	var all bytes.Buffer
	for root := range roots.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer does not fail
		}
	}
	return all.Bytes()
}

// archive returns the files as a layer: in this order, root's, of one time.
func archive(files []file, date time.Time) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := addFolders(w, filepath.Dir(f.path), made, date); err != nil {
			return nil, err
		}
		header := tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.data)), ModTime: date, Format: tar.FormatPAX}
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("cannot archive %s: %w", f.path, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("cannot archive %s: %w", f.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("cannot archive: %w", err)
	}
	return layer.Bytes(), nil
}

// addFolders adds a folder after those that it is in.
func addFolders(w *tar.Writer, folder string, made map[string]bool, date time.Time) error {
	if made[folder] {
		return nil
	}
	if err := addFolders(w, filepath.Dir(folder), made, date); err != nil {
		return err
	}
	made[folder] = true
	header := tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: date, Format: tar.FormatPAX}
	if err := w.WriteHeader(&header); err != nil {
		return fmt.Errorf("cannot archive %s: %w", folder, err)
	}
	return nil
}
