// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// startAttempts is how often the instance is asked for before the watcher gives up.
	startAttempts = 5
	// calmEvery is how often at most documents are read that announce nothing with a
	// near deadline: a recommendation has none, and a hook waits for half a minute at
	// the least. Requests are nearly all that a watcher does.
	calmEvery = 10 * time.Second
	// maintenanceEvery is the same for what is days ahead.
	maintenanceEvery = 30 * time.Second
	// jitter is the part of the poll interval that is random, so that the nodes
	// of a cluster do not all find the same thing at once.
	jitter = 0.2
	// heartbeatInterval is how often at most the heartbeat is renewed, and grace for how
	// long it counts beyond the next poll: some failures in a row are nothing to worry about.
	heartbeatInterval, grace = 10 * time.Second, 40 * time.Second
	// fullRetry bounds the wait for room where a NodeTermination is full: the manager makes
	// some as soon as it sees that.
	fullRetry = 2 * time.Second
	// disabledTimeout is for how long the metadata service has to be disabled before the
	// watcher ends, which receives nothing anyway: only then does its pod's status say why.
	disabledTimeout = 5 * time.Minute
)

// Options of a Watcher. None of them may be left out but Endpoint, EndpointMode, Heartbeat and Metrics.
type Options struct {
	// NodeName is the Kubernetes node that the watcher runs on.
	NodeName string
	// BootID tells the machine's boots apart, as the Node's status.nodeInfo.bootID does.
	BootID string
	// PollInterval is how often the notice of a spot interruption is polled for, on
	// average. Other documents are read at most every 10 s, those about maintenance
	// every 30 s.
	PollInterval time.Duration
	// Endpoint of the metadata service, such as http://localhost:1338. Empty: EC2's own.
	Endpoint string
	// EndpointMode is IPv4 for EC2's http://169.254.169.254, IPv6 for http://[fd00:ec2::254].
	// If both are empty, AWS_EC2_METADATA_SERVICE_ENDPOINT counts, and
	// AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE, else it is IPv4.
	EndpointMode string
	// Heartbeat is the file that Probe reads. Empty: none.
	Heartbeat string
	// Metrics is the address that metrics are served at, such as :9100. Empty: none.
	Metrics string
	// Config of the API server.
	Config *rest.Config
	// Log gets a line for each event, and for errors that last.
	Log logr.Logger
	// Clock that everything but the timeouts of calls goes by.
	Clock clock.Clock
}

// Watcher stores what the instance metadata service announces. It is to be run once.
type Watcher struct {
	opts      Options
	metadata  *metadata
	store     store
	heartbeat heartbeat
	instance  event.Instance
	documents []*document
	scheduled *document // the one of them that lists maintenance
	counters  *counters

	lastHeartbeat time.Time
	stored        map[string]v1alpha1.Event // by id, as the documents have them
	comparedBoots bool                      // what earlier boots' scheduled had, and this one's has not, is over
	failures      int                       // to store, in a row
	backoff       wait.Backoff              // of the failures in a row
	retry         time.Time                 // not to be stored before
	lastError     string                    // why not, as it was logged
	disabledSince time.Time                 // the metadata service; zero: it is enabled
}

// New makes no call. Its error says what is wrong with the options or the environment.
func New(opts Options) (*Watcher, error) {
	return newWatcher(opts, nil)
}

func newWatcher(opts Options, transport http.RoundTripper) (*Watcher, error) {
	metadata, err := newMetadata(opts.Endpoint, opts.EndpointMode, transport)
	if err != nil {
		return nil, err
	}
	client, err := newClient(opts.Config)
	if err != nil {
		return nil, err
	}
	w := &Watcher{
		opts:      opts,
		metadata:  metadata,
		store:     store{client: client, clock: opts.Clock, nodeName: opts.NodeName},
		heartbeat: heartbeat(opts.Heartbeat),
		stored:    map[string]v1alpha1.Event{},
		backoff:   retryBackoff,
	}
	calm, maintenance := max(opts.PollInterval, calmEvery), max(opts.PollInterval, maintenanceEvery)
	for _, d := range []document{
		{path: event.PathSpotInstanceAction, every: opts.PollInterval},
		{path: event.PathTargetLifecycleState, every: calm},
		{path: event.PathRebalance, every: calm},
		{path: event.PathMaintenance, every: maintenance},
		{path: event.PathMaintenanceHistory, every: maintenance},
	} {
		d.log = opts.Log.WithValues("path", d.path)
		d.backoff = retryBackoff
		w.documents = append(w.documents, &d)
		if d.path == event.PathMaintenance {
			w.scheduled = &d
		}
	}
	w.counters = newCounters(w.documents)
	return w, nil
}

// Run watches until ctx ends. The error says why it could not start, or that the metadata
// service was disabled meanwhile, and what to do about it.
func (w *Watcher) Run(ctx context.Context) error {
	if w.opts.Metrics != "" {
		go w.serve(ctx)
	}
	if err := w.begin(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	for ctx.Err() == nil {
		next := w.step(ctx)
		if w.metadataDisabled() {
			return errMetadataDisabled
		}
		w.sleep(ctx, next.Sub(w.opts.Clock.Now()))
	}
	return nil
}

// metadataDisabled reports whether the metadata service has been disabled for
// disabledTimeout, and nothing is left to be stored.
func (w *Watcher) metadataDisabled() bool {
	if slices.ContainsFunc(w.documents, func(d *document) bool { return d.lastError != errMetadataDisabled.Error() }) {
		w.disabledSince = time.Time{}
		return false
	}
	now := w.opts.Clock.Now()
	if w.disabledSince.IsZero() {
		w.disabledSince = now
	}
	return now.Sub(w.disabledSince) >= disabledTimeout && len(w.unstored()) == 0
}

// step does what is due, and returns when there is something to do again.
func (w *Watcher) step(ctx context.Context) time.Time {
	w.poll(ctx)
	w.storeAll(ctx)
	w.writeHeartbeat()
	return w.next()
}

// begin learns which instance this is.
func (w *Watcher) begin(ctx context.Context) error {
	if err := w.heartbeat.create(); err != nil {
		return err
	}
	backoff := retryBackoff
	for failures := 1; ; failures++ {
		identity, err := w.metadata.identify(ctx)
		if err == nil {
			w.store.identity = identity
			w.instance = event.Instance{InstanceID: identity.instanceID, BootID: w.opts.BootID}
			w.opts.Log.Info("watching", "instance", identity.instanceID, "node", w.opts.NodeName, "every", w.opts.PollInterval.String())
			return nil
		}
		if failures == startAttempts || ctx.Err() != nil {
			return err
		}
		w.opts.Log.Info("the instance is not known yet", "error", err.Error(), "attempts", failures)
		w.sleep(ctx, backoff.Step())
	}
}

// poll reads the documents that are due, or soon would be, so that they stay together.
func (w *Watcher) poll(ctx context.Context) {
	now := w.opts.Clock.Now()
	soon := now.Add(w.opts.PollInterval / 2)
	factor := 1 + jitter*(rand.Float64()-0.5)
	asked := false
	for _, d := range w.documents {
		if soon.Before(d.due) {
			continue
		}
		asked = true
		d.read(ctx, w.metadata, w.instance)
		if d.due = now.Add(time.Duration(float64(d.every) * factor)); d.failures > 0 {
			d.due = w.opts.Clock.Now().Add(d.backoff.Step())
		}
		w.counters.read(d.path, d.result())
	}
	if asked && !slices.ContainsFunc(w.documents, func(d *document) bool { return d.failures > 0 }) {
		w.counters.readAll(now)
	}
}

// storeAll stores what was received and is not stored. It is tried again as long as the
// metadata announces it: until EC2 terminates the instance, or cancels.
func (w *Watcher) storeAll(ctx context.Context) {
	if w.opts.Clock.Now().Before(w.retry) {
		return
	}
	w.store.forget()
	var errs []error
	for _, e := range w.unstored() {
		err := w.storeOne(ctx, e)
		if err == nil {
			w.stored[e.ID] = e
		}
		errs = append(errs, err)
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, w.compareBoots(ctx))
	}
	if errors.Join(errs...) == nil {
		w.failures, w.backoff, w.retry, w.lastError = 0, retryBackoff, time.Time{}, ""
		return
	}
	w.failures++
	pause := w.backoff.Step()
	if slices.ContainsFunc(errs, isFull) {
		pause = min(pause, fullRetry)
	}
	w.retry = w.opts.Clock.Now().Add(pause)
}

// storeOne stores a statement, and logs and counts that.
func (w *Watcher) storeOne(ctx context.Context, e v1alpha1.Event) error {
	stored, err := w.store.store(ctx, e)
	log := w.logOf(e)
	switch {
	case err != nil:
		w.logOnce(ctx, log, err)
	case !stored:
		log.V(1).Info("event is nothing new")
		return nil
	case isRenewal(e, w.stored[e.ID]):
		log.V(1).Info("event stored again with another time")
	default:
		log.Info("event stored")
	}
	w.counters.wrote(e.Kind, err == nil)
	return err
}

// compareBoots stores, once, that maintenance is over which was listed in an earlier boot
// and is not in this one.
func (w *Watcher) compareBoots(ctx context.Context) error {
	if w.comparedBoots || !w.scheduled.isRead() {
		return nil
	}
	over, err := w.store.unlisted(ctx, w.scheduled.events, w.instance.BootID)
	if err != nil {
		w.logOnce(ctx, w.opts.Log, err)
		return err
	}
	for _, e := range over {
		if err := w.storeOne(ctx, e); err != nil {
			return err
		}
	}
	w.comparedBoots = true
	return nil
}

// logOnce logs why something is not stored, once for each reason.
func (w *Watcher) logOnce(ctx context.Context, log logr.Logger, err error) {
	why := cause(err)
	if ctx.Err() != nil || why == w.lastError {
		log.V(1).Info("event not stored", "error", err.Error())
		return
	}
	w.lastError = why
	log.Error(err, "event could not be stored and is tried again")
}

func (w *Watcher) logOf(e v1alpha1.Event) logr.Logger {
	log := w.opts.Log.WithValues("instance", w.instance.InstanceID, "node", w.opts.NodeName, "kind", e.Kind, "event", e.ID, "cancelled", ptr.Deref(e.Cancelled, false))
	if e.Deadline != nil {
		log = log.WithValues("deadline", e.Deadline.Time)
	}
	return log
}

// unstored returns the statements of the documents that were not stored yet. Of two about
// one thing the last one counts, which is the history's.
func (w *Watcher) unstored() []v1alpha1.Event {
	var events []v1alpha1.Event
	seen := map[string]bool{}
	for _, d := range slices.Backward(w.documents) {
		for _, e := range slices.Backward(d.events) {
			stored, ok := w.stored[e.ID]
			if !seen[e.ID] && (!ok || !reflect.DeepEqual(stored, e)) {
				events = append(events, e)
			}
			seen[e.ID] = true
		}
	}
	slices.Reverse(events)
	return events
}

// isRenewal reports whether two statements announce the same at different times.
func isRenewal(a, b v1alpha1.Event) bool {
	a.Time, a.Deadline = b.Time, b.Deadline
	return reflect.DeepEqual(a, b)
}

// next returns when there is something to do again.
func (w *Watcher) next() time.Time {
	next := w.retry
	for _, d := range w.documents {
		if next.IsZero() || d.due.Before(next) {
			next = d.due
		}
	}
	return next
}

// writeHeartbeat renews the heartbeat now and then if everything was read and stored.
func (w *Watcher) writeHeartbeat() {
	now := w.opts.Clock.Now()
	if w.failures > 0 || now.Sub(w.lastHeartbeat) < heartbeatInterval {
		return
	}
	for _, d := range w.documents {
		if d.failures > 0 {
			return
		}
	}
	w.lastHeartbeat = now
	if err := w.heartbeat.renew(now.Add(w.opts.PollInterval + grace)); err != nil {
		w.opts.Log.V(1).Info("heartbeat not written", "error", err.Error())
	}
}

// sleep waits unless ctx ends.
func (w *Watcher) sleep(ctx context.Context, d time.Duration) {
	timer := w.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
