// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

const (
	// webNodes have no disruption budgets. On each of databaseNodes a budget keeps databaseStay of the pods.
	webNodes, databaseNodes = 12, 6
	scenarioPods            = 10
	databaseStay            = 6
	scenarioLength          = 150 * time.Second
	web, database           = "web", "database" // policies, and what belongs to them
	scenarioHook            = "drain"
)

// scenario is nodes of two policies to which a bit of everything happens within some minutes, so that
// every metric of the manager moves.
type scenario struct {
	lab           *lab
	receiver      *httptest.Server
	web, database *scenarioPolicy
}

// scenarioPolicy is a policy and the nodes that it governs.
type scenarioPolicy struct {
	*policy
	fleet *fleet
}

// moment is what happens so long after the beginning.
type moment struct {
	after time.Duration
	what  string
	do    func() error
}

// recordScenario plays the scenario and writes the manager's metrics meanwhile to a file.
func recordScenario(ctx context.Context, path string) error {
	l, err := newLab()
	if err != nil {
		return err
	}
	return errors.Join(l.recordScenario(ctx, path), l.close())
}

func (l *lab) recordScenario(ctx context.Context, path string) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	m, err := l.startManager(ctx, leads, "--metrics-bind-address="+address)
	if err != nil {
		return err
	}
	s := &scenario{lab: l, receiver: newReceiver()}
	defer s.receiver.Close()
	err = s.prepare(ctx)
	if err == nil {
		err = s.record(ctx, path, address)
	}
	if err != nil {
		return fmt.Errorf("%w\nThe end of the manager's log:\n%s", errors.Join(err, m.Stop()), m.LogTail(20))
	}
	return m.Stop()
}

// newReceiver starts a receiver of webhooks, which fails every third to /chat and refuses those to other paths.
func newReceiver() *httptest.Server {
	var received atomic.Int64
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/chat":
			http.NotFound(w, r)
		case received.Add(1)%3 == 0:
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	}))
}

// prepare creates the nodes, pods, budgets, policies and the lifecycle hook.
func (s *scenario) prepare(ctx context.Context) (err error) {
	s.web, err = s.newPolicy(ctx, web, webNodes, 0, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = s.webhooks("chat")
	})
	if err != nil {
		return err
	}
	s.database, err = s.newPolicy(ctx, database, databaseNodes, scenarioPods, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Webhooks = s.webhooks("pager")
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionCordonAndDrain}}
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](40)}
		spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{
			Heartbeat:      &v1alpha1.Heartbeat{Mode: v1alpha1.HeartbeatInterval, IntervalSeconds: ptr.To[int32](10)},
			MaxWaitSeconds: ptr.To[int32](80),
		}
	})
	if err != nil {
		return err
	}
	return s.lab.aws.PutLifecycleHook(awssim.LifecycleHook{Group: database, Name: scenarioHook, HeartbeatTimeout: 30 * time.Second})
}

func (s *scenario) newPolicy(ctx context.Context, name string, nodes, perBudget int, change func(*v1alpha1.NodeTerminationPolicySpec)) (*scenarioPolicy, error) {
	inBudget := inBudgets(perBudget)
	f, err := s.lab.newFleet(ctx, name, nodes, scenarioPods, func(i int, pod *corev1.Pod) {
		pod.Annotations[testcluster.TerminatesAfter] = fmt.Sprintf("%ds", 2+i%scenarioPods)
		if i%scenarioPods == 0 {
			pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600) // longer than any notice
		}
		if inBudget != nil {
			inBudget(i, pod)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := f.createBudgets(ctx, perBudget, databaseStay); err != nil {
		return nil, err
	}
	p, err := s.lab.newPolicy(ctx, f, change)
	return &scenarioPolicy{p, f}, err
}

func (s *scenario) webhooks(name string) []v1alpha1.Webhook {
	return []v1alpha1.Webhook{{Name: name, URL: s.receiver.URL + "/" + name, PlainHTTP: v1alpha1.PlainHTTPAllow}}
}

// record plays the scenario from the first scrape on.
func (s *scenario) record(ctx context.Context, path, address string) error {
	scraper, err := s.lab.newScraper(ctx, path)
	if err != nil {
		return err
	}
	stop := scraper.start(ctx, address)
	err = s.play(ctx)
	stop()
	return errors.Join(err, scraper.close())
}

func (s *scenario) play(ctx context.Context) error {
	start := time.Now()
	for _, m := range s.moments() {
		if err := wait(ctx, time.Until(start.Add(m.after))); err != nil {
			return err
		}
		s.lab.progress("scenario: %s", m.what)
		if err := m.do(); err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
	}
	return wait(ctx, time.Until(start.Add(scenarioLength)))
}

// moments returns what happens, in order.
func (s *scenario) moments() []moment {
	aws := s.lab.aws
	spot := awssim.Notice{Kind: awssim.SpotInterruption}
	rebalance := awssim.Notice{Kind: awssim.RebalanceRecommendation}
	terminate := awssim.Notice{Kind: awssim.Lifecycle, Group: database, Hook: scenarioHook}
	maintenance := awssim.Notice{
		Kind: awssim.Health, NotBefore: time.Now().AddDate(0, 0, 14),
		EventARN: "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/scenario",
	}
	cancelled := maintenance
	cancelled.Status = "closed"
	return []moment{
		{5 * time.Second, "rebalance recommendations: a cordon, and a drain that fails at its timeout", func() error {
			return errors.Join(s.web.notify(rebalance, 0, 1), s.database.notify(rebalance, 0))
		}},
		{10 * time.Second, "spot interruptions, with and without budgets", func() error {
			return errors.Join(s.web.notify(spot, 2, 3), s.database.notify(spot, 1, 2))
		}},
		{15 * time.Second, "a maintenance in two weeks", func() error { return s.web.notify(maintenance, 4) }},
		{20 * time.Second, "lifecycle hooks, which Auto Scaling completes only after some errors", func() error {
			// More often than the SDK itself retries.
			_, err := aws.AddFault(awssim.Fault{Service: "autoscaling", Action: "CompleteLifecycleAction", Code: awssim.ServerError, Times: 8})
			return errors.Join(err, s.database.notify(terminate, 3, 4))
		}},
		{35 * time.Second, "more spot interruptions", func() error { return s.web.notify(spot, 5, 6, 7) }},
		{50 * time.Second, "messages that are about nothing here", s.sendUnrelated},
		{60 * time.Second, "the maintenance is cancelled, and an instance shuts down", func() error {
			return errors.Join(s.web.notify(cancelled, 4), s.web.notify(awssim.Notice{Kind: awssim.StateChange}, 8))
		}},
		{80 * time.Second, "the last spot interruptions", func() error { return s.web.notify(spot, 9, 10, 11) }},
		{100 * time.Second, "a queue is deleted", func() error { return aws.DeleteQueue(s.web.queue) }},
		{115 * time.Second, "the queue is created again", func() error {
			_, err := aws.CreateQueue(web, nil)
			return err
		}},
		{125 * time.Second, "a lifecycle hook that the manager may not touch", func() error {
			_, err := aws.AddFault(awssim.Fault{Service: "autoscaling", Code: "AccessDenied"})
			return errors.Join(err, s.database.notify(terminate, 5))
		}},
	}
}

// notify sends a message about each of these nodes.
func (p *scenarioPolicy) notify(n awssim.Notice, nodes ...int) error {
	for _, i := range nodes {
		n.InstanceIDs = []string{p.fleet.nodes[i].instance}
		if _, err := p.lab.aws.Send(p.queue, n); err != nil {
			return err
		}
	}
	return nil
}

// sendUnrelated sends messages that no NodeTermination comes of, each for another reason.
func (s *scenario) sendUnrelated() error {
	for _, n := range []awssim.Notice{
		{Kind: awssim.Raw, Body: "neither JSON nor anything else"},
		{Kind: awssim.TestNotification},
		{Kind: awssim.SpotInterruption, InstanceIDs: []string{"i-0123456789abcdef0"}},         // no node's
		{Kind: awssim.SpotInterruption, InstanceIDs: []string{s.web.fleet.nodes[0].instance}}, // another policy's
	} {
		if _, err := s.lab.aws.Send(s.database.queue, n); err != nil {
			return err
		}
	}
	return nil
}
