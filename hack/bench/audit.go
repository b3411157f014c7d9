// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// managerUser is the user name of managers at the API server.
const managerUser = "system:serviceaccount:" + operator.Namespace + ":" + operator.ServiceAccount

// auditLog is the API server's record of the requests that it was sent.
type auditLog struct {
	path   string
	offset int64 // of what was counted
}

// record is a line of it. Watches have two: when they start, and when they end.
type record struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	ImpersonatedUser struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	Object struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Received time.Time `json:"requestReceivedTimestamp"`
}

// kind returns what was requested, such as "create pods/eviction".
func (r *record) kind() string {
	kind := r.Verb + " " + r.Object.Resource
	if r.Object.Subresource != "" {
		kind += "/" + r.Object.Subresource
	}
	return kind
}

// count returns how many requests of each kind a user has made between two moments that have
// passed, none of them before those of the last count.
func (a *auditLog) count(user string, from, to time.Time) (map[string]int, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return nil, err
	}
	kinds := map[string]int{}
	for lines := bufio.NewReaderSize(file, 1<<20); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return kinds, nil // of an unfinished line, if any
		}
		if err != nil {
			return nil, err
		}
		a.offset += int64(len(line))
		if !bytes.Contains(line, []byte(user)) {
			continue
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("the audit log has a line that cannot be read: %w", err)
		}
		counts := r.Verb != "watch" || r.Stage == "ResponseStarted"
		if counts && cmp.Or(r.ImpersonatedUser.Username, r.User.Username) == user && !r.Received.Before(from) && r.Received.Before(to) {
			kinds[r.kind()]++
		}
	}
}

// sum returns the number of requests of all kinds but those excepted.
func sum(kinds map[string]int, except func(kind string) bool) int {
	n := 0
	for kind, count := range kinds {
		if except == nil || !except(kind) {
			n += count
		}
	}
	return n
}
