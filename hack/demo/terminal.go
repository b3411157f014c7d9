// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// style is an SGR code of a terminal.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
	strong style = "1;32" // the good end
)

// terminal is where the demo is shown. Colour only emphasises the words and is omitted where
// nobody would see it. https://no-color.org
type terminal struct {
	w     io.Writer
	color bool
}

func newTerminal(file *os.File) *terminal {
	info, err := file.Stat()
	isTerminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &terminal{w: file, color: isTerminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (t *terminal) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(t.w, format, args...) // if nobody reads it, nothing is lost
}

// in returns the text in a style.
func (t *terminal) in(s style, text string) string {
	if !t.color || s == plain {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (t *terminal) heading(text string) { t.printf("\n%s\n\n", t.in(bold, text)) }

// line prints one line of what happens: when, what and the details.
func (t *terminal) line(after time.Duration, s style, what, format string, args ...any) {
	t.printf("  %6.1f s  %s  %s\n", after.Seconds(), t.in(s, fmt.Sprintf("%-9s", what)), fmt.Sprintf(format, args...))
}

// command shows a command that is run, which may have several lines, and what it printed.
func (t *terminal) command(command, output string) {
	for i, line := range strings.Split(command, "\n") {
		prompt := "$ "
		if i > 0 {
			prompt = ""
		}
		t.printf("  %s\n", t.in(bold, prompt+line))
	}
	for line := range strings.Lines(output) {
		t.printf("%s\n", strings.TrimRight("  "+line, " \n"))
	}
}
