// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"slices"
	"time"
	_ "time/tzdata" // the image has no time zones of its own

	"github.com/nodetermination/operator/api/v1alpha1"
)

// nextWindow returns from when on, at a time or later, one of the windows is open.
func nextWindow(windows []v1alpha1.Window, from time.Time) time.Time {
	var next time.Time
	for i := range windows {
		if opens := nextOpening(&windows[i], from); nearer(opens, next) {
			next = opens
		}
	}
	return next
}

// nextOpening returns from when on, at a time or later, a window is open. Of a time zone that
// is not known here the time is taken for UTC: the API server knew it when the policy was written.
func nextOpening(w *v1alpha1.Window, from time.Time) time.Time {
	zone, err := time.LoadLocation(w.TimeZone) // empty is UTC
	if err != nil {
		zone = time.UTC
	}
	start, err := time.Parse("15:04", w.Start)
	if err != nil {
		return from // the schema lets nothing else through; who cannot be understood keeps nothing waiting
	}
	const day = 24 * time.Hour
	open := time.Duration(w.DurationMinutes) * time.Minute
	year, month, date := from.In(zone).Date()
	today := time.Date(year, month, date, start.Hour(), start.Minute(), 0, 0, time.UTC)
	// One that opened days ago may still be open, and the next opens within a week and a day.
	for wall := today.Add(-(open.Truncate(day) + day)); ; wall = wall.Add(day) {
		if !opensOn(w, wall.Weekday()) {
			continue
		}
		if opens := instant(wall, zone); opens.Add(open).After(from) {
			return later(opens, from)
		}
	}
}

// opensOn reports whether a window opens on a day of the week.
func opensOn(w *v1alpha1.Window, day time.Weekday) bool {
	return len(w.Days) == 0 || slices.Contains(w.Days, v1alpha1.Day(day.String()[:3]))
}

// instant returns when clocks in a time zone show a time, which is written as if it were UTC. If
// they skip it, it is later by as much as they skip; if they show it twice, it is the first.
func instant(wall time.Time, zone *time.Location) time.Time {
	// No offset from UTC is more than 14 hours, and no zone changes its own twice in so few days.
	_, before := wall.Add(-26 * time.Hour).In(zone).Zone()
	_, after := wall.Add(26 * time.Hour).In(zone).Zone()
	first := wall.Add(-time.Duration(before) * time.Second)
	if _, offset := first.In(zone).Zone(); offset == before {
		return first
	}
	last := wall.Add(-time.Duration(after) * time.Second)
	if _, offset := last.In(zone).Zone(); offset == after {
		return last
	}
	return first
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
