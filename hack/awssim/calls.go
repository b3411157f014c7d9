// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"slices"
	"sync"
	"time"
)

// keptCalls is how many of the latest calls the log is sure to hold.
const keptCalls = 20_000

// Call is one AWS call that was received.
type Call struct {
	// Time is when it arrived, by the simulator's clock.
	Time time.Time `json:"time"`
	// Service is sqs, ec2, autoscaling or sts.
	Service string `json:"service"`
	Action  string `json:"action"`
	// Params are the call's parameters, long values cut.
	Params map[string]string `json:"params,omitempty"`
	// AccessKey is the key ID it was signed with, empty if it was not.
	AccessKey string `json:"accessKey,omitempty"`
	// Role is the ARN of the role whose AssumeRole gave out that key, if one did.
	Role      string `json:"role,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
	// Done is false while the call is under way, for example while a receive is waiting.
	Done bool `json:"done"`
	// Error is the code it was answered with, or "dropped". Empty: it succeeded.
	Error string `json:"error,omitempty"`
}

// Calls returns the calls received so far, oldest first, of one service and action; empty means any.
// The log holds at least the latest 20,000.
func (s *Server) Calls(service, action string) []Call {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	var found []Call
	for _, call := range s.calls.log {
		if (service == "" || service == call.Service) && (action == "" || action == call.Action) {
			found = append(found, call)
		}
	}
	return found
}

// ClearCalls empties the log.
func (s *Server) ClearCalls() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	s.calls.first += len(s.calls.log)
	s.calls.log = nil
}

type calls struct {
	mu    sync.Mutex
	first int // the number of the first call in the log
	log   []Call
}

func (c *calls) start(call Call) (number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.log) == 2*keptCalls {
		c.log = slices.Delete(c.log, 0, keptCalls)
		c.first += keptCalls
	}
	c.log = append(c.log, call)
	return c.first + len(c.log) - 1
}

func (c *calls) finish(number int, code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := number - c.first; i >= 0 {
		c.log[i].Done, c.log[i].Error = true, code
	}
}
