// SPDX-License-Identifier: Apache-2.0

package event

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// instanceDetail is what EC2's own events say about an instance. Each kind has
// the ID and some of the rest.
type instanceDetail struct {
	InstanceID      string `json:"instance-id"`
	Action          string `json:"instance-action"`
	State           string `json:"state"`
	TerminationTime string `json:"instance-termination-time"`
}

// instance reads the detail of an event of EC2.
func (b eventBridgeEvent) instance() (instanceDetail, error) {
	var d instanceDetail
	if err := decode(b.detail, "detail.", &d); err != nil {
		return d, err
	}
	return d, checkInstanceID("detail.instance-id", d.InstanceID)
}

// fact returns the document of an event of EC2, which is about one instance.
func (d instanceDetail) fact(e v1alpha1.Event) Document {
	return Document{Facts: []Fact{{InstanceID: d.InstanceID, Event: e}}}
}

// noticeEnd returns the end of the two minutes' notice that EC2 gives before an
// interruption. They also count from when the message was sent, in case the event's time
// is ahead of that.
func (b eventBridgeEvent) noticeEnd() time.Time {
	const notice = 2 * time.Minute
	if !b.sent.IsZero() && b.sent.Before(b.time) {
		return b.sent.UTC().Truncate(time.Second).Add(notice)
	}
	return b.time.Add(notice)
}
