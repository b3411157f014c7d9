package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is a server with all binaries, which answers as the test wants.
type mirror struct {
	*httptest.Server
	contents map[string][]byte // by the binary's name
	answers  map[string]answer // the same; those without one are served

	mu       sync.Mutex
	requests map[string][]string // their Range headers
}

// answer writes what the nth request for a file gets.
type answer func(w http.ResponseWriter, r *http.Request, n int, content []byte)

// newMirror starts a server and has this test's downloads come from it, into a new directory, which it
// returns. What is not downloaded is built by a go command that only says so.
func newMirror(t *testing.T) (m *mirror, dir string) {
	t.Helper()
	m = &mirror{contents: map[string][]byte{}, answers: map[string]answer{}, requests: map[string][]string{}}
	var sums strings.Builder
	for _, b := range binaries {
		content := bytes.Repeat([]byte("downloaded "+b.name+"\n"), 100_000)
		if strings.HasSuffix(b.release, ".tar.gz") {
			content = archive(t, b.name, content)
		}
		m.contents[b.name] = content
		fmt.Fprintf(&sums, "%s %s linux/%s %x\n", b.name, b.version(), runtime.GOARCH, sha256.Sum256(content))
	}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	t.Cleanup(m.CloseClientConnections) // before Close, which waits for them

	replace(t, &checksums, sums.String())
	replace(t, &patience, time.Minute) // this machine may be busy
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("KUBEBUILDER_ASSETS", "")
	t.Setenv("CONTROLPLANE", "")
	t.Setenv("CONTROLPLANE_MIRROR", m.URL+"/released")
	fakeGo(t)
	return m, filepath.Join(data, "kubebuilder-envtest", "k8s", strings.TrimPrefix(kubernetesVersion(binaries), "v")+"-linux-"+runtime.GOARCH)
}

// ServeHTTP answers a request for a binary.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, b := range binaries {
		if r.URL.Path != strings.TrimPrefix(b.url(runtime.GOARCH, m.URL+"/released"), m.URL) {
			continue
		}
		m.mu.Lock()
		n := len(m.requests[b.name])
		m.requests[b.name] = append(m.requests[b.name], r.Header.Get("Range"))
		m.mu.Unlock()
		if answer := m.answers[b.name]; answer != nil {
			answer(w, r, n, m.contents[b.name])
		} else {
			serve(w, r, n, m.contents[b.name])
		}
		return
	}
	http.NotFound(w, r)
}

// replace sets a variable for the length of a test.
func replace[T any](t *testing.T, variable *T, value T) {
	old := *variable
	*variable = value
	t.Cleanup(func() { *variable = old })
}

// archive returns a .tar.gz as etcd's project publishes it.
func archive(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	compressed := gzip.NewWriter(&buffer)
	files := tar.NewWriter(compressed)
	for _, file := range []string{"README.md", "etcdctl", name} {
		header := &tar.Header{Name: "release/" + file, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := files.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// fakeGo puts a go command first in PATH that builds nothing, but writes what it is called with to a file,
// whose name it returns. Its builds wait until modules are downloaded.
func fakeGo(t *testing.T) (log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	script := `#!/bin/sh
echo "$*" >>` + log + `
if [ "$1" = mod ]; then exit 0; fi
for i in $(seq 100); do
  if grep -q "^mod download" ` + log + `; then break; fi
  if [ $i = 100 ]; then echo "modules are not downloaded meanwhile" >&2; exit 1; fi
  sleep 0.1
done
while [ "$1" != -o ]; do shift; done
echo example.com/package >&2
echo built >"$2"
chmod +x "$2"
`
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return log
}

// watchProgress returns what is printed for people during the test.
func watchProgress(t *testing.T) *safeBuffer {
	buffer := &safeBuffer{}
	replace[io.Writer](t, &progressTo, buffer)
	return buffer
}

type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// serve sends what is asked for.
func serve(w http.ResponseWriter, r *http.Request, _ int, content []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// half sends the first half and whatever then does.
func half(then func(w http.ResponseWriter, r *http.Request)) answer {
	return func(w http.ResponseWriter, r *http.Request, _ int, content []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		w.(http.Flusher).Flush()
		then(w, r)
	}
}

// cut ends a connection in the middle.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// stall sends nothing more.
func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestDownload(t *testing.T) {
	for name, tt := range map[string]struct {
		answer answer
		built  string   // why; "" if it is downloaded all the same
		ranges []string // of the requests; "half" stands for the second half
	}{
		"served": {answer: serve, ranges: []string{""}},
		"cut, then the rest": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				[]answer{half(cut), serve}[n](w, r, n, content)
			},
			ranges: []string{"", "half"},
		},
		"cut, and no ranges": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				r.Header.Del("Range")
				[]answer{half(cut), serve}[n](w, r, n, content)
			},
			ranges: []string{"", "half"},
		},
		"cut, then the rest of something else, then served": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				if n == 1 {
					content = bytes.ToUpper(content)
				}
				[]answer{half(cut), serve, serve}[n](w, r, n, content)
			},
			ranges: []string{"", "half", ""},
		},
		"cut, then never again": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				if n > 0 {
					cut(w, r)
				}
				half(cut)(w, r, n, content)
			},
			built: errTooSlow.Error(),
		},
		"stalls":        {answer: half(stall), built: errTooSlow.Error(), ranges: []string{""}},
		"never answers": {answer: func(w http.ResponseWriter, r *http.Request, _ int, _ []byte) { stall(w, r) }, built: errTooSlow.Error(), ranges: []string{""}},
		"trickles": {
			answer: half(func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					_, _ = w.Write([]byte("x"))
					w.(http.Flusher).Flush()
					time.Sleep(10 * time.Millisecond)
				}
			}),
			built: errTooSlow.Error(), ranges: []string{""},
		},
		"truncates": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) { serve(w, r, n, content[:1000]) },
			built:  "wrong checksum", ranges: []string{""},
		},
		"lies": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				serve(w, r, n, bytes.ToUpper(content))
			},
			built: "wrong checksum", ranges: []string{""},
		},
		"cuts and lies": {
			answer: func(w http.ResponseWriter, r *http.Request, n int, content []byte) {
				content = bytes.ToUpper(content)
				[]answer{half(cut), serve, half(cut), serve}[n](w, r, n, content)
			},
			built: "wrong checksum", ranges: []string{"", "half", "", "half"},
		},
		"sends far too much": {
			answer: func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) {
				w.Header().Set("Content-Length", "1000000000000")
			},
			built: "1000000 MB is too much", ranges: []string{""},
		},
		"refuses": {
			answer: func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) { http.Error(w, "", http.StatusForbidden) },
			built:  "403 Forbidden", ranges: []string{""},
		},
		"closes": {
			answer: func(w http.ResponseWriter, r *http.Request, _ int, _ []byte) { cut(w, r) },
			built:  "EOF",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, want := newMirror(t)
			m.answers["kube-apiserver"] = tt.answer
			if tt.built == errTooSlow.Error() {
				replace(t, &patience, 500*time.Millisecond)
				for _, b := range binaries[2:] { // lest they are too slow as well
					leave(t, want, b, m.contents[b.name])
				}
				leave(t, want, binaries[0], m.contents["etcd"])
			}
			output := watchProgress(t)
			dir, err := ensureAssets(t.Context(), binaries)
			if err != nil || dir != want {
				t.Fatalf("got %q, %v, want %q\n%s", dir, err, want, output)
			}
			for _, b := range binaries {
				got, err := os.ReadFile(filepath.Join(dir, b.name))
				if err != nil {
					t.Fatal(err)
				}
				built := b.name == "kube-apiserver" && tt.built != ""
				if built && string(got) != "built\n" || !built && !strings.HasPrefix(string(got), "downloaded "+b.name+"\n") {
					t.Errorf("%s is %.40q, want it built: %v\n%s", b.name, got, built, output)
				}
			}
			line := "controlplane: not to be had, so built: kube-apiserver ("
			if tt.built == "" && strings.Contains(output.String(), line) ||
				tt.built != "" && !strings.Contains(output.String(), line+tt.built+")\n") {
				t.Errorf("want the reason %q for a build:\n%s", tt.built, output)
			}
			if tt.ranges != nil {
				for i, r := range tt.ranges {
					tt.ranges[i] = strings.Replace(r, "half", fmt.Sprintf("bytes=%d-", len(m.contents["kube-apiserver"])/2), 1)
				}
				if got := m.requests["kube-apiserver"]; !slices.Equal(got, tt.ranges) {
					t.Errorf("got requests for the ranges %q, want %q", got, tt.ranges)
				}
			}
			onlyBinaries(t, dir)
		})
	}
}

// leave writes what an earlier process has downloaded of a binary.
func leave(t *testing.T, dir string, b binary, content []byte) {
	t.Helper()
	dir = filepath.Join(dir, "controlplane-downloads")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, b.name+"-"+b.version()), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// onlyBinaries checks that nothing else is left in a directory.
func onlyBinaries(t *testing.T, dir string) {
	t.Helper()
	want := []string{"controlplane-lock", stampFile}
	for _, b := range binaries {
		want = append(want, b.name)
	}
	slices.Sort(want)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

// Where nothing can be had, that is decided at once and said in one line.
func TestNoRoute(t *testing.T) {
	m, _ := newMirror(t)
	m.Close()
	output := watchProgress(t)
	dir, err := ensureAssets(t.Context(), binaries)
	if err != nil {
		t.Fatal(err)
	}
	line := "not to be had, so built: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, kubectl (dial tcp "
	if strings.Count(output.String(), line) != 1 {
		t.Errorf("want one line with %q:\n%s", line, output)
	}
	onlyBinaries(t, dir)
}

func TestOrigin(t *testing.T) {
	for name, tt := range map[string]struct {
		controlplane, mirror string // "": the test's
		lies                 bool
		err                  string
		built                int
		requests             int
	}{
		"either":         {requests: 6},
		"download":       {controlplane: "download", requests: 6},
		"build":          {controlplane: "build", built: 6},
		"no download":    {controlplane: "download", lies: true, err: "kwok (wrong checksum). Unset CONTROLPLANE", requests: 6},
		"unknown":        {controlplane: "maybe", err: "CONTROLPLANE=maybe: set it to download or build"},
		"no mirror":      {mirror: "mirror.example.com", err: "CONTROLPLANE_MIRROR=mirror.example.com: set it to a URL such as https://"},
		"mirror by file": {mirror: "file:///mirror", err: "set it to a URL such as https://"},
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := newMirror(t)
			log := fakeGo(t)
			watchProgress(t)
			t.Setenv("CONTROLPLANE", tt.controlplane)
			if tt.mirror != "" {
				t.Setenv("CONTROLPLANE_MIRROR", tt.mirror)
			}
			if tt.lies {
				m.answers["kwok"] = func(w http.ResponseWriter, _ *http.Request, _ int, _ []byte) { _, _ = io.WriteString(w, "lie") }
			}
			_, err := ensureAssets(t.Context(), binaries)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			if tt.err != "" && len(missingBinaries(dir, binaries)) != len(binaries) {
				t.Error("some binaries were installed")
			}
			calls, _ := os.ReadFile(log)
			if got := strings.Count(string(calls), "build -v"); got != tt.built {
				t.Errorf("%d were built, want %d", got, tt.built)
			}
			if got := len(m.requests); got != tt.requests {
				t.Errorf("%d were requested, want %d", got, tt.requests)
			}
		})
	}
}

// What an earlier process left is used if it is a part of the file.
func TestDownloadGoesOn(t *testing.T) {
	m, dir := newMirror(t)
	content := m.contents["kwok"]
	for name, tt := range map[string]struct {
		left   []byte
		ranges []string
	}{
		"a part":              {content[:1000], []string{"bytes=1000-"}},
		"all":                 {content, nil},
		"something else":      {[]byte("something else"), []string{"bytes=14-", ""}},
		"more than there is":  {append(slices.Clone(content), 'x'), []string{fmt.Sprintf("bytes=%d-", len(content)+1), ""}},
		"as much, and wrong ": {bytes.ToUpper(content), []string{fmt.Sprintf("bytes=%d-", len(content)), ""}},
	} {
		t.Run(name, func(t *testing.T) {
			watchProgress(t)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			leave(t, dir, binaries[4], tt.left)
			m.requests = map[string][]string{}
			t.Setenv("CONTROLPLANE", "download")
			if _, err := ensureAssets(t.Context(), binaries); err != nil {
				t.Fatal(err)
			}
			if got := m.requests["kwok"]; !slices.Equal(got, tt.ranges) {
				t.Errorf("got requests for the ranges %q, want %q", got, tt.ranges)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "kwok")); !bytes.Equal(got, content) || err != nil {
				t.Errorf("got %.40q, %v", got, err)
			}
		})
	}
}

// Interrupted, it installs nothing and keeps what it has.
func TestInterruptedDownload(t *testing.T) {
	m, dir := newMirror(t)
	watchProgress(t)
	ctx, interrupt := context.WithCancel(t.Context())
	m.answers["kwok"] = half(func(w http.ResponseWriter, r *http.Request) {
		part := filepath.Join(dir, "controlplane-downloads", "kwok-"+binaries[4].version())
		for info, err := os.Stat(part); r.Context().Err() == nil && (err != nil || info.Size() == 0); info, err = os.Stat(part) {
			time.Sleep(time.Millisecond)
		}
		interrupt()
		stall(w, r)
	})
	if _, err := ensureAssets(ctx, binaries); err == nil || !strings.Contains(err.Error(), "kept for the next time") {
		t.Errorf("got error %v", err)
	}
	if missing := missingBinaries(dir, binaries); len(missing) != len(binaries) {
		t.Errorf("of all binaries only %q are missing", missing)
	}
	delete(m.answers, "kwok")
	if _, err := ensureAssets(t.Context(), binaries); err != nil {
		t.Fatal(err)
	}
	if got := m.requests["kwok"]; len(got) != 2 || got[1] == "" {
		t.Errorf("got requests for the ranges %q, want one for the rest", got)
	}
}

// Of two at once, one waits for the other.
func TestTwoAtOnce(t *testing.T) {
	m, _ := newMirror(t)
	watchProgress(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := ensureAssets(t.Context(), binaries); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range binaries {
		if got := len(m.requests[b.name]); got != 1 {
			t.Errorf("%s was requested %d times", b.name, got)
		}
	}
}

// A version that is changed in go.mod without its checksums would be built for ever.
func TestEveryBinaryHasChecksums(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range binaries {
		for _, arch := range []string{"amd64", "arm64"} {
			sum := b.checksum(arch)
			if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
				t.Errorf("checksums.txt has no SHA-256 of %s %s linux/%s, but %q", b.name, b.version(), arch, sum)
			}
			if seen[sum] {
				t.Errorf("checksums.txt has %s twice", sum)
			}
			seen[sum] = true
			if url := b.url(arch, ""); path.Base(url) == "" || strings.Contains(url, "VERSION") || strings.Contains(url, "ARCH") {
				t.Errorf("%s: a strange address: %s", b.name, url)
			}
		}
	}
}
