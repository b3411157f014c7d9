// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blocks returns the blocks of code of the page in a language; "" for those without one.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile(migratePage)
	if err != nil {
		t.Fatal(err)
	}
	const fence = "```"
	var found []string
	var block *strings.Builder // nil outside of one
	wanted := false
	for line := range strings.Lines(string(page)) {
		switch trimmed := strings.TrimSpace(line); {
		case block == nil && strings.HasPrefix(trimmed, fence):
			block, wanted = &strings.Builder{}, trimmed == fence+language
		case block != nil && trimmed == fence:
			if wanted {
				found = append(found, block.String())
			}
			block = nil
		case block != nil:
			block.WriteString(line)
		}
	}
	return found
}

// example returns the values of the page, and the policy that it says becomes of them.
func example(t *testing.T) (values, policy string) {
	t.Helper()
	found := blocks(t, "yaml")
	if len(found) != 2 {
		t.Fatalf("%d blocks of YAML in the page, want values and a policy", len(found))
	}
	return found[0], found[1]
}

// commands returns the commands of the page.
func commands(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, block := range blocks(t, "") {
		for line := range strings.Lines(block) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func TestDocumentedExample(t *testing.T) {
	values, want := example(t)
	stdout, _, err := migrate(t, values, "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(stdout, "\n") // the comment says of which file
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the page (-) and what is converted (+):\n%s", diff)
	}
}
