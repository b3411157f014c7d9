// SPDX-License-Identifier: Apache-2.0

// Package awssim simulates the parts of AWS that the operator talks to: SQS, EC2, Auto Scaling
// and STS. It speaks their wire protocols to the unmodified SDK, which finds it through
// AWS_ENDPOINT_URL. Signatures are not verified; the access key is read, so that a key can be
// refused, and temporary keys are those that it gave out for a role. Groups and instances are
// shown to callers of their account only. It can be made to fail (Fault) and keeps a log of the calls it received (Call).
//
// One server, one port: it distinguishes the services as AWS's own clients mark them, SQS by the
// X-Amz-Target header and the query services by the Version parameter of the form. The metadata
// service (Metadata) is another server for every instance.
package awssim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Account is the AWS account that everything in the simulator belongs to unless it says another, the
// one that AWS's own samples use.
const Account = "123456789012"

// maxBody bounds a request's body: SQS takes 1 MiB of message in a request, and JSON escapes some of it.
const maxBody = 8 << 20

// Options of a Server. The zero value is ready to use.
type Options struct {
	// Addr to listen on, which must be loopback. Default 127.0.0.1:0, a free port.
	Addr string
	// Region in ARNs and documents. Default us-east-1.
	Region string
	// Now is the simulator's clock. Default time.Now. A test that moves its own clock calls
	// Server.Advance(0) afterwards, so that waiting receives check again.
	Now func() time.Time
	// Seed of the random source behind Fault.Probability.
	Seed uint64
}

// Server is a running simulator. Its methods may be called from any goroutine.
type Server struct {
	*endpoint
	opts   Options
	under  sync.WaitGroup // calls under way; Shutdown does not wait for those whose connection is dropped
	offset atomic.Int64

	faults  faults
	calls   calls
	control http.Handler

	sqs *sqsService
	ec2 *ec2Service
	asg *autoScaling
	sts *stsService
}

// Start listens and serves until Close. It fails if the address is taken or not loopback.
func Start(opts Options) (*Server, error) {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	endpoint, err := listen(opts.Addr)
	if err != nil {
		return nil, err
	}
	s := &Server{endpoint: endpoint, opts: opts}
	s.faults.seed(opts.Seed)
	s.sqs = newSQS(s)
	s.ec2 = newEC2(s)
	s.asg = newAutoScaling(s)
	s.sts = newSTS(s)
	s.control = s.controlHandler()
	s.serve(s)
	return s, nil
}

// Close ends waiting receives, answers what is under way and returns when all of it has ended.
func (s *Server) Close() error {
	err := s.close()
	s.under.Wait()
	return err
}

// URL returns the endpoint, for AWS_ENDPOINT_URL.
func (s *Server) URL() string { return s.url }

// Env returns the environment, as KEY=value, in which the SDK's default configuration talks to s.
func (s *Server) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.url,
		"AWS_REGION=" + s.opts.Region,
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
		"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Advance moves the simulator's clock forward, on top of Options.Now, and lets waiting receives check again.
func (s *Server) Advance(d time.Duration) {
	s.offset.Add(int64(d))
	s.sqs.wakeAll()
}

func (s *Server) now() time.Time {
	return s.opts.Now().Add(time.Duration(s.offset.Load()))
}

// arn names a resource of the simulator's account and region.
func (s *Server) arn(service, resource string) string {
	return "arn:aws:" + service + ":" + s.opts.Region + ":" + Account + ":" + resource
}

// ServeHTTP answers one AWS call or one call to the control endpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.under.Add(1)
	defer s.under.Done()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if strings.HasPrefix(r.URL.Path, controlPath) {
		s.control.ServeHTTP(w, r)
		return
	}
	req, err := s.readRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := s.calls.start(Call{
		Time: s.now(), Service: req.service.name, Action: req.action, Params: req.params,
		AccessKey: req.accessKey, Role: s.sts.roleOf(req.accessKey), UserAgent: r.UserAgent(),
	})
	code, dropped := s.answer(w, req)
	if dropped {
		code = "dropped"
		drop(w)
	}
	s.calls.finish(id, code)
}

// answer carries out a call and writes its answer. It returns the code of the error it answered
// with, if any, or that the connection is to be dropped instead.
func (s *Server) answer(w http.ResponseWriter, req *request) (code string, dropped bool) {
	req.fault = s.faults.match(req, false)
	if !wait(req.ctx, req.fault.Delay) || req.fault.Drop == DropBefore {
		return "", true
	}
	out, err := s.carryOut(req)
	if req.ctx.Err() != nil || req.fault.Drop == DropAfter {
		return "", true
	}
	if err != nil {
		failure, ok := errors.AsType[*apiError](err)
		if !ok {
			failure = &apiError{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: err.Error()}
		}
		_ = req.service.encode.failure(w, req, failure) // fails only if the client has gone
		return failure.Code, false
	}
	if err := req.service.encode.result(w, req, out); err != nil {
		return err.Error(), false
	}
	return "", false
}

func (s *Server) carryOut(req *request) (any, error) {
	if req.fault.Code != "" && req.fault.FailEntries == 0 {
		return nil, req.fault.asError(req.service.name)
	}
	if req.accessKey == "" {
		return nil, missingCredentials(req.service.name)
	}
	if err := s.sts.authenticate(req); err != nil {
		return nil, err
	}
	handle, ok := req.service.actions[req.action]
	if !ok {
		return nil, &apiError{Code: "InvalidAction", Message: fmt.Sprintf("The action %s is not valid for this web service: awssim does not simulate it.", req.action)}
	}
	return handle(req)
}

// wait sleeps for d and reports whether it was not interrupted.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// drop closes the connection without an answer.
func drop(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}
