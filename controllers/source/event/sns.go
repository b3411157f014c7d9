// SPDX-License-Identifier: Apache-2.0

package event

// notification is what SNS puts around a message for a queue that is
// subscribed to a topic without raw delivery.
// https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html
type notification struct {
	Type    string `json:"Type"`
	Message string `json:"Message"`
}

// unwrap takes the message out of an SNS notification.
func unwrap(body []byte) ([]byte, error) {
	var n notification
	if err := decode(body, "", &n); err != nil {
		return nil, err
	}
	switch n.Type {
	case "Notification":
		return []byte(n.Message), required("Message", n.Message, documents)
	case "SubscriptionConfirmation":
		// An error, as a message that is passed is deleted, and with it the link to confirm by.
		return nil, unexpected("Type", quote(n.Type), "Notification: the topic sends nothing until the queue's subscription is confirmed by the SubscribeURL in this message")
	}
	return nil, unexpected("Type", quote(n.Type), "Notification")
}
