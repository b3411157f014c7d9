// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// startAttempts is how often the instance is asked for before the watcher gives up.
	startAttempts = 5
	// calmEvery is how often documents are read at the most that announce nothing
	// by a near deadline: a recommendation has none, and a hook waits for half a
	// minute at the least. To ask is nearly all that a watcher does.
	calmEvery = 10 * time.Second
	// maintenanceEvery is the same for what is days ahead.
	maintenanceEvery = 30 * time.Second
	// jitter is the part of the poll interval that is random, so that the nodes
	// of a cluster do not all find the same thing at once.
	jitter = 0.2
	// beatEvery is how often the heart beats at the most, and grace for how long it
	// counts beyond the next poll: some failures in a row are nothing to worry about.
	beatEvery, grace = 10 * time.Second, 40 * time.Second
	// shutOutFor is for how long the metadata service has to be disabled before the
	// watcher ends, which hears nothing in any case: only then does its pod say why.
	shutOutFor = 5 * time.Minute
)

// Options of a Watcher. None of them may be left out but Endpoint, Heartbeat and Metrics.
type Options struct {
	// NodeName is the Kubernetes node that the watcher runs on.
	NodeName string
	// BootID tells the machine's boots apart: /proc/sys/kernel/random/boot_id.
	BootID string
	// PollInterval is how often the notice of a spot interruption is looked for, on
	// average. Other documents are read at most every 10 s, those about maintenance
	// every 30 s.
	PollInterval time.Duration
	// Endpoint of the metadata service, such as http://[fd00:ec2::254]. Empty: as
	// AWS_EC2_METADATA_SERVICE_ENDPOINT and AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE
	// say, else http://169.254.169.254.
	Endpoint string
	// Heartbeat is the file that Probe looks at. Empty: none.
	Heartbeat string
	// Metrics is the address that metrics are served at, such as :9100. Empty: none.
	Metrics string
	// Config of the API server.
	Config *rest.Config
	// Log is for what a person may want to know.
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
	machine   event.Instance
	documents []*document
	counters  *counters

	beaten   time.Time              // the heart, last
	stored   map[key]v1alpha1.Event // as the documents have them
	failures int                    // to store, in a row
	retry    time.Time              // not to be stored before
	said     string                 // why not, as the log tells
	disabled time.Time              // the metadata service, since then; zero: it is not
}

// key is that of an event, and of its being called off.
type key struct {
	id        string
	cancelled bool
}

// New makes no call. Its error says what is wrong with the options or the environment.
func New(opts Options) (*Watcher, error) {
	return newWatcher(opts, nil)
}

func newWatcher(opts Options, transport http.RoundTripper) (*Watcher, error) {
	metadata, err := newMetadata(opts.Endpoint, transport)
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
		stored:    map[key]v1alpha1.Event{},
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
		w.documents = append(w.documents, &d)
	}
	w.counters = newCounters(w.documents)
	return w, nil
}

// Run watches until ctx ends. The error says why it could not begin, or that the metadata
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
		if w.shutOut() {
			return errMetadataDisabled
		}
		w.sleep(ctx, next.Sub(w.opts.Clock.Now()))
	}
	return nil
}

// shutOut is whether the metadata service has been disabled for long, and nothing is
// left to be stored.
func (w *Watcher) shutOut() bool {
	if slices.ContainsFunc(w.documents, func(d *document) bool { return d.said != errMetadataDisabled.Error() }) {
		w.disabled = time.Time{}
		return false
	}
	now := w.opts.Clock.Now()
	if w.disabled.IsZero() {
		w.disabled = now
	}
	return now.Sub(w.disabled) >= shutOutFor && len(w.unstored()) == 0
}

// step does what is due, and returns when there is something to do again.
func (w *Watcher) step(ctx context.Context) time.Time {
	w.poll(ctx)
	w.storeAll(ctx)
	w.beat()
	return w.next()
}

// begin learns which instance this is.
func (w *Watcher) begin(ctx context.Context) error {
	if err := w.heartbeat.begin(); err != nil {
		return err
	}
	for failures := 1; ; failures++ {
		identity, err := w.metadata.identify(ctx)
		if err == nil {
			w.store.identity = identity
			w.machine = event.Instance{InstanceID: identity.instanceID, BootID: w.opts.BootID}
			w.opts.Log.Info("watching", "instance", identity.instanceID, "node", w.opts.NodeName, "every", w.opts.PollInterval.String())
			return nil
		}
		if failures == startAttempts || ctx.Err() != nil {
			return err
		}
		w.opts.Log.Info("the instance is not known yet", "problem", err.Error(), "attempts", failures)
		w.sleep(ctx, retryAfter(failures))
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
		d.read(ctx, w.metadata, w.machine)
		if d.due = now.Add(time.Duration(float64(d.every) * factor)); d.failures > 0 {
			d.due = w.opts.Clock.Now().Add(retryAfter(d.failures))
		}
		w.counters.read(d.path, d.failures == 0)
	}
	if asked && !slices.ContainsFunc(w.documents, func(d *document) bool { return d.failures > 0 }) {
		w.counters.heardAll(now)
	}
}

// storeAll stores what was heard and is not stored. What the metadata still says
// is tried again and again: EC2 takes the instance, or calls it off.
func (w *Watcher) storeAll(ctx context.Context) {
	if w.opts.Clock.Now().Before(w.retry) {
		return
	}
	failed := false
	for _, e := range w.unstored() {
		err := w.store.store(ctx, e)
		w.counters.wrote(e.Kind, err == nil)
		if err != nil {
			w.failed(ctx, e, err)
			failed = true
			continue
		}
		w.stored[keyOf(e)] = e
		w.logOf(e).Info("event stored")
	}
	if !failed {
		w.failures, w.retry, w.said = 0, time.Time{}, ""
		return
	}
	w.failures++
	w.retry = w.opts.Clock.Now().Add(retryAfter(w.failures))
}

// failed tells why an event is not stored, once.
func (w *Watcher) failed(ctx context.Context, e v1alpha1.Event, err error) {
	why := cause(err)
	if ctx.Err() != nil || why == w.said {
		w.logOf(e).V(1).Info("event not stored", "error", err.Error())
		return
	}
	w.said = why
	w.logOf(e).Error(err, "event could not be stored and is tried again")
}

func (w *Watcher) logOf(e v1alpha1.Event) logr.Logger {
	log := w.opts.Log.WithValues("instance", w.machine.InstanceID, "node", w.opts.NodeName, "kind", e.Kind, "event", e.ID, "cancelled", ptr.Deref(e.Cancelled, false))
	if e.Deadline != nil {
		log = log.WithValues("deadline", e.Deadline.Time)
	}
	return log
}

// unstored are the events that the documents have and the API server has not.
func (w *Watcher) unstored() []v1alpha1.Event {
	var events []v1alpha1.Event
	for _, d := range w.documents {
		for _, e := range d.events {
			if stored, ok := w.stored[keyOf(e)]; !ok || !reflect.DeepEqual(stored, e) {
				events = append(events, e)
			}
		}
	}
	return events
}

func keyOf(e v1alpha1.Event) key {
	return key{e.ID, ptr.Deref(e.Cancelled, false)}
}

// next is when there is something to do again.
func (w *Watcher) next() time.Time {
	next := w.retry
	for _, d := range w.documents {
		if next.IsZero() || d.due.Before(next) {
			next = d.due
		}
	}
	return next
}

// beat tells the probe now and then that everything was heard and stored.
func (w *Watcher) beat() {
	now := w.opts.Clock.Now()
	if w.failures > 0 || now.Sub(w.beaten) < beatEvery {
		return
	}
	for _, d := range w.documents {
		if d.failures > 0 {
			return
		}
	}
	w.beaten = now
	if err := w.heartbeat.beat(now.Add(w.opts.PollInterval + grace)); err != nil {
		w.opts.Log.V(1).Info("no heartbeat", "error", err.Error())
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
