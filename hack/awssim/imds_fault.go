// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// MetadataFault makes requests for metadata fail. The first field says which, the next two how
// often, the rest what happens.
type MetadataFault struct {
	// Path below /latest/, such as meta-data/spot/instance-action or api/token. Empty: any.
	Path string `json:"path,omitempty"`

	// Times is the number of requests it happens to. 0: until cleared.
	Times int `json:"times,omitempty"`
	// Probability, 0 to 1, that it happens to a request. 0 counts as 1.
	Probability float64 `json:"probability,omitempty"`

	// Status of the answer, such as 401, 404 or 503, instead of what the document says.
	Status int `json:"status,omitempty"`
	// Delay before the answer, in nanoseconds in JSON.
	Delay time.Duration `json:"delay,omitempty"`
	// Drop closes the connection without an answer.
	Drop bool `json:"drop,omitempty"`
	// Truncate closes the connection in the middle of the answer.
	Truncate bool `json:"truncate,omitempty"`
	// Body instead of the document's, where there is one.
	Body string `json:"body,omitempty"`
}

func (f MetadataFault) validate() error {
	switch {
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability %v: use a number from 0 to 1", f.Probability)
	case f.Times < 0 || f.Delay < 0:
		return errors.New("times and delay cannot be negative")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d: use one from 400 to 599", f.Status)
	case f.Status == 0 && f.Delay == 0 && !f.Drop && !f.Truncate && f.Body == "":
		return errors.New("nothing would happen: set status, delay, drop, truncate or body")
	}
	return nil
}

// AddFault makes requests fail from now on, or says what is wrong with the fault. Of several that
// hit a request, the first added happens.
func (m *Metadata) AddFault(f MetadataFault) error {
	if err := f.validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.active = append(m.faults.active, &f)
	return nil
}

// ClearFaults ends all faults.
func (m *Metadata) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.active = nil
}

// metadataFaults are those in force. Metadata.mu guards them.
type metadataFaults struct {
	random *rand.Rand
	active []*MetadataFault
}

func newMetadataFaults(seed uint64) metadataFaults {
	return metadataFaults{random: rand.New(rand.NewPCG(seed, seed))}
}

// match uses up the fault that hits a request for a path, and returns it.
func (fs *metadataFaults) match(path string) MetadataFault {
	for i, f := range fs.active {
		if f.Path != "" && f.Path != path || f.Probability > 0 && fs.random.Float64() >= f.Probability {
			continue
		}
		hit := *f
		if f.Times == 1 {
			fs.active = slices.Delete(fs.active, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return hit
	}
	return MetadataFault{}
}
