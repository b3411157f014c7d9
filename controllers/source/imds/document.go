// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"bytes"
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// minRetry and maxRetry bound the wait after a document could not be read, or
	// an event not stored, which doubles: little, against two minutes' notice.
	minRetry, maxRetry = time.Second, 5 * time.Second
	// persistent is how many failures in a row are worth a line in the log.
	persistent = 3
)

// document is one path of the metadata service and what it said last.
type document struct {
	path  string
	every time.Duration // to be read, while it works
	log   logr.Logger

	due    time.Time // to be read
	body   []byte    // that events are from
	events []v1alpha1.Event

	failures int    // in a row
	failed   int    // since the start
	said     string // the problem that the log tells of; empty: it works
}

// read reads the document. What could not be read leaves what it said before.
func (d *document) read(ctx context.Context, m *metadata, machine event.Instance) {
	body, found, err := m.read(ctx, d.path)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.fail(err.Error())
	case !found:
		d.body, d.events = nil, nil
		d.works()
	case d.body != nil && bytes.Equal(body, d.body):
		d.works()
	default:
		d.parse(body, machine)
	}
}

func (d *document) parse(body []byte, machine event.Instance) {
	parsed, err := event.ParseMetadata(d.path, body, machine)
	if err == nil || len(parsed.Facts) > 0 {
		d.events = nil
		for _, fact := range parsed.Facts {
			d.events = append(d.events, fact.Event)
		}
	}
	if err != nil {
		d.body = nil
		d.fail("The document cannot be read: " + v1alpha1.TruncateMessage(err.Error(), maxCause) + ".")
		return
	}
	if parsed.Passed != "" {
		d.log.V(1).Info("document passed over", "why", parsed.Passed)
	}
	d.body = body
	d.works()
}

// fail counts a failure, and tells of those that last, once.
func (d *document) fail(problem string) {
	d.failures++
	d.failed++
	if d.failures < persistent || problem == d.said {
		d.log.V(1).Info("document not read", "problem", problem, "failures", d.failures)
		return
	}
	d.said = problem
	d.log.Info("document cannot be read and is tried again", "problem", problem, "failures", d.failures, "sinceStart", d.failed)
}

func (d *document) works() {
	if d.said != "" {
		d.log.Info("document can be read again", "failures", d.failures, "sinceStart", d.failed)
	}
	d.failures, d.said = 0, ""
}

// retryAfter is how long to wait after so many failures in a row.
func retryAfter(failures int) time.Duration {
	d := minRetry
	for ; failures > 1 && d < maxRetry; failures-- {
		d *= 2
	}
	return min(d, maxRetry)
}
