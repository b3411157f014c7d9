// SPDX-License-Identifier: Apache-2.0

package event

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The lengths that the API allows, in characters: see v1alpha1.Event and v1alpha1.LifecycleHook.
const (
	maxID          = 64
	maxDescription = 1024
	maxAction      = 64
	maxName        = 255
	maxToken       = 64
	maxDestination = 32
)

var plainIDs = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

// groupNames and hookNames are what Auto Scaling and the API take.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
var (
	groupNames = regexp.MustCompile(`^[^:[:cntrl:]]+$`)
	hookNames  = regexp.MustCompile(`^[A-Za-z0-9_/-]+$`)
)

const instanceIDExpected = "an EC2 instance ID such as i-0abc1234def567890"

// checkInstanceID returns an error if the field holds no EC2 instance ID.
func checkInstanceID(field, id string) error {
	if err := required(field, id, instanceIDExpected); err != nil {
		return err
	}
	if !v1alpha1.IsInstanceID(id) {
		return unexpected(field, quote(id), instanceIDExpected)
	}
	return nil
}

// checkName returns an error if the field, which must not be cut because AWS is
// asked by it, is empty or too long for the API.
func checkName(field, value, what string, limit int) error {
	if err := required(field, value, what); err != nil {
		return err
	}
	if utf8.RuneCountInString(value) > limit {
		return unexpected(field, "too long", what)
	}
	return nil
}

// eventID returns the document's own ID if it can be one of ours, else its hash.
// The ID is also part of a field manager's name, which must be printable.
func eventID(id string) string {
	if plainIDs.MatchString(id) {
		return id
	}
	return hashID(id)
}

// kindID returns the ID of what a source says once of an instance at a time: a later
// statement replaces the earlier one.
func kindID(source v1alpha1.EventSource, kind v1alpha1.EventKind) string {
	return string(source) + "-" + string(kind)
}

// hashID makes an ID of maxID characters from what identifies a fact.
func hashID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// timeLayouts are RFC 3339, with or without fractions, as EventBridge and Auto
// Scaling write it, what AWS Health writes: Thu, 27 Aug 2026 13:00:00 GMT, and RFC 3339
// without a colon in the zone, as CloudWatch does.
// Other zone names are refused because Go would read them as UTC.
var timeLayouts = []string{time.RFC3339, "Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 2 Jan 2006 15:04:05 UTC", "2006-01-02T15:04:05-0700"}

const timeExpected = "a time such as 2026-08-27T13:00:00Z or Thu, 27 Aug 2026 13:00:00 GMT"

// parseTime reads a time in any of AWS's formats, to the second, as the API stores it.
func parseTime(field, value string) (time.Time, error) {
	if err := required(field, value, timeExpected); err != nil {
		return time.Time{}, err
	}
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, value)
		// The API cannot store years of five digits, nor the zero time.
		if err == nil && t.Year() >= 2000 && t.Year() < 9999 {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, unexpected(field, quote(value), timeExpected)
}

// at returns a time as the API has it.
func at(t time.Time) *metav1.Time {
	return &metav1.Time{Time: t}
}

// cut shortens a text to so many characters.
func cut(s string, limit int) string {
	for i := range s {
		if limit == 0 {
			return s[:i]
		}
		limit--
	}
	return s
}
