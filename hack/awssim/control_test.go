// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// control calls the control endpoint and returns the status and the answer.
func (s *Server) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	request := must[*http.Request](t)(http.NewRequest(method, s.URL()+controlPath+path, strings.NewReader(body)))
	response := must[*http.Response](t)(http.DefaultClient.Do(request))
	answer := must[[]byte](t)(io.ReadAll(response.Body))
	_ = response.Body.Close()
	return response.StatusCode, string(answer)
}

func TestControl(t *testing.T) {
	q := newTestQueue(t, Options{Now: stopped}, nil)
	steps := []struct{ method, path, body, want string }{
		{"POST", "faults", `{"code": "throttle", "times": 5}`, `{"id":1}`},
		{"DELETE", "faults?id=1", "", "{}"},
		{"POST", "faults", `{"code": "throttle"}`, `{"id":2}`},
		{"DELETE", "faults", "", "{}"},
		{"POST", "notices?queueURL=" + q.url, `{"kind": "lifecycle", "instanceIDs": ["i-11111111"]}`, `{"messageID":`},
		{"POST", "hooks", `{"group": "g", "name": "h", "heartbeatTimeout": 60000000000}`, "{}"},
		{"POST", "instances", `{"id": "i-11111111", "spot": true, "tags": {"a": "b"}}`, "{}"},
		{"POST", "advance", `{"seconds": 3600}`, "{}"},
		{"GET", "lifecycle-actions", "", `"timedOut":true`},
		{"GET", "calls", "", "[]"},
	}
	for _, step := range steps {
		if status, got := q.sim.call(t, step.method, step.path, step.body); status != http.StatusOK || !strings.Contains(got, step.want) {
			t.Fatalf("%s %s: status %d, %s; want %s", step.method, step.path, status, got, step.want)
		}
	}
	if err := q.poll(); err != nil {
		t.Fatalf("after all faults were cleared: %v", err)
	}
	if _, ok := q.sim.ec2.instances["i-11111111"]; !ok {
		t.Error("the instance is not there")
	}
	if _, err := q.sim.BeginLifecycleAction("g", "h", "i-11111111"); err != nil {
		t.Error(err)
	}

	_, answer := q.sim.call(t, "GET", "calls?service=sqs&action=ReceiveMessage", "")
	var calls []Call
	if err := json.Unmarshal([]byte(answer), &calls); err != nil {
		t.Fatal(err)
	}
	if len(calls) != 1 || !calls[0].Done || calls[0].Params["QueueUrl"] != q.url || !strings.Contains(calls[0].UserAgent, "aws-sdk-go-v2") || !calls[0].Time.Equal(epoch.Add(time.Hour)) {
		t.Errorf("calls %+v", calls)
	}
	q.sim.call(t, "DELETE", "calls", "")
	if left := q.sim.Calls("", ""); len(left) != 0 {
		t.Errorf("calls left: %v", left)
	}
}

func TestControlMistakes(t *testing.T) {
	s := start(t, Options{})
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", "faults", `{}`, "nothing would happen"},
		{"POST", "faults", `{"colour": 1}`, "colour"},
		{"POST", "faults", `{`, "EOF"},
		{"DELETE", "faults?id=x", "", "invalid syntax"},
		{"POST", "notices", `{"kind": "raw", "body": "x"}`, "QueueUrl"},
		{"POST", "notices", `{"kind": "spot"}`, "one instance"},
		{"POST", "instances", `{"id": "node"}`, "instance ID"},
		{"POST", "hooks", `{}`, "needs the name"},
	} {
		if status, got := s.call(t, test.method, test.path, test.body); status != http.StatusBadRequest || !strings.Contains(got, test.want) {
			t.Errorf("%s %s %s: status %d, %q; want 400 and %q", test.method, test.path, test.body, status, got, test.want)
		}
	}
}

func TestCallLogIsBounded(t *testing.T) {
	var log calls
	first := log.start(Call{})
	for range 2 * keptCalls {
		log.finish(log.start(Call{}), "")
	}
	log.finish(first, "late") // it has left the log
	if n := len(log.log); n < keptCalls || n > 2*keptCalls {
		t.Errorf("the log holds %d calls, want %d to %d", n, keptCalls, 2*keptCalls)
	}
	for i, call := range log.log {
		if !call.Done || call.Error != "" {
			t.Fatalf("call %d is %+v", i, call)
		}
	}
}
