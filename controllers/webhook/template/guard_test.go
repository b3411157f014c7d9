// SPDX-License-Identifier: Apache-2.0

package template

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// large is the beginning of a template with a variable of 80 KiB.
const large = `{{ $x := "xxxxxxxxxx" }}{{ range 13 }}{{ $x = print $x $x }}{{ end }}`

// twoOfTwo returns a template that calls one twice that calls another twice, and so on.
func twoOfTwo(depth int) string {
	text := `{{ define "0" }}{{ end }}`
	for i := range depth {
		text += fmt.Sprintf(`{{ define "%d" }}{{ template "%d" }}{{ template "%d" }}{{ end }}`, i+1, i, i)
	}
	return text + fmt.Sprintf(`{{ template "%d" }}{}`, depth)
}

func TestCheckRefusesWhatMultiplies(t *testing.T) {
	for _, test := range []struct{ name, template, want string }{
		{"much text", `{{ repeat 1000000000 "x" }}`, `function "repeat" not defined`},
		{"many numbers", `{{ until 1000000000 }}`, "a loop as {{ range 10 }}"},
		{"many numbers in steps", `{{ untilStep 0 1000000000 1 }}`, `function "untilStep" not defined`},
		{"many numbers as text", `{{ seq 1 1000000000 }}`, `function "seq" not defined`},
		{"a wide indent", `{{ indent 1000000000 "x" }}`, `function "indent" not defined`},
		{"a wide indent on a line", `{{ nindent 1000000000 "x" }}`, `function "nindent" not defined`},
		{"wrapping", `{{ wrapWith 1 .Kind .Kind }}`, `function "wrapWith" not defined`},
		{"comparing each with each", `{{ uniq .Pods }}`, `function "uniq" not defined`},

		{"a loop over a number", `{{ range 9000000000000000000 }}{{ end }}`, "does not come to an end"},
		{"loops in loops", `{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}`, "does not come to an end"},
		{"a loop in a branch", `{{ if true }}{{ with . }}{{ if false }}{{ else }}{{ range 9000000000000000000 }}{{ end }}{{ end }}{{ end }}{{ end }}`, "does not come to an end"},
		{"branches in a loop", `{{ range 60000 }}` + strings.Repeat(`{{ if . }}{{ end }}`, 3000) + `{{ end }}`, "does not come to an end"},
		{"comparisons in a loop", large + `{{ $y := print $x "" }}{{ range 60000 }}{{ $_ := eq $x "a"` + strings.Repeat(" $y", 20000) + ` }}{{ end }}`, "does not come to an end"},
		{"itself", `{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, `template "a" calls itself: use range instead`},
		{"itself twice", `{{ define "a" }}{{ if gt . 0 }}{{ template "a" (sub . 1) }}{{ template "a" (sub . 1) }}{{ end }}{{ end }}{{ template "a" 60 }}`, "calls itself"},
		{"itself by another", `{{ define "a" }}{{ if . }}{{ template "b" . }}{{ end }}{{ end }}{{ define "b" }}{{ range . }}{{ else }}{{ template "a" . }}{{ end }}{{ end }}{}`, "calls itself"},
		{"the whole", `{{ with .Pods }}{{ template "template" $ }}{{ end }}`, "calls itself"},
		{"two of two of two", twoOfTwo(40), "does not come to an end"},
		{"a wide number", `{{ printf "%100000000d" 1 }}`, "printf takes a width of at most 999"},
		{"wide numbers", `{{ range 100 }}{{ printf "%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d" 1 }}{{ end }}`, "a width of at most 999"},
		{"a wide number from outside", `{{ printf "%*d" 999999 1 }}`, "a width of at most 999"},
		{"a wide number behind a percent sign", `{{ printf "%5%%9999d" 1 }}`, "a width of at most 999"},
		{"many wide numbers", `{{ printf "` + strings.Repeat("%999d", 9000) + `" }}`, "larger than 256 KiB"},
		{"doubling", `{{ $x := "x" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}`, "larger than 256 KiB"},
		{"doubling by a format", `{{ $x := "x" }}{{ range 100 }}{{ $x = printf "%[1]s%[1]s" $x }}{{ end }}`, "larger than 256 KiB"},
		{"doubling by a pipeline", `{{ "1"` + strings.Repeat(` | printf "%[1]s%[1]s"`, 1000) + ` }}`, "larger than 256 KiB"},
		{"doubling by a method", `{{ $x := "1" }}{{ range 100 }}{{ $x = $.StartTime.Format $x }}{{ end }}`, "larger than 256 KiB"},
		{"doubling by methods in a pipeline", `{{ "1"` + strings.Repeat(` | .StartTime.Format`, 1000) + ` }}`, "larger than 256 KiB"},
		{"doubling by methods in parentheses", `{{ print ` + strings.Repeat(`(.StartTime.Format `, 1000) + `"1"` + strings.Repeat(`)`, 1000) + ` }}`, "larger than 256 KiB"},
		{"doubling by nesting", strings.Repeat(`{{ with print . . }}`, 1000) + strings.Repeat(`{{ end }}`, 1000), "larger than 256 KiB"},
		{"many arguments", large + `{{ print` + strings.Repeat(" $x", 20000) + ` }}`, "does not come to an end"},
		{"replacing", large + `{{ replace "x" $x $x }}`, "larger than 256 KiB"},
		{"replacing by a pattern", large + `{{ regexReplaceAll "x" $x $x }}`, "larger than 256 KiB"},
		{"joining", large + `{{ join $x (splitList "" (trunc 8000 $x)) }}`, "larger than 256 KiB"},
		{"laughs", `{{ $x := list 1 }}{{ range 40 }}{{ $x = list $x $x }}{{ end }}{{ $x }}`, "larger than 256 KiB"},
		{"a nest", `{{ $x := list 1 }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ $x | toPrettyJson }}`, "nested too deep"},
		{"a map within itself", `{{ $d := dict }}{{ $_ := set $d "a" $d }}{{ $d }}`, "nested too deep"},
		{"a map within itself by a list", `{{ $d := dict }}{{ $l := list $d }}{{ $_ := set $d "a" $l }}{{ $l }}`, "nested too deep"},
		{"a map that grows later", large + `{{ $d := dict }}{{ $l := list $d $d $d $d }}{{ $_ := set $d "a" $x }}{{ $l }}`, "larger than 256 KiB"},
		{"a map that grows later and goes to a call", large + `{{ $d := dict }}{{ $l := list $d $d $d $d }}{{ $_ := set $d "a" $x }}{{ ($l) | toJson | len }}`, "larger than 256 KiB"},
		{"much output", `{{ range 10000 }}` + strings.Repeat("x", 100) + `{{ end }}`, "larger than 256 KiB"},
		{"a slow pattern", large + `{{ range 100 }}{{ regexMatch "(x+x+)+y{50}" $x }}{{ end }}`, "does not come to an end"},
		{"a long pattern", `{{ regexMatch "` + strings.Repeat("x", 2000) + `" "x" }}`, "write a shorter one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			err := Check(t.Context(), test.template, DefaultContentType)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestMemoryIsBounded renders more templates at one time than deliveries are under way, each
// of which would take all memory, or for ever, if it could.
func TestMemoryIsBounded(t *testing.T) {
	const most = 96 << 20
	hostile := []string{
		`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`,
		twoOfTwo(900),
		`{{ range 1000000000 }}{{ range $.Pods }}{{ range $.NodeLabels }}{{ end }}{{ end }}{{ end }}`,
		`{{ printf "%100000000d" 1 }}`,
		`{{ repeat 1000000000 "x" }}`,
		`{{ $x := list 1 }}{{ range 1000000 }}{{ $x = list $x $x }}{{ end }}{{ $x | toPrettyJson }}`,
		`{{ $x := "1" }}{{ range 1000 }}{{ $x = $.StartTime.Format $x }}{{ end }}`,
		large + `{{ print` + strings.Repeat(" $x", 20000) + ` }}`,
		large + `{{ range 1000 }}{{ $d := split "" $x }}{{ end }}`,
		large + `{{ range 1000 }}{{ $d := len (split "" (trunc 4000 $x)) }}{{ end }}`,
		large + `{{ $all := list }}{{ range 1000 }}{{ $all = list $all (print $x) }}{{ end }}`,
		large + `{{ $x = printf "%q%q%q%q%q%q%q%q" $x $x $x }}`,
		strings.Repeat(`{{ if true }}`, 2900) + strings.Repeat(`{{ end }}`, 2900),
		`{{ ` + strings.Repeat(`(`, 3000) + `1` + strings.Repeat(`)`, 3000) + ` }}`,
		strings.Repeat(`{{.}}`, maxTemplate/5-10),
		large + strings.Repeat(`{{ $a := print $x "" }}`, 2000),
		`{{ range 1000 }}{{ regexMatch "` + strings.Repeat("x{1000}", 35) + `" "x" }}{{ end }}`,
	}
	inUse := func() uint64 {
		samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(samples)
		return samples[0].Value.Uint64() + samples[1].Value.Uint64()
	}
	data := samples(v1alpha1.SpotInterruption, v1alpha1.StepReceived)[0]
	before, peak, done, measured := inUse(), uint64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		for {
			peak = max(peak, inUse())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	began := time.Now()
	var renderings sync.WaitGroup
	for i := range 2 {
		for _, text := range hostile {
			renderings.Go(func() {
				out, err := Render(t.Context(), text+fmt.Sprint(i), "text/plain", data)
				if len(out) > maxBody || err != nil && !strings.Contains(err.Error(), ": ") { // what to write instead
					t.Errorf("%.60s: %d bytes, error %v", text, len(out), err)
				}
			})
		}
	}
	renderings.Wait()
	took := time.Since(began)
	close(done)
	<-measured
	if grown := int64(peak - before); grown > most {
		t.Errorf("%d MiB at the peak", grown>>20)
	}
	if took > 3*time.Minute {
		t.Errorf("took %v", took)
	}
}

// TestRefusedTemplates are not rendered, not even with data for which they would be right.
func TestRefusedTemplates(t *testing.T) {
	const text = `{{ if eq .Step "Cancelled" }}{{ .Foo }}{{ end }}{}`
	refused := Check(t.Context(), text, DefaultContentType)
	if refused == nil {
		t.Fatal("accepted")
	}
	for _, contentType := range []string{DefaultContentType, "text/plain"} {
		out, err := Render(t.Context(), text, contentType, samples(v1alpha1.SpotInterruption, v1alpha1.StepReceived)[0])
		if out != nil || err == nil || err.Error() != refused.Error() {
			t.Errorf("%q, error %v, want %v", out, err, refused)
		}
	}
}

// TestOneAtATime is about a rendering that waits for another one when the process ends.
func TestOneAtATime(t *testing.T) {
	if err := takeTurn(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer endTurn()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := Render(ctx, Default, DefaultContentType, nasty())
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := Check(ctx, Default, DefaultContentType); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
