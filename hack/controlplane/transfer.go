package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// patience is how long it takes to decide that a download does not work.
var patience = 5 * time.Second

// errTooSlow is why a download was given up.
var errTooSlow = errors.New("too slow or stalled")

// largest is more than any of the binaries has. Whoever sends more than that sends something else.
const largest = 512 << 20

// transfer is the download of one file.
type transfer struct {
	client *http.Client
	url    string
	path   string
	sum    string // SHA-256
	slow   int64  // bytes: with less than this in most of patience it is given up

	size     atomic.Int64 // of the file, as the server says; 0 if that is not known yet
	have     atomic.Int64 // how much of it is in path
	received atomic.Int64 // in this process
	err      error        // how it ended
}

// run downloads the file, unless it is there, and returns nil when it has the checksum.
func (t *transfer) run(ctx context.Context) error {
	if t.sum == "" {
		return errors.New("no checksum known for this version on linux/" + runtime.GOARCH)
	}
	if whole, err := hasChecksum(t.path, t.sum); whole || err != nil {
		return err
	}
	for range 2 {
		resumed, err := t.fetch(ctx)
		if err != nil {
			return err
		}
		whole, err := hasChecksum(t.path, t.sum)
		if whole || err != nil {
			return err
		}
		if err := os.Remove(t.path); err != nil {
			return err
		}
		if !resumed {
			break
		}
		// The parts may be of different files: once more, from the beginning.
	}
	return errors.New("wrong checksum")
}

// fetch downloads the rest of the file. It reports whether a part of it had been downloaded before. After a
// cut it goes on where that was, unless nothing came at all: then there is no way to this server.
func (t *transfer) fetch(ctx context.Context) (resumed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := t.watch(cancel)
	defer stop()
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		offset, before := int64(0), t.received.Load()
		if info, err := os.Stat(t.path); err == nil {
			offset = info.Size()
		}
		resumed = resumed || offset > 0
		err := t.attempt(ctx, offset)
		if err == nil {
			return resumed, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return false, cause
		}
		if answer := new(answerError); errors.As(err, &answer) || t.received.Load() == 0 {
			return false, err
		}
		if t.received.Load() > before {
			wait = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// watch cancels the download when it is too slow, at the latest patience after that began.
func (t *transfer) watch(cancel context.CancelCauseFunc) (stop func()) {
	seen := []int64{t.received.Load()}
	return every(patience/5, func() {
		seen = append(seen, t.received.Load())
		if n := len(seen); n > 4 && seen[n-1]-seen[n-5] < t.slow {
			cancel(errTooSlow)
		}
	})
}

// answerError is a server's answer that another try would not change.
type answerError struct{ status string }

// Error implements error.
func (e *answerError) Error() string { return e.status }

// attempt makes one request for what follows offset and writes what comes to the file.
func (t *transfer) attempt(ctx context.Context, offset int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return err
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
	case resp.StatusCode == http.StatusOK:
		offset = 0 // this server knows no ranges
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return os.Truncate(t.path, 0) // it is not a part of this file, as its checksum tells
	default:
		return &answerError{resp.Status}
	}
	if resp.ContentLength >= 0 {
		t.size.Store(offset + resp.ContentLength)
	}
	if t.size.Load() > largest {
		return &answerError{fmt.Sprintf("%s is too much", megabytes(t.size.Load()))}
	}
	file, err := os.OpenFile(t.path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(offset); err != nil {
		return err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	t.have.Store(offset)
	return t.copy(file, resp.Body)
}

// copy writes what comes to the file and counts it.
func (t *transfer) copy(file *os.File, body io.Reader) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := body.Read(buffer)
		if _, err := file.Write(buffer[:n]); err != nil {
			return err
		}
		t.received.Add(int64(n))
		if t.have.Add(int64(n)) > largest {
			return &answerError{"more than " + megabytes(largest)}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
