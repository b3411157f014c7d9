// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// service is one AWS service: its actions and how it writes their answers.
type service struct {
	name    string
	actions map[string]handler
	encode  encoder
}

// handler carries out an action. Its error is an *apiError, unless the simulator itself is at fault.
type handler func(*request) (any, error)

// encoder writes answers in a service's protocol.
type encoder interface {
	result(w http.ResponseWriter, req *request, out any) error
	failure(w http.ResponseWriter, req *request, e *apiError) error
}

// request is one AWS call.
type request struct {
	ctx       context.Context
	service   *service
	action    string
	accessKey string
	// sessionToken belongs to a temporary access key; account is the caller's.
	sessionToken, account string
	body                  []byte            // of a JSON call
	form                  url.Values        // of a query call
	params                map[string]string // the same in brief, for the log
	fault                 Fault             // what the faults of this call add up to
}

// apiError is an error as AWS answers it. Code is what the SDK reports as ErrorCode(). A Status
// of 0 is the usual one of the code.
type apiError struct {
	Code    string
	Message string
	Status  int
}

// Error implements error.
func (e *apiError) Error() string { return e.Code + ": " + e.Message }

func (e *apiError) status() int {
	if e.Status != 0 {
		return e.Status
	}
	if status, ok := usualStatus[e.Code]; ok {
		return status
	}
	return http.StatusBadRequest
}

// fault names whose fault the error is, as AWS writes it.
func (e *apiError) fault() string {
	if e.status() >= 500 {
		return "Receiver"
	}
	return "Sender"
}

// usualStatus is the HTTP status of the errors that are not answered with 400.
// See "Common errors" in each service's API reference, for example
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
var usualStatus = map[string]int{
	"AccessDenied":               http.StatusForbidden,
	"AccessDeniedException":      http.StatusForbidden,
	"AuthFailure":                http.StatusUnauthorized,
	"ExpiredToken":               http.StatusForbidden,
	"InternalError":              http.StatusInternalServerError,
	"InternalFailure":            http.StatusInternalServerError,
	"InvalidClientTokenId":       http.StatusForbidden,
	"MissingAuthenticationToken": http.StatusForbidden,
	"OptInRequired":              http.StatusForbidden,
	"OverLimit":                  http.StatusForbidden,
	"ReceiptHandleIsInvalid":     http.StatusNotFound,
	"RequestLimitExceeded":       http.StatusServiceUnavailable,
	"RequestThrottled":           http.StatusForbidden,
	"ServiceUnavailable":         http.StatusServiceUnavailable,
	"SignatureDoesNotMatch":      http.StatusForbidden,
	"UnauthorizedOperation":      http.StatusForbidden,
}

// missingCredentials returns what a service answers to a call that is not signed at all.
func missingCredentials(service string) *apiError {
	switch service {
	case "sqs":
		return &apiError{Code: "AccessDenied", Message: "Access to the resource is denied."}
	case "ec2":
		return &apiError{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials"}
	}
	return &apiError{Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token"}
}

// invalidCredentials returns what a service answers to a key that it does not know.
func invalidCredentials(service string) *apiError {
	if service == "ec2" {
		return missingCredentials(service)
	}
	return &apiError{Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
}

// expiredCredentials returns what a service answers to temporary credentials that have expired.
func expiredCredentials(service string) *apiError {
	if service == "ec2" {
		return &apiError{Code: "RequestExpired", Message: "Request has expired."}
	}
	return &apiError{Code: "ExpiredToken", Message: "The security token included in the request is expired"}
}

// readRequest finds out which service and action r is for. Its error says what is wrong with r.
func (s *Server) readRequest(r *http.Request) (*request, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	req := &request{ctx: r.Context(), accessKey: accessKey(r), sessionToken: r.Header.Get("X-Amz-Security-Token"), params: map[string]string{}}
	if target, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."); ok {
		req.service, req.action, req.body = &s.sqs.service, target, body
		err := req.readJSONParams()
		return req, err
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, errors.New("awssim: neither an SQS JSON call nor a query call: set AWS_ENDPOINT_URL to this address and call it with an AWS SDK")
	}
	if req.form, err = url.ParseQuery(string(body)); err != nil {
		return nil, fmt.Errorf("awssim: reading the form: %w", err)
	}
	req.action = req.form.Get("Action")
	for key, values := range req.form {
		if key != "Action" && key != "Version" {
			req.params[key] = shorten(values[0])
		}
	}
	switch version := req.form.Get("Version"); version {
	case ec2Version:
		req.service = &s.ec2.service
	case autoScalingVersion:
		req.service = &s.asg.service
	case stsVersion:
		req.service = &s.sts.service
	default:
		return nil, fmt.Errorf("awssim: no service here has API version %q", version)
	}
	return req, nil
}

func (r *request) readJSONParams() error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &fields); err != nil {
		return fmt.Errorf("awssim: reading the body: %w", err)
	}
	for name, raw := range fields {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		r.params[name] = shorten(text)
	}
	return nil
}

func shorten(text string) string {
	const limit = 256
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}

// accessKey returns the key ID in a version 4 signature, or empty if r is not signed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func accessKey(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		return ""
	}
	key, _, _ := strings.Cut(credential, "/")
	return key
}

// list reads a query list such as InstanceId.1, InstanceId.2.
func (r *request) list(prefix string) []string {
	var values []string
	for i := 1; r.form.Has(prefix + "." + strconv.Itoa(i)); i++ {
		values = append(values, r.form.Get(prefix+"."+strconv.Itoa(i)))
	}
	return values
}

// jsonEncoder writes AWS JSON 1.0 with the header that keeps the codes of the query protocol.
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#query-compatible
type jsonEncoder struct {
	shapes map[string]string // error code to shape, where it is not the generic one
}

func (jsonEncoder) result(w http.ResponseWriter, _ *request, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, "application/x-amz-json-1.0", newUUID(), body)
}

func (j jsonEncoder) failure(w http.ResponseWriter, _ *request, e *apiError) error {
	shape, ok := j.shapes[e.Code]
	if !ok {
		shape = "com.amazon.coral.service#" + e.Code
	}
	body, err := json.Marshal(map[string]string{"__type": shape, "message": e.Message})
	if err != nil {
		return err
	}
	w.Header().Set("X-Amzn-Query-Error", e.Code+";"+e.fault())
	return write(w, e.status(), "application/x-amz-json-1.0", newUUID(), body)
}

// queryEncoder writes the AWS query protocol's XML.
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#response-serialization
type queryEncoder struct {
	namespace string
}

func (q queryEncoder) result(w http.ResponseWriter, req *request, out any) error {
	id := newUUID()
	body, err := element(req.action+"Response", q.namespace, struct {
		Result    any
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{named{req.action + "Result", out}, id})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, "text/xml", id, body)
}

func (q queryEncoder) failure(w http.ResponseWriter, _ *request, e *apiError) error {
	id := newUUID()
	body, err := element("ErrorResponse", q.namespace, struct {
		Type      string `xml:"Error>Type"`
		Code      string `xml:"Error>Code"`
		Message   string `xml:"Error>Message"`
		RequestID string `xml:"RequestId"`
	}{e.fault(), e.Code, e.Message, id})
	if err != nil {
		return err
	}
	return write(w, e.status(), "text/xml", id, body)
}

// ec2Encoder writes EC2's variant of it.
// https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html#response-serialization
type ec2Encoder struct {
	namespace string
}

func (q ec2Encoder) result(w http.ResponseWriter, req *request, out any) error {
	body, err := element(req.action+"Response", q.namespace, out)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, "text/xml;charset=UTF-8", newUUID(), body)
}

func (ec2Encoder) failure(w http.ResponseWriter, _ *request, e *apiError) error {
	id := newUUID()
	body, err := element("Response", "", struct {
		Code      string `xml:"Errors>Error>Code"`
		Message   string `xml:"Errors>Error>Message"`
		RequestID string `xml:"RequestID"`
	}{e.Code, e.Message, id})
	if err != nil {
		return err
	}
	return write(w, e.status(), "text/xml;charset=UTF-8", id, body)
}

// named encodes a value as an element whose name is known only at run time.
type named struct {
	name  string
	value any
}

// MarshalXML implements xml.Marshaler.
func (n named) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	return e.EncodeElement(n.value, xml.StartElement{Name: xml.Name{Local: n.name}})
}

func element(name, namespace string, value any) ([]byte, error) {
	var body bytes.Buffer
	body.WriteString(xml.Header)
	err := xml.NewEncoder(&body).EncodeElement(value, xml.StartElement{Name: xml.Name{Space: namespace, Local: name}})
	return body.Bytes(), err
}

func write(w http.ResponseWriter, status int, contentType, requestID string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-RequestId", requestID)
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // as AWS does
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
