// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"container/list"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sqsService is SQS with standard queues.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
type sqsService struct {
	service
	server *Server

	mu     sync.Mutex
	queues map[string]*queue // by name
}

// sqsShapes are SQS's errors: the code to the shape that the JSON protocol names.
var sqsShapes = map[string]string{
	"AWS.SimpleQueueService.BatchEntryIdsNotDistinct":     "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
	"AWS.SimpleQueueService.BatchRequestTooLong":          "com.amazonaws.sqs#BatchRequestTooLong",
	"AWS.SimpleQueueService.EmptyBatchRequest":            "com.amazonaws.sqs#EmptyBatchRequest",
	"AWS.SimpleQueueService.InvalidBatchEntryId":          "com.amazonaws.sqs#InvalidBatchEntryId",
	"AWS.SimpleQueueService.MessageNotInflight":           "com.amazonaws.sqs#MessageNotInflight",
	"AWS.SimpleQueueService.NonExistentQueue":             "com.amazonaws.sqs#QueueDoesNotExist",
	"AWS.SimpleQueueService.TooManyEntriesInBatchRequest": "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
	"AWS.SimpleQueueService.UnsupportedOperation":         "com.amazonaws.sqs#UnsupportedOperation",
	"InvalidAddress":            "com.amazonaws.sqs#InvalidAddress",
	"InvalidAttributeName":      "com.amazonaws.sqs#InvalidAttributeName",
	"InvalidAttributeValue":     "com.amazonaws.sqs#InvalidAttributeValue",
	"InvalidMessageContents":    "com.amazonaws.sqs#InvalidMessageContents",
	"InvalidSecurity":           "com.amazonaws.sqs#InvalidSecurity",
	"KMS.AccessDeniedException": "com.amazonaws.sqs#KmsAccessDenied",
	"OverLimit":                 "com.amazonaws.sqs#OverLimit",
	"QueueAlreadyExists":        "com.amazonaws.sqs#QueueNameExists",
	"ReceiptHandleIsInvalid":    "com.amazonaws.sqs#ReceiptHandleIsInvalid",
	"RequestThrottled":          "com.amazonaws.sqs#RequestThrottled",

	"AccessDenied":               "com.amazon.coral.service#AccessDeniedException",
	"ExpiredToken":               "com.amazon.coral.service#ExpiredTokenException",
	"InvalidClientTokenId":       "com.amazon.coral.service#UnrecognizedClientException",
	"InvalidParameterValue":      "com.amazon.coral.service#InvalidParameterValueException",
	"MissingAuthenticationToken": "com.amazon.coral.service#MissingAuthenticationTokenException",
	"MissingParameter":           "com.amazon.coral.service#MissingRequiredParameterException",
}

// sqsCode accepts an error's shape, such as QueueDoesNotExist, for its code.
func sqsCode(name string) string {
	for code, shape := range sqsShapes {
		if strings.HasSuffix(shape, "#"+name) {
			return code
		}
	}
	return name
}

func invalidParameter(format string, args ...any) *apiError {
	return &apiError{Code: "InvalidParameterValue", Message: fmt.Sprintf(format, args...)}
}

func newSQS(server *Server) *sqsService {
	s := &sqsService{server: server, queues: map[string]*queue{}}
	s.service = service{name: "sqs", encode: jsonEncoder{sqsShapes}, actions: map[string]handler{
		"CreateQueue":                  s.createQueue,
		"DeleteQueue":                  s.deleteQueue,
		"PurgeQueue":                   s.purgeQueue,
		"GetQueueUrl":                  s.getQueueURL,
		"GetQueueAttributes":           s.getQueueAttributes,
		"SendMessage":                  s.sendMessage,
		"SendMessageBatch":             s.sendMessageBatch,
		"ReceiveMessage":               s.receiveMessage,
		"DeleteMessage":                s.deleteMessage,
		"DeleteMessageBatch":           s.deleteMessageBatch,
		"ChangeMessageVisibility":      s.changeMessageVisibility,
		"ChangeMessageVisibilityBatch": s.changeMessageVisibilityBatch,
	}}
	return s
}

// find returns the queue of a URL, by its last two parts, so that any endpoint will do.
func (s *sqsService) find(url string) (*queue, error) {
	if url == "" {
		return nil, &apiError{Code: "MissingParameter", Message: "The request must contain the parameter QueueUrl."}
	}
	parts := strings.Split(url, "/")
	name := parts[len(parts)-1]
	q := s.queues[name]
	if q == nil || !strings.HasSuffix(url, "/"+Account+"/"+name) {
		return nil, &apiError{Code: "AWS.SimpleQueueService.NonExistentQueue", Message: "The specified queue does not exist."}
	}
	return q, nil
}

// within runs f on the queue of the URL, up to date, with the lock held.
func (s *sqsService) within(url string, f func(q *queue, now time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(url)
	if err != nil {
		return err
	}
	now := s.server.now()
	q.settle(now)
	return f(q, now)
}

func (s *sqsService) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		q.wake()
	}
}

// decode reads a JSON call's input.
func decode[T any](req *request) (in T, err error) {
	if json.Unmarshal(req.body, &in) != nil {
		return in, &apiError{Code: "InvalidParameterValue", Message: "The request body does not have the types this action takes."}
	}
	return in, nil
}

type queueInput struct {
	QueueURL string `json:"QueueUrl"`
}

func (s *sqsService) deleteQueue(req *request) (any, error) {
	in, err := decode[queueInput](req)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.within(in.QueueURL, func(q *queue, _ time.Time) error {
		delete(s.queues, q.name)
		q.wake()
		return nil
	})
}

func (s *sqsService) purgeQueue(req *request) (any, error) {
	in, err := decode[queueInput](req)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.within(in.QueueURL, func(q *queue, _ time.Time) error {
		for _, m := range q.messages {
			q.remove(m)
		}
		return nil
	})
}

func (s *sqsService) getQueueURL(req *request) (any, error) {
	in, err := decode[struct {
		QueueName string
		AccountID string `json:"QueueOwnerAWSAccountId"`
	}](req)
	if err != nil {
		return nil, err
	}
	var url string
	err = s.within("/"+cmp.Or(in.AccountID, Account)+"/"+in.QueueName, func(q *queue, _ time.Time) error {
		url = q.url
		return nil
	})
	return map[string]string{"QueueUrl": url}, err
}

func (s *sqsService) createQueue(req *request) (any, error) {
	in, err := decode[struct {
		QueueName  string
		Attributes map[string]string
	}](req)
	if err != nil {
		return nil, err
	}
	url, err := s.create(in.QueueName, in.Attributes)
	return map[string]string{"QueueUrl": url}, err
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func (s *sqsService) create(name string, attributes map[string]string) (url string, err error) {
	if strings.HasSuffix(name, ".fifo") {
		return "", &apiError{Code: "AWS.SimpleQueueService.UnsupportedOperation", Message: "awssim simulates standard queues only."}
	}
	if !queueName.MatchString(name) {
		return "", invalidParameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil {
		for key, value := range attributes {
			if q.attributes[key] != value {
				return "", &apiError{Code: "QueueAlreadyExists", Message: "A queue already exists with the same name and a different value for attribute " + key}
			}
		}
		return q.url, nil
	}
	q := &queue{
		name:        name,
		url:         s.server.url + "/" + Account + "/" + name,
		arn:         s.server.arn("sqs", name),
		uid:         newUUID(),
		created:     s.server.now(),
		maxInFlight: maxInFlight,
		messages:    map[uint64]*message{},
		ready:       list.New(),
		changed:     make(chan struct{}),
	}
	if err := s.configure(q, attributes); err != nil {
		return "", err
	}
	s.queues[name] = q
	return q.url, nil
}

// queueDefaults are the attributes that are numbers: default and bounds, in seconds and bytes.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
var queueDefaults = map[string]struct{ value, min, max int }{
	"DelaySeconds":                  {0, 0, 900},
	"MaximumMessageSize":            {1 << 20, 1 << 10, 1 << 20},
	"MessageRetentionPeriod":        {345_600, 60, 1_209_600},
	"ReceiveMessageWaitTimeSeconds": {0, 0, 20},
	"VisibilityTimeout":             {30, 0, 43_200},
}

func (s *sqsService) configure(q *queue, attributes map[string]string) error {
	numbers := map[string]int{}
	q.attributes = map[string]string{}
	for name, bounds := range queueDefaults {
		numbers[name] = bounds.value
		q.attributes[name] = strconv.Itoa(bounds.value)
	}
	for name, value := range attributes {
		q.attributes[name] = value
		bounds, ok := queueDefaults[name]
		if !ok {
			if !slices.Contains([]string{"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"}, name) {
				return &apiError{Code: "InvalidAttributeName", Message: "Unknown Attribute " + name + "."}
			}
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < bounds.min || n > bounds.max {
			return &apiError{Code: "InvalidAttributeValue", Message: fmt.Sprintf("Invalid value for the parameter %s: use %d to %d.", name, bounds.min, bounds.max)}
		}
		numbers[name] = n
	}
	seconds := func(name string) time.Duration { return time.Duration(numbers[name]) * time.Second }
	q.delay = seconds("DelaySeconds")
	q.retention = seconds("MessageRetentionPeriod")
	q.receiveWait = seconds("ReceiveMessageWaitTimeSeconds")
	q.visibility = seconds("VisibilityTimeout")
	q.maxSize = numbers["MaximumMessageSize"]
	return s.configureRedrive(q, attributes["RedrivePolicy"])
}

func (s *sqsService) configureRedrive(q *queue, policy string) error {
	if policy == "" {
		return nil
	}
	var redrive struct {
		DeadLetterTargetARN string      `json:"deadLetterTargetArn"`
		MaxReceiveCount     json.Number `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(policy), &redrive); err != nil {
		return invalidParameter("Value %s for parameter RedrivePolicy is invalid. Reason: Redrive policy is not a valid JSON map.", policy)
	}
	n, err := redrive.MaxReceiveCount.Int64()
	if err != nil || n < 1 || n > 1000 {
		return invalidParameter("Value %s for parameter RedrivePolicy is invalid. Reason: Invalid value for maxReceiveCount: use 1 to 1000.", policy)
	}
	q.maxReceives, q.deadLetterARN = int(n), redrive.DeadLetterTargetARN
	if s.deadLetters(q) == nil {
		return invalidParameter("Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.", policy)
	}
	return nil
}

// deadLetters returns the queue that q's messages go to when they have been received too often.
func (s *sqsService) deadLetters(q *queue) *queue {
	name, ok := strings.CutPrefix(q.deadLetterARN, s.server.arn("sqs", ""))
	if !ok {
		return nil
	}
	return s.queues[name]
}

func (s *sqsService) getQueueAttributes(req *request) (any, error) {
	in, err := decode[struct {
		queueInput
		AttributeNames []string
	}](req)
	if err != nil {
		return nil, err
	}
	chosen := map[string]string{}
	err = s.within(in.QueueURL, func(q *queue, _ time.Time) error {
		all := maps.Clone(q.attributes)
		all["QueueArn"] = q.arn
		all["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
		all["LastModifiedTimestamp"] = all["CreatedTimestamp"]
		all["ApproximateNumberOfMessages"] = strconv.Itoa(q.count[stateReady])
		all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(q.count[stateInFlight])
		all["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(q.count[stateDelayed])
		for name, value := range all {
			if slices.Contains(in.AttributeNames, name) || slices.Contains(in.AttributeNames, "All") {
				chosen[name] = value
			}
		}
		return nil
	})
	return map[string]any{"Attributes": chosen}, err
}

// CreateQueue makes a standard queue with the attributes of the API's CreateQueue, nil for the
// defaults, and returns its URL. A queue of that name with these attributes is returned as it is.
func (s *Server) CreateQueue(name string, attributes map[string]string) (url string, err error) {
	return s.sqs.create(name, attributes)
}

// QueueARN returns the ARN of the queue with the name, for a RedrivePolicy.
func (s *Server) QueueARN(name string) string { return s.arn("sqs", name) }

// DeleteQueue removes the queue with its messages; waiting receives fail with QueueDoesNotExist.
func (s *Server) DeleteQueue(url string) error {
	return s.sqs.within(url, func(q *queue, _ time.Time) error {
		delete(s.sqs.queues, q.name)
		q.wake()
		return nil
	})
}

// SendMessage puts a message into the queue and returns its ID.
func (s *Server) SendMessage(queueURL, body string) (messageID string, err error) {
	m, err := s.sqs.send(queueURL, sendEntry{MessageBody: body})
	if err != nil {
		return "", err
	}
	return m.id, nil
}

// Message is a message as it lies in a queue.
type Message struct {
	ID, Body string
	Sent     time.Time
	// Receives is how often it has been received.
	Receives int
	// InFlight: it has been received and is hidden until VisibleAt.
	InFlight  bool
	VisibleAt time.Time
}

// Messages returns the messages in the queue, oldest first, hidden ones as well.
func (s *Server) Messages(queueURL string) ([]Message, error) {
	var found []Message
	err := s.sqs.within(queueURL, func(q *queue, _ time.Time) error {
		for _, key := range slices.Sorted(maps.Keys(q.messages)) {
			m := q.messages[key]
			found = append(found, Message{
				ID: m.id, Body: m.body, Sent: m.sent, Receives: m.receives,
				InFlight: m.state == stateInFlight, VisibleAt: m.visible,
			})
		}
		return nil
	})
	return found, err
}
