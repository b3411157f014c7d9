// SPDX-License-Identifier: Apache-2.0

package model

import (
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// watcher is the node's: what it knows is lost when it is restarted.
type watcher struct {
	boot string
	// stored are the events as the documents had them, by id.
	stored        map[string]v1alpha1.Event
	comparedBoots bool
}

// paths are the documents in the order in which a watcher reads them.
var paths = []string{
	event.PathSpotInstanceAction, event.PathTargetLifecycleState, event.PathRebalance,
	event.PathMaintenance, event.PathMaintenanceHistory,
}

// scheduleRead has a machine's watcher read its metadata after a while.
func (w *world) scheduleRead(m *machine, delay time.Duration) {
	w.after(delay, "the watcher reads", func() { w.read(m) })
}

// read reads all documents and stores what they say, as the watcher does, which is
// restated here.
func (w *world) read(m *machine) {
	if m.state != "running" || m.node() == nil || w.unwatched {
		return
	}
	own := w.watchers[m.id]
	if own == nil || own.boot != m.bootID() {
		own = &watcher{boot: m.bootID(), stored: map[string]v1alpha1.Event{}}
		w.watchers[m.id] = own
	}
	bodies := m.metadata.documents()
	var listed []v1alpha1.Event
	failed := false
	for _, path := range paths {
		if bodies[path] == "" {
			continue
		}
		document, err := event.ParseMetadata(path, []byte(bodies[path]), event.Instance{InstanceID: m.id, BootID: own.boot})
		if err != nil {
			w.t.Fatalf("%s: %v", bodies[path], err)
		}
		for _, fact := range document.Facts {
			e := fact.Event
			if path == event.PathMaintenance {
				listed = append(listed, e)
			}
			if known, ok := own.stored[e.ID]; ok && reflect.DeepEqual(known, e) {
				continue
			}
			if w.storeStatement(m, e) {
				own.stored[e.ID] = e
			} else {
				failed = true
			}
		}
	}
	if !failed && !own.comparedBoots {
		for _, e := range event.Unlisted(listed, w.storedEvents(m), own.boot, w.now) {
			failed = !w.applyStatement(m, e) || failed
		}
		own.comparedBoots = !failed
		if !failed {
			w.unlisted(m)
		}
	}
	if failed {
		w.scheduleRead(m, 20*time.Second)
	}
}

// storedEvents returns the events of a machine's NodeTermination.
func (w *world) storedEvents(m *machine) []v1alpha1.Event {
	if nt := w.api.terminations[m.id]; nt != nil {
		return nt.Spec.Events
	}
	return nil
}

// storeStatement stores a statement of the metadata service; false if it is to be tried again.
func (w *world) storeStatement(m *machine, e v1alpha1.Event) bool {
	e.Source = v1alpha1.SourceIMDS
	e.Cancelled = ptr.To(ptr.Deref(e.Cancelled, false))
	stored, news := e, true
	if e.Time.IsZero() {
		if nt := w.api.terminations[m.id]; nt != nil && nt.Spec.NodeName != m.nodeName {
			return false // the manager moves it, or deletes it: then it is to be stored once more
		}
		stored, news = event.Restate(e, w.storedEvents(m), w.now)
	}
	if news && !w.applyStatement(m, stored) {
		return false
	}
	w.deliveredStatement(e, m.id)
	return true
}

// applyStatement writes a statement. The admission policy lets no watcher change the nodeName.
func (w *world) applyStatement(m *machine, e v1alpha1.Event) bool {
	nt := w.api.terminations[m.id]
	if nt != nil && nt.Spec.NodeName != m.nodeName {
		w.logf("the watcher is refused: %s is another node's", nt.Name)
		return false
	}
	var uid types.UID
	if nt != nil && ptr.Deref(e.Cancelled, false) {
		uid = nt.UID
	}
	err := w.api.apply(m.id, uid, m.nodeName, e, "nto-"+e.ID)
	w.logf("the watcher stores %s %s cancelled=%t: %v", e.Kind, e.InstanceAction, *e.Cancelled, err)
	return err == nil || apierrors.IsInvalid(err)
}
