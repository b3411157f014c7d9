// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// heartbeat is the path of an empty file whose time of modification is when the watcher's
// readiness expires: the probe's process needs to know nothing but the path. Empty: there
// is none.
type heartbeat string

// create creates the file with a time long past: nothing was read yet.
func (h heartbeat) create() error {
	if h == "" {
		return nil
	}
	err := os.WriteFile(string(h), nil, 0o600)
	if err == nil {
		err = h.renew(time.Unix(0, 0))
	}
	if err != nil {
		return fmt.Errorf("cannot write the heartbeat: mount a writable volume there: %w", err)
	}
	return nil
}

// renew makes the watcher count as ready until a time.
func (h heartbeat) renew(until time.Time) error {
	if h == "" {
		return nil
	}
	return os.Chtimes(string(h), until, until)
}

// Probe returns an error unless the watcher with this heartbeat file has lately read all
// documents, and stored all that they announce.
func Probe(file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the watcher has not started")
	}
	if err != nil {
		return fmt.Errorf("cannot read the heartbeat: %w", err)
	}
	if time.Now().After(info.ModTime()) {
		return errors.New("the watcher cannot read all of the metadata, or cannot store what it announces: see its log")
	}
	return nil
}
