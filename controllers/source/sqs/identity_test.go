// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"testing"

	"github.com/nodetermination/operator/controllers/identity"
)

// TestInstanceOfNodeNotKnownYet: a message is neither retained for long nor discarded as that of an unknown instance
// while EC2 has not said which instances the nodes without a providerID run on.
func TestInstanceOfNodeNotKnownYet(t *testing.T) {
	f := newFixture(t, node("node", instance))
	f.opts.Identities = identity.New(identity.Options{}) // which knows nothing yet
	f.policy("all", discarding)
	f.spot(stranger)
	f.run()
	f.handled(1)
	if got := f.hiddenFor(); got != minRetry {
		t.Errorf("the message is hidden for %s, want %s", got, minRetry)
	}
	if len(f.logged.with("EC2 is asked which instances")) != 1 {
		t.Errorf("the log says %q", f.logged.text)
	}
}

// TestProviderIDNeedsNoAnswer: what is known of a node by its providerID waits for nobody.
func TestProviderIDNeedsNoAnswer(t *testing.T) {
	f := newFixture(t, node("node", instance))
	f.opts.Identities = identity.New(identity.Options{})
	f.policy("all")
	f.spot(instance)
	f.run()
	f.handled(1)
	if nt := f.termination(instance); nt == nil || nt.Spec.NodeName != "node" {
		t.Errorf("NodeTermination %+v", nt)
	}
}
