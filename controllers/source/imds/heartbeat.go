// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// heartbeat is an empty file whose time of modification is until when the
// watcher counts as well: the probe's process has nothing to know but its path.
// Empty: there is none.
type heartbeat string

// begin makes the file, which says that nothing was heard yet.
func (h heartbeat) begin() error {
	if h == "" {
		return nil
	}
	err := os.WriteFile(string(h), nil, 0o600)
	if err == nil {
		err = h.beat(time.Unix(0, 0))
	}
	if err != nil {
		return fmt.Errorf("cannot write the heartbeat: mount a writable volume there: %w", err)
	}
	return nil
}

// beat says that all is well until a time.
func (h heartbeat) beat(until time.Time) error {
	if h == "" {
		return nil
	}
	return os.Chtimes(string(h), until, until)
}

// Probe is an error unless the watcher with this heartbeat file has lately
// heard all that it listens to, and stored all that it has heard.
func Probe(file string) error {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the watcher has not begun")
	}
	if err != nil {
		return fmt.Errorf("cannot read the heartbeat: %w", err)
	}
	if time.Now().After(info.ModTime()) {
		return errors.New("the watcher cannot hear all of the metadata, or cannot store what it has heard: see its log")
	}
	return nil
}
