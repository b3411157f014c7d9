package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// checksums are of what may be run: nothing is that has another one.
//
//go:embed checksums.txt
var checksums string

// checksum returns the SHA-256 of what is downloaded for a binary, or "" if none is known.
func (b binary) checksum(arch string) string {
	for line := range strings.Lines(checksums) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == b.name && f[1] == b.version() && f[2] == "linux/"+arch {
			return f[3]
		}
	}
	return ""
}

// url returns where a binary is downloaded from. In a mirror each upstream is a folder named after its host.
func (b binary) url(arch, mirror string) string {
	released := strings.NewReplacer("VERSION", b.version(), "ARCH", arch).Replace(b.release)
	if mirror == "" {
		return released
	}
	return strings.TrimSuffix(mirror, "/") + "/" + strings.TrimPrefix(released, "https://")
}

// mirrorFromEnv returns what the environment variable CONTROLPLANE_MIRROR asks for.
func mirrorFromEnv() (string, error) {
	mirror := os.Getenv("CONTROLPLANE_MIRROR")
	u, err := url.Parse(mirror)
	if mirror != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("CONTROLPLANE_MIRROR=%s: set it to a URL such as https://mirror.example.com/releases, under which dl.k8s.io/ and github.com/ are found, or unset it", mirror)
	}
	return mirror, nil
}

// download downloads all binaries side by side into dir, each of which with the right checksum it moves
// to target, and returns those that have to be built. dir keeps what is not complete for the next time.
func download(ctx context.Context, dir, target string, from origin, binaries []binary) (missing []binary, err error) {
	mirror, err := mirrorFromEnv()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// A download that is slower takes longer than a build. If there is to be none it only must not stall.
	slow := int64(256 << 10)
	if from == downloadOrigin {
		slow = 1
	}
	start := time.Now()
	client := newClient()
	transfers := make([]*transfer, len(binaries))
	var wg sync.WaitGroup
	for i, b := range binaries {
		t := &transfer{
			client: client,
			url:    b.url(runtime.GOARCH, mirror),
			path:   filepath.Join(dir, b.name+"-"+b.version()),
			sum:    b.checksum(runtime.GOARCH),
			slow:   slow,
		}
		transfers[i] = t
		wg.Go(func() {
			if t.err = t.run(ctx); t.err == nil {
				t.err = unpack(t.path, filepath.Join(target, b.name))
			}
			if t.err == nil {
				progress("%s %s: downloaded, %s in %.0f s", b.name, b.version(), megabytes(t.received.Load()), time.Since(start).Seconds())
			}
		})
	}
	stop := every(reportEvery, func() { progress("downloading: %s", summary(transfers, time.Since(start))) })
	wg.Wait()
	stop()
	if ctx.Err() != nil {
		return nil, errors.New("interrupted; what is downloaded is kept for the next time")
	}
	var reasons []string
	for i, t := range transfers {
		if t.err != nil {
			missing = append(missing, binaries[i])
			reasons = append(reasons, reason(t.err))
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	why := inOneLine(missing, reasons)
	if from == downloadOrigin {
		return nil, fmt.Errorf("CONTROLPLANE=download, but not to be had: %s. Unset CONTROLPLANE to build what cannot be downloaded, or set CONTROLPLANE_MIRROR to the URL of a mirror", why)
	}
	progress("not to be had, so built: %s", why)
	return missing, nil
}

// reason returns what an error says without the URL, which differs from binary to binary.
func reason(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return err.Error()
}

// inOneLine returns which binaries are missing, and for each reason once which it is of.
func inOneLine(missing []binary, reasons []string) string {
	var order []string
	names := map[string][]string{}
	for i, b := range missing {
		if names[reasons[i]] == nil {
			order = append(order, reasons[i])
		}
		names[reasons[i]] = append(names[reasons[i]], b.name)
	}
	for i, why := range order {
		order[i] = strings.Join(names[why], ", ") + " (" + why + ")"
	}
	return strings.Join(order, "; ")
}

// summary returns how far all downloads are, for people.
func summary(transfers []*transfer, elapsed time.Duration) string {
	var have, size, received int64
	for _, t := range transfers {
		have += t.have.Load()
		size += max(t.size.Load(), t.have.Load())
		received += t.received.Load()
	}
	s := fmt.Sprintf("%s of %s", megabytes(have), megabytes(size))
	if rate := float64(received) / elapsed.Seconds(); rate > 0 {
		s += fmt.Sprintf(", %.0f s left", float64(size-have)/rate)
	}
	return s
}

// megabytes returns a number of bytes, for people.
func megabytes(bytes int64) string { return fmt.Sprintf("%d MB", (bytes+500_000)/1_000_000) }

// plural returns a number of things, for people.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// newClient returns a client that uses the proxy of the environment. The checksums are of the bytes that are
// sent, so nothing is to be decompressed.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true}}
}

// hasChecksum reports whether a file is there and has the SHA-256.
func hasChecksum(path, sum string) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)) == sum, err
}

// unpack makes target the program that was downloaded, or that of this name in the archive that was. The
// download stays where it is, for the case that the others are never complete.
func unpack(path, target string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	archive, err := gzip.NewReader(file)
	if err != nil { // not an archive
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
		return os.Link(path, target)
	}
	for content := tar.NewReader(archive); ; {
		header, err := content.Next()
		if err != nil {
			return fmt.Errorf("looking for %s in the archive: %w", filepath.Base(target), err)
		}
		if header.Typeflag != tar.TypeReg || filepath.Base(header.Name) != filepath.Base(target) {
			continue
		}
		program, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
		if err != nil {
			return err
		}
		if _, err = io.CopyN(program, content, header.Size); err != nil {
			_ = os.Remove(target) // go build does not overwrite what is no program
		}
		return errors.Join(err, program.Close())
	}
}
