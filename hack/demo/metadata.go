// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

const (
	policyName = "spot" // of the sample
	// watcherTimeout is how long the DaemonSet's pod may take to be there.
	watcherTimeout = 30 * time.Second
)

// announceInMetadata announces it in the instance's metadata, which a watcher polls from then on.
func (s *story) announceInMetadata(ctx context.Context) error {
	s.heading("A second source for the policy: a watcher of the instance metadata on every node")
	patch := `[{"op": "add", "path": "/spec/sources/-",
      "value": {"name": "metadata", "imds": {}}}]`
	out, err := s.kubectl(ctx, "patch", "nodeterminationpolicy", policyName, "--type=json", "--patch="+patch)
	if err != nil {
		return err
	}
	s.command("kubectl patch nodeterminationpolicy "+policyName+" --type=json \\\n    --patch='"+patch+"'", out)
	endpoint, err := s.startMetadata(ctx)
	if err != nil {
		return err
	}
	if err := s.startWatcher(ctx, endpoint); err != nil {
		return err
	}
	if err := s.showColumns(ctx, 71, "get", "daemonsets", "--namespace="+operator.WatcherNamespace); err != nil {
		return err
	}
	s.printf("\n  bin/imds-watcher runs in the place of the pod on %s,\n  with its rights and arguments.\n", s.node.Name)
	s.heading(fmt.Sprintf("EC2 interrupts %s too, and this time announces it only in the metadata", s.instance))
	return s.awssim(ctx, "awssim say "+awssim.MetadataKindSpot+" --endpoint "+endpoint)
}

// startMetadata starts the metadata service of the story's instance.
func (s *story) startMetadata(ctx context.Context) (endpoint string, err error) {
	s.metadata, err = startChild(ctx, "metadata service", s.root, s.bin("awssim"), "serve", "--metadata", s.instance, "--until-stdin-closes")
	if err != nil {
		return "", err
	}
	var ready struct{ Metadata map[string]string }
	if err := json.Unmarshal([]byte(s.metadata.ready), &ready); err != nil {
		return "", fmt.Errorf("the simulator should print JSON, but printed %q: %w", s.metadata.ready, err)
	}
	return ready.Metadata[s.instance], nil
}

// startWatcher starts the watcher of the story's node as soon as its pod is there.
func (s *story) startWatcher(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, watcherTimeout)
	defer cancel()
	for {
		var err error
		s.watcher, err = operator.StartWatcher(ctx, policyName, s.node.Name, operator.Options{
			Binary:     s.bin("imds-watcher"),
			Kubeconfig: s.kubeconfig,
			Dir:        s.dir,
			Env:        []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + endpoint},
			Args:       []string{"--log-format=console"},
		})
		if !errors.Is(err, operator.ErrNoWatcher) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w. %s", err, s.managerLog())
		}
	}
}

// watcherDone returns a channel that is closed when the watcher has ended; nil, which blocks, while there is none.
func (p *playground) watcherDone() <-chan struct{} {
	if p.watcher == nil {
		return nil
	}
	return p.watcher.Done()
}

// watcherEnded returns the error that the watcher has ended by itself.
func (p *playground) watcherEnded() error {
	return fmt.Errorf("the watcher ended by itself. The end of its log:\n%s", p.watcher.LogTail(20))
}
