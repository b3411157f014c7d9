// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func instantOf(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestNextWindow(t *testing.T) {
	weekend := v1alpha1.Window{Days: []v1alpha1.Day{"Sat", "Sun"}, Start: "02:00", DurationMinutes: 240, TimeZone: "Europe/Berlin"}
	nightly := v1alpha1.Window{Start: "22:30", DurationMinutes: 180}
	skipped := v1alpha1.Window{Start: "02:30", DurationMinutes: 60, TimeZone: "Europe/Berlin"}
	newYork := v1alpha1.Window{Start: "01:30", DurationMinutes: 30, TimeZone: "America/New_York"}
	cases := map[string]struct {
		windows []v1alpha1.Window
		from    string
		want    string
	}{
		"it opens on Saturday":                     {[]v1alpha1.Window{weekend}, "2026-12-01T12:00:00Z", "2026-12-05T01:00:00Z"},
		"it is open":                               {[]v1alpha1.Window{weekend}, "2026-12-05T04:59:59Z", "2026-12-05T04:59:59Z"},
		"it opens in this moment":                  {[]v1alpha1.Window{weekend}, "2026-12-05T01:00:00Z", "2026-12-05T01:00:00Z"},
		"it closes in this moment":                 {[]v1alpha1.Window{weekend}, "2026-12-05T05:00:00Z", "2026-12-06T01:00:00Z"},
		"after Sunday comes Saturday":              {[]v1alpha1.Window{weekend}, "2026-12-06T05:00:00Z", "2026-12-12T01:00:00Z"},
		"every day":                                {[]v1alpha1.Window{nightly}, "2026-12-01T12:00:00Z", "2026-12-01T22:30:00Z"},
		"it opened yesterday":                      {[]v1alpha1.Window{nightly}, "2026-12-01T01:00:00Z", "2026-12-01T01:00:00Z"},
		"the first of two":                         {[]v1alpha1.Window{weekend, nightly}, "2026-12-04T23:00:00Z", "2026-12-04T23:00:00Z"},
		"the other of two":                         {[]v1alpha1.Window{nightly, weekend}, "2026-12-05T01:30:00Z", "2026-12-05T01:30:00Z"},
		"daylight saving begins: 02:30 is 03:30":   {[]v1alpha1.Window{skipped}, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		"and stays open for its hour":              {[]v1alpha1.Window{skipped}, "2026-03-29T02:29:00Z", "2026-03-29T02:29:00Z"},
		"and is closed then":                       {[]v1alpha1.Window{skipped}, "2026-03-29T02:30:00Z", "2026-03-30T00:30:00Z"},
		"daylight saving ends: the first 02:30":    {[]v1alpha1.Window{skipped}, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		"and not once more":                        {[]v1alpha1.Window{skipped}, "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"},
		"west of Greenwich it ends: the first":     {[]v1alpha1.Window{newYork}, "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"},
		"west of Greenwich, not once more":         {[]v1alpha1.Window{newYork}, "2026-11-01T06:00:00Z", "2026-11-02T06:30:00Z"},
		"a week long, it opened six days ago":      {[]v1alpha1.Window{{Days: []v1alpha1.Day{"Mon"}, Start: "00:00", DurationMinutes: 10080}}, "2026-12-06T23:00:00Z", "2026-12-06T23:00:00Z"},
		"half a day ahead of UTC":                  {[]v1alpha1.Window{{Days: []v1alpha1.Day{"Sat"}, Start: "00:30", DurationMinutes: 60, TimeZone: "Pacific/Kiritimati"}}, "2026-12-04T00:00:00Z", "2026-12-04T10:30:00Z"},
		"a zone that is not known here is UTC":     {[]v1alpha1.Window{{Start: "02:00", DurationMinutes: 60, TimeZone: "Mars/Olympus"}}, "2026-12-01T12:00:00Z", "2026-12-02T02:00:00Z"},
		"who cannot be understood holds up nobody": {[]v1alpha1.Window{{Start: "nightly", DurationMinutes: 60}}, "2026-12-01T12:00:00Z", "2026-12-01T12:00:00Z"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := nextWindow(tc.windows, instantOf(t, tc.from)); !got.Equal(instantOf(t, tc.want)) {
				t.Errorf("opens %s, want %s", formatTime(got), tc.want)
			}
		})
	}
}

// In no zone and at no minute of a year is a window lost, or open longer than it should.
func TestWindowsOpenOnceADay(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu"} {
		for _, start := range []string{"00:00", "01:45", "02:15", "23:59"} {
			w := v1alpha1.Window{Start: start, DurationMinutes: 1, TimeZone: zone}
			opened := 0
			from, end := instantOf(t, "2026-01-01T00:00:00Z"), instantOf(t, "2027-01-01T00:00:00Z")
			for {
				opens := nextOpening(&w, from)
				if !opens.Before(end) {
					break
				}
				opened++
				from = opens.Add(time.Minute)
			}
			if opened < 364 || opened > 366 {
				t.Errorf("a window at %s in %s opens %d times a year", start, zone, opened)
			}
		}
	}
}

func TestDrainTime(t *testing.T) {
	const kind = v1alpha1.ScheduledMaintenance
	now := instantOf(t, "2026-12-01T12:00:00Z") // a Tuesday
	rule := func(kind v1alpha1.EventKind, lead *int32, windows ...v1alpha1.Window) *v1alpha1.NodeTerminationPolicy {
		return policyWith(v1alpha1.EventRule{Kind: kind, Action: v1alpha1.ActionCordonAndDrain, StartBeforeSeconds: lead, Windows: windows})
	}
	planned := func(after time.Duration) v1alpha1.Event {
		e := maintenance("m", 0)
		e.NotBefore.Time, e.Deadline.Time = now.Add(after), now.Add(after)
		return e
	}
	notice := spot("s", 0)
	notice.Deadline.Time = now.Add(2 * time.Minute)
	nightly := v1alpha1.Window{Start: "02:00", DurationMinutes: 60}
	cases := map[string]struct {
		event  v1alpha1.Event
		policy *v1alpha1.NodeTerminationPolicy
		want   time.Time
	}{
		"an interruption at once":                         {notice, policyWith(), time.Time{}},
		"an interruption a minute before":                 {notice, rule(v1alpha1.SpotInterruption, ptr.To[int32](60)), now.Add(time.Minute)},
		"an interruption that leaves less":                {notice, rule(v1alpha1.SpotInterruption, ptr.To[int32](180)), now.Add(-time.Minute)},
		"a maintenance in the next window":                {planned(72 * time.Hour), rule(kind, nil, nightly), now.Add(14 * time.Hour)},
		"a maintenance in the last window":                {planned(72 * time.Hour), rule(kind, ptr.To[int32](24*3600), nightly), now.Add(62 * time.Hour)},
		"a maintenance before the next window":            {planned(time.Hour), rule(kind, nil, nightly), now.Add(58 * time.Minute)},
		"a maintenance that leaves no time to wait":       {planned(time.Minute), rule(kind, nil, nightly), now.Add(-time.Minute)},
		"a maintenance that has begun":                    {planned(-time.Minute), rule(kind, nil, nightly), now.Add(-3 * time.Minute)},
		"a start that is later than a drain needs":        {planned(time.Hour), rule(kind, ptr.To[int32](30), nightly), now.Add(time.Hour - 30*time.Second)},
		"without a deadline in the next window":           {rebalance("r", 0), rule(v1alpha1.RebalanceRecommendation, nil, nightly), now.Add(14 * time.Hour)},
		"without a deadline at once if a window is open":  {rebalance("r", 0), rule(v1alpha1.RebalanceRecommendation, nil, v1alpha1.Window{Start: "11:30", DurationMinutes: 60}), now},
		"one without windows, when the policy is another": {rebalance("r", 0), rule(kind, nil, nightly), time.Time{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var deadline time.Time
			if tc.event.Deadline != nil {
				deadline = tc.event.Deadline.Time
			}
			if got := drainTime(tc.event, deadline, tc.policy, now); !got.Equal(tc.want) {
				t.Errorf("begins %s, want %s", formatTime(got), formatTime(tc.want))
			}
		})
	}
}
