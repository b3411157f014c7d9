// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"flag"
	"io"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for args, test := range map[string]struct {
		debug bool
		err   string
	}{
		"":                                    {},
		"--log-level=debug":                   {debug: true},
		"--log-format=console":                {},
		"--log-format=json --log-level=error": {},
		"--log-format=xml":                    {err: `--log-format "xml": write json or console`},
		"--log-level=warn":                    {err: `--log-level "warn": write debug, info or error`},
	} {
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		var options Options
		options.BindFlags(flags)
		if err := flags.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		log, err := options.New()
		switch {
		case test.err == "" && err != nil, test.err != "" && (err == nil || err.Error() != test.err):
			t.Errorf("%q: error %v, want %q", args, err, test.err)
		case log.V(1).Enabled() != test.debug:
			t.Errorf("%q: lines for debugging are logged: %v, want %v", args, !test.debug, test.debug)
		}
	}
}
