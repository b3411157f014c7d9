// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"bytes"
	"context"
	"math"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// maxRetry bounds the wait of retryBackoff: little, against two minutes' notice.
	maxRetry = 5 * time.Second
	// persistent is how many failures in a row are worth a line in the log.
	persistent = 3
)

// retryBackoff is the wait after a document could not be read, or an event not stored.
var retryBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Cap: maxRetry, Steps: math.MaxInt}

// document is one path of the metadata service and its last content.
type document struct {
	path  string
	every time.Duration // to be read, while it works
	log   logr.Logger

	due     time.Time // to be read
	body    []byte    // that events are from
	unknown bool      // the body is a target state that this version does not know
	events  []v1alpha1.Event

	wasRead   bool         // with success, at least once
	failures  int          // in a row
	failed    int          // since the start
	backoff   wait.Backoff // of the failures in a row
	lastError string       // that was logged; empty: it works
}

// read reads the document. If it cannot be read, its last content stays.
func (d *document) read(ctx context.Context, m *metadata, instance event.Instance) {
	body, found, err := m.read(ctx, d.path)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.fail(err.Error())
	case !found:
		d.body, d.events, d.unknown = nil, nil, false
		d.works()
	case d.body != nil && bytes.Equal(body, d.body):
		d.works()
	default:
		d.parse(body, instance)
	}
}

// parse takes the events from the document's new content.
func (d *document) parse(body []byte, instance event.Instance) {
	parsed, err := event.ParseMetadata(d.path, body, instance)
	if err == nil || len(parsed.Facts) > 0 {
		d.events = nil
		for _, fact := range parsed.Facts {
			d.events = append(d.events, fact.Event)
		}
	}
	d.unknown = strings.HasPrefix(parsed.Passed, event.UnknownState)
	if err != nil {
		d.body = nil
		d.fail("The document cannot be read: " + v1alpha1.TruncateMessage(err.Error(), maxCause) + ".")
		return
	}
	switch {
	case d.unknown:
		d.log.Info("document passed over: a later version may know what it says", "reason", parsed.Passed)
	case parsed.Passed != "":
		d.log.V(1).Info("document passed over", "reason", parsed.Passed)
	}
	d.body = body
	d.works()
}

// fail counts a failure, and logs those that last, once.
func (d *document) fail(err string) {
	d.failures++
	d.failed++
	if d.failures < persistent || err == d.lastError {
		d.log.V(1).Info("document not read", "error", err, "failures", d.failures)
		return
	}
	d.lastError = err
	d.log.Info("document cannot be read and is tried again", "error", err, "failures", d.failures, "sinceStart", d.failed)
}

// works ends the failures in a row.
func (d *document) works() {
	if d.lastError != "" {
		d.log.Info("document can be read again", "failures", d.failures, "sinceStart", d.failed)
	}
	d.wasRead, d.failures, d.backoff, d.lastError = true, 0, retryBackoff, ""
}

// result returns the result of the last reading.
func (d *document) result() string {
	switch {
	case d.failures > 0:
		return failed
	case d.unknown:
		return unknown
	}
	return succeeded
}

// isRead reports whether the events are all that the document has.
func (d *document) isRead() bool { return d.wasRead && d.failures == 0 }
