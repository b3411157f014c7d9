// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

const (
	// pagePath is the page that has the results, between two marks; the rest of it is written by people.
	pagePath  = "docs/performance.md"
	beginMark = "<!-- measured: \"make performance\" writes what follows -->\n"
	endMark   = "<!-- end of measured -->\n"
)

// writePage writes the results in a file into the page.
func writePage(path string) error {
	r, err := loadResults(path)
	if err != nil {
		return err
	}
	root, err := operator.Root()
	if err != nil {
		return err
	}
	path = filepath.Join(root, pagePath)
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if page, err = insert(page, measuredPart(r)); err != nil {
		return err
	}
	return os.WriteFile(path, page, 0o644)
}

// insert puts text between the page's marks.
func insert(page, text []byte) ([]byte, error) {
	before, rest, begins := bytes.Cut(page, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return nil, fmt.Errorf("%s lacks the lines between which the results go: %s%s", pagePath, beginMark, endMark)
	}
	return slices.Concat(before, []byte(beginMark), text, []byte(endMark), after), nil
}

// measuredPart returns the results as Markdown.
func measuredPart(r *results) []byte {
	var page bytes.Buffer
	m := r.Machine
	fmt.Fprintf(&page, "\nMeasured on %d × %s with %s of memory, Linux %s, %s. Everything ran on this one machine: API server,\n"+
		"etcd, controllers, kwok for the kubelets, the simulated AWS, and the operator.\n\n",
		m.CPUs, m.CPU, fmt.Sprintf("%.0f GB", float64(m.Memory)/(1<<30)), m.Linux, m.Go)
	for _, b := range slices.Backward(benches) {
		when, measured := r.Measured[b.name]
		if !measured {
			continue
		}
		about := strings.ToUpper(b.about[:1]) + b.about[1:]
		fmt.Fprintf(&page, "### %s\n\n`make bench BENCH=%s`, %s", about, b.name, when.Time.Format(time.DateOnly))
		if when.Commit != "" {
			fmt.Fprintf(&page, ", commit %s", when.Commit)
		}
		fmt.Fprint(&page, "\n\n")
		if b.name == "drain" {
			fmt.Fprint(&page, "![Share of nodes cordoned and of pods evicted over time](performance.svg)\n\n")
		}
		for _, t := range b.tables(r) {
			t.markdown(&page)
		}
	}
	return page.Bytes()
}
