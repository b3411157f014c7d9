// SPDX-License-Identifier: Apache-2.0

package sqs

import "time"

const (
	// recentLife is how long something is remembered after it was last met.
	recentLife = time.Hour
	// recentLimit is how much is remembered; it takes about half a megabyte.
	recentLimit = 4096
)

// recentSet remembers what was met within the hour, so that each thing is said
// once. Once it is full, what is new to it is taken for known: a flood is
// neither remembered nor logged without bound. The zero value is empty.
type recentSet struct {
	met map[string]time.Time
}

// add remembers a key and reports whether it is new.
func (r *recentSet) add(key string, now time.Time) (first bool) {
	if r.met == nil {
		r.met = map[string]time.Time{}
	}
	last, known := r.met[key]
	if !known && len(r.met) >= recentLimit {
		return false
	}
	r.met[key] = now
	return !known || now.Sub(last) > recentLife
}

// count forgets what is old and returns how many are left.
func (r *recentSet) count(now time.Time) int {
	for key, last := range r.met {
		if now.Sub(last) > recentLife {
			delete(r.met, key)
		}
	}
	return len(r.met)
}
