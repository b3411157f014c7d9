// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestErrorsAreLoggedOnce: however often an attempt fails, the log has a line for each change.
func TestErrorsAreLoggedOnce(t *testing.T) {
	var got []string
	r := &Reconciler{Options: Options{Local: &LocalState{}, Log: funcr.New(func(_, line string) { got = append(got, line) }, funcr.Options{})}}
	nt := &v1alpha1.NodeTermination{}
	nt.Name, nt.Spec.NodeName, nt.Spec.Events = "i-1", "node-1", []v1alpha1.Event{{ID: "a"}, {ID: "b"}}
	policy := &v1alpha1.NodeTerminationPolicy{}
	policy.Name = "spot"
	r.updateLocal(t.Context(), &scope{nt: nt, policy: policy})
	for _, attempt := range []struct{ name, err string }{
		{"i-1", ""}, {"i-1", "down"}, {"i-2", "down"}, {"i-1", "down"}, {"i-1", "forbidden"}, {"i-1", "forbidden"}, {"i-2", "down"},
		{"i-1", ""}, {"i-1", ""}, {"i-1", "down"},
	} {
		var err error
		if attempt.err != "" {
			err = errors.New(attempt.err)
		}
		r.logOnce(attempt.name, err)
	}
	about := `"instance"="i-1" "node"="node-1" "policy"="spot" "event"="a,b"`
	want := [][]string{
		{"Cannot get on", `"down"`, about}, {"Cannot get on", `"down"`, `"instance"="i-2"`}, {"Cannot get on", `"forbidden"`, about},
		{"Gets on", about}, {"Cannot get on", `"down"`, about},
	}
	if len(got) != len(want) {
		t.Fatalf("logged %q, want %q", got, want)
	}
	for i, parts := range want {
		if slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(got[i], part) }) {
			t.Errorf("line %d is %q, want %q in it", i, got[i], parts)
		}
	}
}
