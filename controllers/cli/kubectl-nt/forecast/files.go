// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extensions are those of the files that are read from a folder, as by kubectl.
var extensions = []string{".json", ".yaml", ".yml"}

// readFiles adds the objects in files and folders to a snapshot; "-" is the standard input.
func (s *snapshot) readFiles(names []string, stdin io.Reader) error {
	for _, name := range names {
		switch {
		case name == "-":
			if err := s.read(stdin, "standard input"); err != nil {
				return err
			}
			continue
		case strings.Contains(name, "://"):
			return fmt.Errorf("-f %s: save it to a file first and give its name", name)
		}
		files, err := filesIn(name)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := s.readFile(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// filesIn returns the file of that name, or those in the folder of that name.
func filesIn(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("-f: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, fmt.Errorf("-f: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && slices.Contains(extensions, filepath.Ext(entry.Name())) {
			files = append(files, filepath.Join(name, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("-f %s: no file in this folder ends in .json, .yaml or .yml", name)
	}
	return files, nil
}

// readFile adds the objects in a file.
func (s *snapshot) readFile(name string) error {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return fmt.Errorf("-f: %w", err)
	}
	err = s.read(file, name)
	return errors.Join(err, file.Close())
}

// read adds the objects that a reader has, as JSON or YAML. It holds one at a time.
func (s *snapshot) read(r io.Reader, name string) error {
	in := bufio.NewReaderSize(r, 1<<16)
	start, err := in.Peek(3)
	switch {
	case len(start) == 0 && errors.Is(err, io.EOF):
		return fmt.Errorf("%s is empty: write to it what \"kubectl get pods --all-namespaces -o json\" prints", name)
	case len(start) == 0:
		return fmt.Errorf("cannot read %s: %w", name, err)
	case bytes.HasPrefix(start, []byte{0xff, 0xfe}), bytes.HasPrefix(start, []byte{0xfe, 0xff}):
		return fmt.Errorf("%s is UTF-16, as PowerShell writes: save it as UTF-8", name)
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		return fmt.Errorf("%s is compressed: give what \"gunzip -c %s\" prints to -f -", name, name)
	case bytes.Equal(start, []byte{0xef, 0xbb, 0xbf}):
		_, _ = in.Discard(3)
	}
	first, err := firstByte(in)
	if err != nil {
		return fmt.Errorf("%s has no object: %w", name, err)
	}
	if first == '{' || first == '[' {
		return s.readJSON(in, name)
	}
	return s.readYAML(in, name)
}

// firstByte returns the first byte that is no space, without reading it.
func firstByte(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		switch {
		case err != nil:
			return 0, err
		case !bytes.ContainsRune([]byte(" \t\r\n"), rune(b)):
			return b, in.UnreadByte()
		}
	}
}
