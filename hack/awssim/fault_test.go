// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func (s *Server) mustAddFault(t *testing.T, f Fault) int {
	t.Helper()
	id, err := s.AddFault(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// poll is a receive without waiting, for its error.
func (q testQueue) poll(options ...func(*sqs.Options)) error {
	_, err := q.ReceiveMessage(q.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &q.url}, options...)
	return err
}

func TestFaultErrors(t *testing.T) {
	for _, test := range []struct {
		fault    Fault
		as       any // a pointer to the SDK's typed error, if there is one
		code     string
		status   int
		throttle bool
	}{
		{Fault{Code: "QueueDoesNotExist"}, new(*types.QueueDoesNotExist), "AWS.SimpleQueueService.NonExistentQueue", 400, false},
		{Fault{Code: "AWS.SimpleQueueService.NonExistentQueue"}, new(*types.QueueDoesNotExist), "AWS.SimpleQueueService.NonExistentQueue", 400, false},
		{Fault{Code: "RequestThrottled"}, new(*types.RequestThrottled), "RequestThrottled", 403, true},
		{Fault{Code: Throttle}, new(*types.RequestThrottled), "RequestThrottled", 403, true},
		{Fault{Code: "ThrottlingException"}, nil, "ThrottlingException", 400, true},
		{Fault{Code: "AccessDenied"}, nil, "AccessDenied", 403, false},
		{Fault{Code: "InvalidClientTokenId"}, nil, "InvalidClientTokenId", 403, false},
		{Fault{Code: "ExpiredToken"}, nil, "ExpiredToken", 403, false},
		{Fault{Code: "OverLimit"}, new(*types.OverLimit), "OverLimit", 403, false},
		{Fault{Code: "KMS.AccessDeniedException"}, new(*types.KmsAccessDenied), "KMS.AccessDeniedException", 400, false},
		{Fault{Code: ServerError}, nil, "InternalFailure", 500, false},
		{Fault{Code: "ServiceUnavailable"}, nil, "ServiceUnavailable", 503, false},
		{Fault{Code: "Odd", Status: 418, Message: "short and stout"}, nil, "Odd", 418, false},
	} {
		t.Run(test.fault.Code, func(t *testing.T) {
			q := newTestQueue(t, Options{}, nil)
			q.sim.mustAddFault(t, test.fault)
			err := q.poll()
			if errorCode(err) != test.code {
				t.Errorf("error %v, want code %s", err, test.code)
			}
			if test.as != nil && !errors.As(err, test.as) {
				t.Errorf("error %v is not a %T", err, test.as)
			}
			if response, ok := errors.AsType[*awshttp.ResponseError](err); !ok || response.HTTPStatusCode() != test.status {
				t.Errorf("error %v, want status %d", err, test.status)
			}
			if throttle := retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool(); throttle != test.throttle {
				t.Errorf("the SDK takes %v for throttling: %v, want %v", err, throttle, test.throttle)
			}
			if !strings.Contains(err.Error(), test.fault.Message) {
				t.Errorf("error %v lacks the message %q", err, test.fault.Message)
			}
		})
	}
}

func TestFaultWhichCalls(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.sim.mustAddFault(t, Fault{Service: "ec2", Code: ServerError})
	q.sim.mustAddFault(t, Fault{Service: "sqs", Action: "DeleteMessage", Code: ServerError})
	q.sim.mustAddFault(t, Fault{AccessKey: "AKIAOTHER", Code: "InvalidClientTokenId"})
	if err := q.poll(); err != nil {
		t.Errorf("a call that no fault is for: %v", err)
	}
	other := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAOTHER", SecretAccessKey: "x"}, nil
	})
	if err := q.poll(func(o *sqs.Options) { o.Credentials = other }); errorCode(err) != "InvalidClientTokenId" {
		t.Errorf("with the refused key: %v", err)
	}
	unsigned := must[*http.Request](t)(http.NewRequest(http.MethodPost, q.sim.URL(), strings.NewReader("{}")))
	unsigned.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
	response := must[*http.Response](t)(http.DefaultClient.Do(unsigned))
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("without credentials: status %d, want 403", response.StatusCode)
	}
	calls := q.sim.Calls("sqs", "ReceiveMessage")
	keys, codes := make([]string, 0, len(calls)), make([]string, 0, len(calls))
	for _, call := range calls {
		keys, codes = append(keys, call.AccessKey), append(codes, call.Error)
	}
	if got := strings.Join(keys, ",") + " " + strings.Join(codes, ","); got != "AKIATEST,AKIAOTHER, ,InvalidClientTokenId,AccessDenied" {
		t.Errorf("logged keys and errors %q", got)
	}
}

func TestFaultHowOften(t *testing.T) {
	q := newTestQueue(t, Options{Seed: 1}, nil)
	failures := func(n int) (failed int) {
		for range n {
			if q.poll() != nil {
				failed++
			}
		}
		return failed
	}
	q.sim.mustAddFault(t, Fault{Code: ServerError, Times: 3})
	if n := failures(5); n != 3 {
		t.Errorf("%d of 5 calls failed, want 3", n)
	}
	id := q.sim.mustAddFault(t, Fault{Code: ServerError})
	q.sim.ClearFault(id + 1)
	if n := failures(5); n != 5 {
		t.Errorf("%d of 5 calls failed before the fault was cleared", n)
	}
	q.sim.ClearFault(id)
	if n := failures(5); n != 0 {
		t.Errorf("%d of 5 calls failed after the fault was cleared", n)
	}
	q.sim.mustAddFault(t, Fault{Code: ServerError, Probability: 0.5})
	if n := failures(200); n < 70 || n > 130 {
		t.Errorf("%d of 200 calls failed at a probability of 0.5", n)
	}
	q.sim.ClearFaults()
	if n := failures(5); n != 0 {
		t.Errorf("%d of 5 calls failed after all faults were cleared", n)
	}
}

// The SDK's own retries get over throttling and broken connections.
func TestFaultIsRetriedByTheSDK(t *testing.T) {
	for _, fault := range []Fault{{Code: Throttle, Times: 2}, {Code: ServerError, Times: 2}, {Drop: DropBefore, Times: 2}} {
		q := newTestQueue(t, Options{}, nil)
		q.sim.mustAddFault(t, fault)
		err := q.poll(func(o *sqs.Options) {
			o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		})
		if n := len(q.sim.Calls("sqs", "")); err != nil || n != 3 {
			t.Errorf("with %+v: %v after %d calls, want success after 3", fault, err, n)
		}
	}
}

func TestFaultDelay(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.sim.mustAddFault(t, Fault{Delay: 200 * time.Millisecond})
	begun := time.Now()
	if err := q.poll(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
}

func TestFaultDrop(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	for drop, want := range map[string]int{DropBefore: 0, DropAfter: 1} {
		q.sim.mustAddFault(t, Fault{Drop: drop, Times: 1})
		_, err := q.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(drop)})
		if err == nil || errorCode(err) != "" {
			t.Errorf("drop %s: %v, want a broken connection", drop, err)
		}
		if n := len(q.receive()); n != want {
			t.Errorf("drop %s: %d messages arrived, want %d", drop, n, want)
		}
	}
}

func TestFaultDuplicates(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	done, cancel := q.receiving()
	defer cancel()
	q.sim.mustAddFault(t, Fault{Duplicates: 4})
	q.send("a")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var ids []string
	for got := q.receive(); len(got) > 0; got = q.receive() {
		for _, m := range got {
			ids = append(ids, *m.MessageId)
			q.remove(m)
		}
	}
	if len(ids) != 4 || ids[0] != ids[3] {
		t.Errorf("delivered again as %v, want 4 times under the same ID", ids)
	}
}

func TestFaultNewestFirst(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.send("a", "b", "c")
	q.sim.mustAddFault(t, Fault{NewestFirst: true, Times: 1})
	q.expect("newest first", q.receive(func(in *sqs.ReceiveMessageInput) { in.MaxNumberOfMessages = 2 }), "c", "b")
	q.expect("then the rest", q.receive(), "a")
}

func TestFaultFailEntries(t *testing.T) {
	q := newTestQueue(t, Options{}, nil)
	q.send("a", "b")
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url}
	for _, m := range q.receive() {
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: m.Body, ReceiptHandle: m.ReceiptHandle})
	}
	q.sim.mustAddFault(t, Fault{Action: "DeleteMessageBatch", Code: ServerError, FailEntries: 1, Times: 1})
	out := must[*sqs.DeleteMessageBatchOutput](t)(q.DeleteMessageBatch(t.Context(), in))
	if len(out.Failed) != 1 || *out.Failed[0].Id != "a" || out.Failed[0].SenderFault || len(out.Successful) != 1 {
		t.Errorf("failed %+v, succeeded %d; want a to fail by the service's fault", out.Failed, len(out.Successful))
	}
}

func TestFaultMistakes(t *testing.T) {
	s := start(t, Options{})
	for _, f := range []Fault{
		{},
		{Times: 3},
		{Service: "s3", Code: Throttle},
		{Code: Throttle, Probability: 1.5},
		{Code: Throttle, Times: -1},
		{Code: Throttle, Status: 200},
		{Status: 500},
		{FailEntries: 1},
		{Drop: "sometimes"},
		{Duplicates: 1, Code: Throttle},
		{Duplicates: 1, Service: "ec2"},
		{NewestFirst: true, Action: "DeleteMessage"},
	} {
		if _, err := s.AddFault(f); err == nil {
			t.Errorf("fault %+v was accepted", f)
		}
	}
}

func TestServerRefusesWhatItDoesNotUnderstand(t *testing.T) {
	s := start(t, Options{})
	for _, test := range []struct{ contentType, body, want string }{
		{"text/plain", "hello", "AWS_ENDPOINT_URL"},
		{"application/x-www-form-urlencoded", "Action=ListBuckets&Version=2006-03-01", `version "2006-03-01"`},
		{"application/x-www-form-urlencoded", "%zz", "form"},
		{"text/plain", strings.Repeat("x", maxBody+1), "too large"},
	} {
		response, err := http.Post(s.URL(), test.contentType, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		body := string(must[[]byte](t)(io.ReadAll(response.Body)))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(body, test.want) {
			t.Errorf("%.20q: status %d, %q; want 400 and %q", test.body, response.StatusCode, body, test.want)
		}
	}
	if _, err := Start(Options{Addr: "0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("listening on every address: %v", err)
	}
}
