// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// heading is what a note is about.
type heading int

const (
	todo    heading = iota // what has to be done before the policies work
	differs                // what is different here
	dropped                // what has no counterpart
	same                   // what is so here anyway
	headings
)

var headingTexts = [headings]string{
	todo:    "To do:",
	differs: "Different here:",
	dropped: "No counterpart:",
	same:    "Nothing to do:",
}

// note is one thing that the output does not say.
type note struct{ about, text string }

// notes are what is written to standard error, by heading.
type notes [headings][]note

func (n *notes) add(under heading, about, text string) {
	if added := (note{about, text}); !slices.Contains(n[under], added) {
		n[under] = append(n[under], added)
	}
}

// merge adds the notes of another installation, each once.
func (n *notes) merge(other *notes) {
	for under := range other {
		for _, note := range other[under] {
			n.add(heading(under), note.about, note.text)
		}
	}
}

// print writes the notes; lines of a text after its first are commands.
func (n *notes) print(w io.Writer) error {
	var out strings.Builder
	for under, list := range n {
		if len(list) > 0 {
			fmt.Fprintln(&out, headingTexts[under])
		}
		for _, note := range list {
			fmt.Fprintf(&out, "  %s: %s\n", note.about, strings.ReplaceAll(note.text, "\n", "\n    "))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
