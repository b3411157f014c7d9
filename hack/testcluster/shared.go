// SPDX-License-Identifier: Apache-2.0

package testcluster

import (
	"errors"
	"log"
	"sync"
	"testing"
)

// Shared is the control plane that the tests of a package share. The first test that asks for it
// starts it, so tests that need none do not wait for it, and run on a machine that has none.
type Shared struct {
	// Flags are added to those of "controlplane run", such as --audit-log=FILE.
	Flags []string
	// SetUp prepares the control plane for the first test that asks for it. Nil: nothing to prepare.
	SetUp func(*Cluster) error
	// TearDown ends what SetUp began, before the control plane is stopped, and checks what the tests
	// left. It receives the exit code of the tests. Nil: nothing to end.
	TearDown func(code int) error

	start   sync.Once
	cluster *Cluster
	err     error // of the start or of SetUp
}

// Get returns the control plane, started and set up. Under "go test -short" it skips the test instead,
// and it fails each test that asks if the control plane could not be started or set up.
func (s *Shared) Get(tb testing.TB) *Cluster {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs a control plane: not under -short")
	}
	s.start.Do(func() {
		if s.cluster, s.err = Start(s.Flags...); s.err == nil && s.SetUp != nil {
			s.err = s.SetUp(s.cluster)
		}
	})
	if s.err != nil {
		tb.Fatalf("starting the control plane: %v", s.err)
	}
	return s.cluster
}

// Main runs the tests of a package, stops the control plane if one of them started it, and returns
// the exit code: that of the tests, or 1 if the control plane did not end well.
func (s *Shared) Main(m *testing.M) int {
	code := m.Run()
	if err := s.stop(code); err != nil {
		log.Print("FAIL: ", err)
		return max(code, 1)
	}
	return code
}

// stop undoes what Get did.
func (s *Shared) stop(code int) error {
	if s.cluster == nil {
		return nil
	}
	var err error
	if s.err == nil && s.TearDown != nil {
		err = s.TearDown(code)
	}
	return errors.Join(err, s.cluster.Stop())
}
