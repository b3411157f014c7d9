// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// comeToRest is how long a manager has to come to rest after its last work.
const comeToRest = 15 * time.Second

// atRest is what a manager uses a minute while nothing happens.
type atRest struct {
	Memory    int64              `json:"memoryBytes"`    // resident, at the end
	Anonymous int64              `json:"anonymousBytes"` // the part of it that is in no file
	CPU       float64            `json:"cpuMillisAMinute"`
	Requests  map[string]float64 `json:"requestsAMinute"` // by kind
	Polls     float64            `json:"queuePollsAMinute"`
}

// expected reports whether a kind of request is one of a manager at rest: for its lease, or a watch.
func expected(kind string) bool {
	return strings.HasPrefix(kind, "watch ") || strings.HasSuffix(kind, " leases")
}

// rest measures a manager for so long once it has come to rest.
func (m *manager) rest(ctx context.Context, l *lab, length time.Duration) (used atRest, err error) {
	if err := wait(ctx, comeToRest); err != nil {
		return used, err
	}
	l.aws.ClearCalls()
	before, err := m.Usage()
	if err != nil {
		return used, err
	}
	start := time.Now()
	if err := wait(ctx, length); err != nil {
		return used, err
	}
	end := time.Now()
	after, err := m.Usage()
	if err != nil {
		return used, err
	}
	requests, err := l.audit.count(managerUser, start, end)
	if err != nil {
		return used, err
	}
	minutes := end.Sub(start).Minutes()
	used = atRest{
		Memory:    after.Memory,
		Anonymous: after.Anonymous,
		CPU:       round((after.CPU-before.CPU).Seconds()*1000/minutes, 0),
		Requests:  map[string]float64{},
		Polls:     round(float64(len(l.aws.Calls("sqs", "ReceiveMessage")))/minutes, 1),
	}
	for kind, n := range requests {
		used.Requests[kind] = round(float64(n)/minutes, 1)
	}
	return used, nil
}

// restTable returns a table without rows. others is what is wanted of the requests that are neither
// for the lease nor watches.
func restTable(title, others string) table {
	return table{title: title, head: []string{"", "memory, anonymous", "resident", "CPU", "requests for the lease", "watches begun", "other requests" + others, "receives of the queue"}}
}

// with returns the table with one more row.
func (t table) with(what string, used *atRest) table {
	var lease, watches, others float64
	for kind, n := range used.Requests {
		switch {
		case strings.HasPrefix(kind, "watch "):
			watches += n
		case expected(kind):
			lease += n
		default:
			others += n
		}
	}
	row := []string{what, megabytes(used.Anonymous), megabytes(used.Memory), fmt.Sprintf("%.0f ms", used.CPU)}
	for _, n := range []float64{lease, watches, others, used.Polls} {
		row = append(row, fmt.Sprintf("%.1f", n))
	}
	t.rows = append(t.rows, row)
	return t
}
