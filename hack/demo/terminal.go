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

// heading prints a heading.
func (t *terminal) heading(text string) {
	t.printf("\n")
	for _, line := range wrap(text, width) {
		t.printf("%s\n", t.in(bold, line))
	}
	t.printf("\n")
}

// line prints one line of what happens: when, what and the details. These are in the style too if it is
// the good end.
func (t *terminal) line(after time.Duration, s style, what, format string, args ...any) {
	const indent = 23
	details := plain
	if s == strong {
		details = s
	}
	for i, part := range wrap(fmt.Sprintf(format, args...), width-indent) {
		if i == 0 {
			t.printf("  %6.1f s  %s  %s\n", after.Seconds(), t.in(s, fmt.Sprintf("%-9s", what)), t.in(details, part))
		} else {
			t.printf("%*s%s\n", indent, "", t.in(details, part))
		}
	}
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

// width is how many columns everything has room in.
const width = 80

// wrap breaks text between words into lines of at most so many columns.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > columns {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// shell returns a command as it is pasted into a shell, continued on further lines where it would be too
// wide. Its parts stay whole if there is room for them in a line.
func shell(parts ...string) string {
	const columns = width - 8 // the indentation, the prompt and the backslash need room
	var lines []string
	for _, part := range parts {
		last := len(lines) - 1
		if last >= 0 && len(lines[last])+1+len(part) <= columns {
			lines[last] += " " + part
		} else {
			lines = append(lines, wrap(part, columns)...)
		}
	}
	return strings.Join(lines, " \\\n    ")
}
