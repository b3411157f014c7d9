// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"testing"
)

// TestMigratedValues renders the chart with the values that "kubectl nt migrate" makes of those of NTH.
func TestMigratedValues(t *testing.T) {
	files, err := filepath.Glob(root + "/controllers/cli/kubectl-nt/migrate/testdata/*/values.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			eachHelm(t, namespace, func(t *testing.T, h helm) {
				if _, _, err := h.template(chart, parse(t, readFile(t, file)), policyAPI); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
