// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	nodeObject = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"},"status":{"nodeInfo":{}}}`
	podObject  = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"a","containers":[]}}`
	bareNode   = `{"metadata":{"name":"a"},"status":{"nodeInfo":{}}}`
	barePod    = `{"metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"a","containers":[]}}`
)

func TestFormats(t *testing.T) {
	for name, text := range map[string]string{
		"objects":                  nodeObject + podObject,
		"lines":                    nodeObject + "\n" + podObject + "\n",
		"a list":                   `{"apiVersion":"v1","kind":"List","items":[` + nodeObject + `,` + podObject + `]}`,
		"its kind last":            `{"apiVersion":"v1","items":[` + nodeObject + `,` + podObject + `],"kind":"List","metadata":{}}`,
		"lists of a kind":          `{"kind":"NodeList","apiVersion":"v1","items":[` + bareNode + `]}{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` + barePod + `]}`,
		"the kind after the items": `{"items":[` + bareNode + `],"kind":"NodeList"}{"items":[` + barePod + `],"kind":"PodList"}`,
		"an array":                 `[` + nodeObject + `,` + podObject + `]`,
		"a list in a list":         `{"kind":"List","items":[{"kind":"NodeList","apiVersion":"v1","items":[` + bareNode + `]},` + podObject + `]}`,
		"other kinds":              nodeObject + podObject + `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}}{"apiVersion":"v1","kind":"List","items":null}`,
		"a byte order mark":        "\ufeff" + nodeObject + podObject,
		"YAML":                     "# a comment\n---\n" + nodeObject + "\n---\n---\nitems: [" + podObject + "]\nkind: List\n",
		"YAML, a list":             "apiVersion: v1\nkind: List\nitems:\n- " + nodeObject + "\n- " + podObject + "\n",
		"Windows":                  "apiVersion: v1\r\nkind: Node\r\nmetadata:\r\n  name: a\r\n---\r\n" + podObject + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSnapshot()
			if err := s.read(strings.NewReader(text), "file"); err != nil {
				t.Fatal(err)
			}
			if s.nodes["a"] == nil || len(s.pods) != 1 {
				t.Errorf("%d nodes and %d pods", len(s.nodes), len(s.pods))
			}
		})
	}
}

func TestWrongFiles(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty":           {"", "file is empty: write to it what"},
		"only spaces":     {" \n", "has no object"},
		"cut off":         {`{"kind":"List","items":[` + nodeObject + `,{"kind":"Po`, "cut off"},
		"UTF-16":          {"\xff\xfe{\x00", "save it as UTF-8"},
		"compressed":      {"\x1f\x8b\x08", "gunzip"},
		"no kind":         {`{"metadata":{"name":"x"}}`, "has no kind: write the file with"},
		"no name":         {`{"kind":"Node","apiVersion":"v1"}`, "a Node has no name"},
		"a wrong type":    {`{"kind":"List","items":[` + nodeObject + `,{"kind":"Pod","apiVersion":"v1","spec":{"terminationGracePeriodSeconds":"long"}}]}`, "item 2: cannot read this Pod"},
		"items no list":   {`{"kind":"List","items":"x"}`, "no list"},
		"a number":        {`[1]`, "item 1: 1 is no object"},
		"broken YAML":     {"a: [", "document 1"},
		"YAML of a table": {"NAME READY\nweb 1/1\n", "no object"},
	} {
		t.Run(name, func(t *testing.T) {
			err := newSnapshot().read(strings.NewReader(test.text), "file")
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "file") {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.json": nodeObject, "b.yml": podObject, "c.txt": "no object"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSnapshot()
	if err := s.readFiles([]string{dir, "-"}, strings.NewReader(nodeObject)); err != nil {
		t.Fatal(err)
	}
	if len(s.nodes) != 1 || len(s.pods) != 1 {
		t.Errorf("%d nodes and %d pods", len(s.nodes), len(s.pods))
	}
	for name, want := range map[string]string{"https://example.com/pods.yaml": "save it to a file", filepath.Join(dir, "none"): "no such file", t.TempDir(): "no file in this folder"} {
		if err := newSnapshot().readFiles([]string{name}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Whatever a file has, it is read or refused, and what was read can be forecast.
func FuzzRead(f *testing.F) {
	f.Add([]byte(nodeObject + podObject))
	f.Add([]byte(`{"items":[` + bareNode + `,` + barePod + `],"kind":"List"}`))
	f.Add([]byte(nodeYAML("a", 1) + podYAML("web-1", "a", ownedBy("ReplicaSet", "web"), grace(-1)) + budgetYAML("web", "maxUnavailable: -5%") + policyYAML("all", "drain: {waves: []}")))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newSnapshot()
		if s.read(strings.NewReader(string(text)), "file") != nil || s.checkFiles() != nil {
			return
		}
		s.finish()
		forecastOf(t, s, true)
		forecastOf(t, s, false)
	})
}
