// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Codes for Fault.Code that stand for each service's own code of that meaning.
const (
	// Throttle is the service's throttling error.
	Throttle = "throttle"
	// ServerError is an internal error, HTTP 500.
	ServerError = "server-error"
)

// Values of Fault.Drop.
const (
	// DropBefore closes the connection and does nothing.
	DropBefore = "before"
	// DropAfter carries the call out and closes the connection instead of answering.
	DropAfter = "after"
)

// Fault makes calls fail. The first group of fields says which calls, the second how often, the
// third what happens; several effects, and several faults, add up. A fault of deliveries
// (Duplicates, NewestFirst) has no other effect and counts the receives that hand out messages,
// those that were waiting when it was added as well.
type Fault struct {
	// Service is sqs, ec2, autoscaling or sts. Empty: any.
	Service string `json:"service,omitempty"`
	// Action is an API action such as ReceiveMessage. Empty: any.
	Action string `json:"action,omitempty"`
	// AccessKey limits the fault to calls signed with this key ID. Empty: any.
	AccessKey string `json:"accessKey,omitempty"`

	// Times is the number of calls it happens to. 0: until cleared.
	Times int `json:"times,omitempty"`
	// Probability, 0 to 1, that it happens to a call. 0 counts as 1.
	Probability float64 `json:"probability,omitempty"`

	// Code of the error to answer with: one of AWS's, Throttle or ServerError.
	Code string `json:"code,omitempty"`
	// Status of that error. 0: the usual HTTP status of the code.
	Status int `json:"status,omitempty"`
	// Message of that error. Empty: one that says it is simulated.
	Message string `json:"message,omitempty"`
	// FailEntries answers with Code for the first so many entries of an SQS batch instead of for the call.
	FailEntries int `json:"failEntries,omitempty"`
	// Delay before the call is carried out, in nanoseconds in JSON.
	Delay time.Duration `json:"delay,omitempty"`
	// Drop closes the connection without an answer: DropBefore or DropAfter.
	Drop string `json:"drop,omitempty"`
	// Duplicates is how many more times each message that ReceiveMessage hands out is delivered,
	// even once deleted, as at-least-once delivery allows.
	Duplicates int `json:"duplicates,omitempty"`
	// NewestFirst makes ReceiveMessage hand out the newest messages first.
	NewestFirst bool `json:"newestFirst,omitempty"`
}

func (f Fault) validate() error {
	switch {
	case f.Service != "" && !slices.Contains([]string{"sqs", "ec2", "autoscaling", "sts"}, f.Service):
		return fmt.Errorf("service %q: use sqs, ec2, autoscaling or sts", f.Service)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability %v: use a number from 0 to 1", f.Probability)
	case f.Times < 0 || f.FailEntries < 0 || f.Duplicates < 0 || f.Delay < 0:
		return errors.New("times, failEntries, duplicates and delay cannot be negative")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d: use one from 400 to 599", f.Status)
	case f.Drop != "" && f.Drop != DropBefore && f.Drop != DropAfter:
		return fmt.Errorf("drop %q: use %s or %s", f.Drop, DropBefore, DropAfter)
	case f.Code == "" && (f.FailEntries > 0 || f.Status != 0 || f.Message != ""):
		return errors.New("the code of the error is missing, for example RequestThrottled")
	case f.ofDeliveries() && (f.Code != "" || f.Delay > 0 || f.Drop != ""):
		return errors.New("duplicates and newestFirst are faults of deliveries: add the code, delay or drop as a fault of its own")
	case f.ofDeliveries() && (f.Service != "" && f.Service != "sqs" || f.Action != "" && f.Action != "ReceiveMessage"):
		return errors.New("duplicates and newestFirst happen to ReceiveMessage of sqs only")
	case f.Code == "" && f.Delay == 0 && f.Drop == "" && !f.ofDeliveries():
		return errors.New("nothing would happen: set code, delay, drop, duplicates or newestFirst")
	}
	return nil
}

// ofDeliveries reports whether the fault is about the messages a receive hands out, not about the call.
func (f Fault) ofDeliveries() bool { return f.Duplicates > 0 || f.NewestFirst }

// asError returns the fault as an error of the service.
func (f Fault) asError(service string) *apiError {
	code := f.Code
	switch code {
	case Throttle:
		code = map[string]string{"sqs": "RequestThrottled", "ec2": "RequestLimitExceeded"}[service]
		if code == "" {
			code = "Throttling"
		}
	case ServerError:
		code = "InternalFailure"
		if service == "ec2" {
			code = "InternalError"
		}
	}
	if service == "sqs" {
		code = sqsCode(code)
	}
	message := f.Message
	if message == "" {
		message = "Simulated by awssim."
	}
	return &apiError{Code: code, Message: message, Status: f.Status}
}

// AddFault makes calls fail from now on. It returns the fault's id, for ClearFault, or what is wrong with it.
func (s *Server) AddFault(f Fault) (id int, err error) {
	if err := f.validate(); err != nil {
		return 0, err
	}
	return s.faults.add(f), nil
}

// ClearFault ends one fault. An id that is not there, or no longer, is ignored.
func (s *Server) ClearFault(id int) { s.faults.clear(id) }

// ClearFaults ends all faults.
func (s *Server) ClearFaults() { s.faults.clear(0) }

// faults are those in force.
type faults struct {
	mu     sync.Mutex
	random *rand.Rand
	lastID int
	active []activeFault
}

type activeFault struct {
	Fault
	id   int
	used int
}

func (fs *faults) seed(seed uint64) {
	fs.random = rand.New(rand.NewPCG(seed, seed))
}

func (fs *faults) add(f Fault) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastID++
	fs.active = append(fs.active, activeFault{Fault: f, id: fs.lastID})
	return fs.lastID
}

// clear removes the fault with the id, or all of them for 0.
func (fs *faults) clear(id int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.active = slices.DeleteFunc(fs.active, func(f activeFault) bool { return id == 0 || f.id == id })
}

// match uses up the faults that hit the call, or its deliveries, and returns what they add up to.
func (fs *faults) match(req *request, deliveries bool) Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var sum Fault
	for i := range fs.active {
		f := &fs.active[i]
		if f.ofDeliveries() != deliveries || !f.covers(req) || f.Probability > 0 && fs.random.Float64() >= f.Probability {
			continue
		}
		f.used++
		sum.add(f.Fault)
	}
	fs.active = slices.DeleteFunc(fs.active, func(f activeFault) bool { return f.Times > 0 && f.used >= f.Times })
	return sum
}

func (f *Fault) covers(req *request) bool {
	return (f.Service == "" || f.Service == req.service.name) &&
		(f.Action == "" || f.Action == req.action) &&
		(f.AccessKey == "" || f.AccessKey == req.accessKey)
}

// add merges the effects of another fault; of two errors or two drops the first stands.
func (f *Fault) add(other Fault) {
	if f.Code == "" {
		f.Code, f.Status, f.Message, f.FailEntries = other.Code, other.Status, other.Message, other.FailEntries
	}
	if f.Drop == "" {
		f.Drop = other.Drop
	}
	f.Delay += other.Delay
	f.Duplicates += other.Duplicates
	f.NewestFirst = f.NewestFirst || other.NewestFirst
}
