// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is a table of results.
type table struct {
	title string
	head  []string
	rows  [][]string
}

// text writes it for a terminal.
func (t *table) text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintf(w, "\n%s\n\n", t.title)
	for _, row := range append([][]string{t.head}, t.rows...) {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush() // fails if anything went wrong before
}

// markdown writes it for a page.
func (t *table) markdown(out io.Writer) {
	_, _ = fmt.Fprintf(out, "%s:\n\n", t.title)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = "---"
	}
	for _, row := range append([][]string{t.head, rule}, t.rows...) {
		_, _ = fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	_, _ = fmt.Fprintln(out)
}

// mostFirst returns the kinds of requests, the most frequent first.
func mostFirst(kinds map[string]int) []string {
	return slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a, b))
	})
}

func megabytes(bytes int64) string {
	if bytes == 0 {
		return "–" // it was not measured yet at that time
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
}
