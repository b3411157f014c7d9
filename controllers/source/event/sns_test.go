// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSNS: whatever a queue carries means the same in an SNS notification, and
// SNS in SNS is refused.
func TestSNS(t *testing.T) {
	for _, s := range samples {
		body := sample(t, s.file)
		want, err := Parse(body, sent)
		got, wrappedErr := Parse(wrap(t, body), sent)
		if strings.HasPrefix(s.file, "sns-") {
			checkError(t, wrappedErr, "Message is itself an SNS notification, expected the event: subscribe the queue to the first topic, or deliver raw messages")
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil || wrappedErr != nil {
			t.Errorf("%s: %v, %v, -plain +wrapped:\n%s", s.file, err, wrappedErr, diff)
		}
	}
}

func wrap(t testing.TB, body []byte) []byte {
	t.Helper()
	wrapped, err := json.Marshal(notification{Type: "Notification", Message: string(body)})
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}
