// SPDX-License-Identifier: Apache-2.0

// Package logging sets up the log that the manager and the watcher write.
package logging

import (
	"flag"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Options are what the command line says about the log.
type Options struct {
	// Format is json, or console for people.
	Format string
	// Level is debug, info or error.
	Level string
}

// BindFlags adds --log-format, json by default, and --log-level, info by default.
func (o *Options) BindFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.Format, "log-format", "json", "json, or console for people")
	flags.StringVar(&o.Level, "log-level", "info", "debug, info or error")
}

// New returns a logger that writes to standard error. Its error says which flag to correct.
func (o *Options) New() (logr.Logger, error) {
	config := zap.NewProductionConfig()
	// Nothing may be lost: a line dropped by sampling is the one somebody looks for.
	config.Sampling = nil
	config.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	// A stack trace tells an operator of clusters nothing that the message does not.
	config.DisableStacktrace = true
	switch o.Format {
	case "json":
	case "console":
		config.Encoding = "console"
		config.EncoderConfig.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		config.DisableCaller = true
	default:
		return logr.Logger{}, fmt.Errorf("--log-format %q: write json or console", o.Format)
	}
	switch o.Level {
	case "debug", "info", "error":
	default:
		return logr.Logger{}, fmt.Errorf("--log-level %q: write debug, info or error", o.Level)
	}
	level, err := zap.ParseAtomicLevel(o.Level)
	if err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level %q: %w", o.Level, err)
	}
	config.Level = level
	logger, err := config.Build()
	if err != nil {
		return logr.Logger{}, fmt.Errorf("cannot set up logging: %w", err)
	}
	return zapr.NewLogger(logger), nil
}
