// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodetermination/operator/hack/operator"
)

// manager is a manager that a test has started. It ends with the test.
type manager struct {
	*operator.Process
	// mayEnd: the test ends it, or takes away what it lives on.
	mayEnd bool

	mu    sync.Mutex
	lines []line
}

// line is a line of the manager's log.
type line struct {
	at   time.Time
	text string
}

// startManager starts a manager that talks to the simulator aws. At the end of the test it is
// stopped, which has to go well, and its log is checked.
func startManager(t *testing.T, change ...func(*operator.Options)) *manager {
	t.Helper()
	m, err := tryManager(t, &manager{}, change...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryManager(t *testing.T, m *manager, change ...func(*operator.Options)) (*manager, error) {
	opts := operator.Options{
		Binary: binary, Kubeconfig: cluster.Get(t).Kubeconfig(), Dir: t.TempDir(), Env: aws.Env(), OnLine: m.note,
	}
	for _, set := range change {
		set(&opts)
	}
	process, err := operator.Start(t.Context(), opts)
	if err != nil {
		return nil, err
	}
	m.Process = process
	t.Cleanup(func() { m.end(t) })
	return m, nil
}

// end stops the manager if the test has not.
func (m *manager) end(t *testing.T) {
	select {
	case <-m.Done():
		if !m.mayEnd {
			t.Errorf("the manager ended by itself: %v", m.Wait())
		}
	default:
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	}
	m.checkLog(t)
	if t.Failed() {
		t.Logf("the end of the log of manager %d:\n%s", m.PID(), m.LogTail(40))
	}
}

// never is what no log may have in it, whatever is done to the manager.
// A termination's errors are logged by its own controller, once.
var never = regexp.MustCompile(`(?i)\bforbidden\b|panic|fatal error|data race|"Reconciler error","controller":"termination"`)

func (m *manager) checkLog(t *testing.T) {
	content, err := os.ReadFile(m.Log())
	if err != nil {
		t.Error(err)
	}
	for text := range strings.Lines(string(content)) {
		refused := strings.Contains(text, "denied request") // by an admission policy of the test, not for want of a right
		if never.MatchString(text) && !refused {
			t.Errorf("the manager's log says: %s", text)
			return
		}
	}
}

func (m *manager) note(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, line{time.Now(), text})
}

// said are the lines so far that contain a text.
func (m *manager) said(text string) []line {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []line
	for _, l := range m.lines {
		if strings.Contains(l.text, text) {
			found = append(found, l)
		}
	}
	return found
}

// untilSays waits for a line and returns when it was written.
func (m *manager) untilSays(t *testing.T, text string) time.Time {
	t.Helper()
	var at time.Time
	eventually(t, func() error {
		found := m.said(text)
		if len(found) == 0 {
			return fmt.Errorf("the manager has not said %q", text)
		}
		at = found[0].at
		return nil
	})
	return at
}

// What client-go says of the lease.
const (
	standsBy = "Attempting to acquire leader lease"
	leads    = "Successfully acquired lease"
)

// kill is kill -9.
func (m *manager) kill() {
	m.mayEnd = true
	m.Kill()
}
