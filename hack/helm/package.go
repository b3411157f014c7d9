// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// chartName is the chart's in Chart.yaml, and the folder in its archive.
const chartName = "node-termination-operator"

// releaseOptions are what an archive is made of beside the chart.
type releaseOptions struct {
	// version has a leading v, as the image's tag has.
	version string
	// image is by digest: registry/repository@sha256:...
	image string
	// dist is where the archive is written.
	dist string
}

var (
	versions = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z][0-9A-Za-z.-]*)?$`)
	images   = regexp.MustCompile(`^([^@\s]+)@(sha256:[0-9a-f]{64})$`)
)

// pack writes the chart's archive of a release and returns its path. From the same files it is the
// same, byte by byte.
func pack(root string, r releaseOptions) (string, error) {
	if !versions.MatchString(r.version) {
		return "", fmt.Errorf("--version=%s: write it like v0.1.0 or v0.1.0-rc.1", r.version)
	}
	image := images.FindStringSubmatch(r.image)
	if image == nil {
		return "", fmt.Errorf("--image=%s: write it by its digest, like registry.example.com/%s@sha256:<64 digits>", r.image, chartName)
	}
	// What is different from the files of the repository.
	replaced := map[string][][2]string{
		"Chart.yaml": {
			{"\nversion: 0.0.0\n", "\nversion: " + r.version[1:] + "\n"},
			{"\nappVersion: latest\n", "\nappVersion: " + r.version + "\n"},
		},
		"values.yaml": {
			{"\n  repository: " + chartName + "\n", "\n  repository: " + image[1] + "\n"},
			{"\n  digest: \"\"\n", "\n  digest: " + image[2] + "\n"},
		},
	}
	if err := os.MkdirAll(r.dist, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(r.dist, chartName+"-"+r.version[1:]+".tgz")
	file, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	compressed, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	if err != nil {
		return "", errors.Join(err, file.Close())
	}
	err = writeChart(tar.NewWriter(compressed), os.DirFS(filepath.Join(root, chartFolder)), replaced)
	return archive, errors.Join(err, compressed.Close(), file.Close())
}

// writeChart writes a chart's files in the order of their paths, without owners and times. Helm
// reads Chart.yaml wherever it is.
func writeChart(archive *tar.Writer, chart fs.FS, replaced map[string][][2]string) error {
	err := fs.WalkDir(chart, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(chart, name)
		if err != nil {
			return err
		}
		text := string(content)
		for _, r := range replaced[name] {
			if strings.Count(text, r[0]) != 1 {
				return fmt.Errorf("%s/%s: the release replaces the line %q, which has to be there once", chartFolder, name, strings.TrimSpace(r[0]))
			}
			text = strings.Replace(text, r[0], r[1], 1)
		}
		header := &tar.Header{
			Name: path.Join(chartName, name), Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write([]byte(text))
		return err
	})
	return errors.Join(err, archive.Close())
}
