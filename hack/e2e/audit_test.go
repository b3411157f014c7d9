// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// serviceAccount is the user that managers are.
const serviceAccount = "system:serviceaccount:" + operator.Namespace + ":" + operator.ServiceAccount

// request is one request that a manager made, as the API server has recorded it.
type request struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	URI   string `json:"requestURI"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	// At is when it was answered.
	At          time.Time         `json:"stageTimestamp"`
	Annotations map[string]string `json:"annotations"`
}

// forbidden is whether the rights did not allow it.
func (r *request) forbidden() bool {
	return r.Annotations["authorization.k8s.io/decision"] == "forbid"
}

// resource is its name in a role: pods/eviction.
func (r *request) resource() string {
	if r.Object.Subresource == "" {
		return r.Object.Resource
	}
	return r.Object.Resource + "/" + r.Object.Subresource
}

// requestsEviction reports whether it was to evict or delete a pod.
func (r *request) requestsEviction() bool {
	evicts := r.Verb == "create" && r.resource() == "pods/eviction"
	deletes := r.Verb == "delete" && r.resource() == "pods"
	return evicts || deletes
}

// evictsPod reports whether it evicted or deleted a pod.
func (r *request) evictsPod() bool { return r.requestsEviction() && r.Response.Code < 300 }

// brokenOff is whether the manager died before it was answered, so that nobody knows what it did.
func (r *request) brokenOff() bool { return r.Response.Code >= 499 }

// auditLog reads the API server's audit log.
type auditLog struct {
	path string

	mu       sync.Mutex
	offset   int64
	requests []request
}

// find returns the managers' requests so far that match, in the order in which they were answered.
// A request is recorded right after it was answered.
func (a *auditLog) find(match func(*request) bool) ([]request, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		return nil, err
	}
	var found []request
	for i := range a.requests {
		if match(&a.requests[i]) {
			found = append(found, a.requests[i])
		}
	}
	return found, nil
}

// read takes in the lines that are complete and new.
func (a *auditLog) read() error {
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return err
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	a.offset += int64(len(content))
	for text := range bytes.Lines(content) {
		if !bytes.Contains(text, []byte(serviceAccount)) {
			continue // also somebody else's request about a manager
		}
		var r request
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		if r.User.Username == serviceAccount {
			a.requests = append(a.requests, r)
		}
	}
	return nil
}
