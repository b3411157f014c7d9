// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

const (
	// userAgent is in the API server's audit log.
	userAgent = "node-termination-imds-watcher"
	// apiTimeout bounds one call to the API server.
	apiTimeout = 5 * time.Second
)

// store writes what the metadata says into the NodeTermination of one instance.
type store struct {
	client   rest.Interface
	clock    clock.PassiveClock
	identity identity
	nodeName string

	isRead bool                      // stored is what the API server has
	stored *v1alpha1.NodeTermination // nil: there is none
}

// newClient returns a client for NodeTerminations alone: client-go's clients for all
// kinds, and their types, would be most of what a watcher has in memory.
func newClient(config *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // the API server's errors
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeJSON
	config.UserAgent = userAgent
	config.WarningHandlerWithContext = rest.NoWarnings{}
	config.QPS = -1 // a call in a lifetime needs no limit
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the client for the API server: %w", err)
	}
	return client, nil
}

// forget has the NodeTermination read again before the next decision.
func (s *store) forget() { s.isRead, s.stored = false, nil }

// store stores a statement of the metadata service; false if there is nothing to store.
func (s *store) store(ctx context.Context, e v1alpha1.Event) (bool, error) {
	e.Source = v1alpha1.SourceIMDS
	e.Cancelled = new(ptr.Deref(e.Cancelled, false)) // false takes a cancellation back, unset does not
	if e.Time.IsZero() {
		restated, isNews, err := s.restate(ctx, e)
		if err != nil || !isNews {
			return false, err
		}
		e = restated
	}
	err := s.apply(ctx, e)
	if apierrors.IsInvalid(err) && !isFull(err) { // as it is if there is a later statement
		if _, isNews, readErr := s.restate(ctx, e); readErr == nil && !isNews {
			return false, nil
		}
	}
	return err == nil, err
}

// restate returns a statement as it is to be stored beside what is stored already; false if
// there is nothing to store.
func (s *store) restate(ctx context.Context, e v1alpha1.Event) (v1alpha1.Event, bool, error) {
	stored, err := s.events(ctx)
	if err != nil {
		return e, false, err
	}
	e, isNews := event.Restate(e, stored, s.clock.Now())
	return e, isNews, nil
}

// unlisted returns the cancellations of what was listed in an earlier boot only.
func (s *store) unlisted(ctx context.Context, listed []v1alpha1.Event, bootID string) ([]v1alpha1.Event, error) {
	stored, err := s.events(ctx)
	if err != nil {
		return nil, err
	}
	return event.Unlisted(listed, stored, bootID, s.clock.Now()), nil
}

// isFull reports whether an event was refused because the NodeTermination has as many as it
// can have.
func isFull(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseType(field.ErrorTypeTooMany))
}

// apply makes the event one of the NodeTermination's, which is created if need be, but not
// for a cancellation.
func (s *store) apply(ctx context.Context, e v1alpha1.Event) error {
	termination := v1alpha1.NodeTermination{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeTermination"},
		ObjectMeta: metav1.ObjectMeta{Name: s.identity.instanceID},
		Spec: v1alpha1.NodeTerminationSpec{
			InstanceID: s.identity.instanceID,
			NodeName:   s.nodeName,
			Instance:   s.identity.instance,
			Events:     []v1alpha1.Event{e},
		},
	}
	if ptr.Deref(e.Cancelled, false) && s.stored != nil {
		termination.UID = s.stored.UID // if it was deleted meanwhile this is refused
	}
	body, err := json.Marshal(termination)
	if err != nil {
		return fmt.Errorf("cannot write event %s as JSON: %w", e.ID, err)
	}
	return s.patch(ctx, types.ApplyYAMLPatchType, body, v1alpha1.EventFieldManager(e.ID))
}

// events returns the events of the NodeTermination. The watcher may not read, but the answer
// to a patch that changes nothing is the object.
func (s *store) events(ctx context.Context) ([]v1alpha1.Event, error) {
	if !s.isRead {
		err := s.patch(ctx, types.MergePatchType, []byte("{}"), v1alpha1.FieldManager)
		if apierrors.IsNotFound(err) {
			s.isRead, err = true, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if s.stored == nil {
		return nil, nil
	}
	return s.stored.Spec.Events, nil
}

// patch sends a patch, and keeps the NodeTermination that the API server answers with.
func (s *store) patch(ctx context.Context, kind types.PatchType, body []byte, owner string) error {
	s.forget()
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	request := s.client.Patch(kind).
		Resource("nodeterminations").
		Name(s.identity.instanceID).
		Param("fieldManager", owner).
		SetHeader("Accept", runtime.ContentTypeJSON).
		MaxRetries(0). // there is a next time
		Body(body)
	if kind == types.ApplyYAMLPatchType {
		request.Param("force", "true")
	}
	result := request.Do(ctx)
	if err := result.Error(); err != nil { // says why, unlike that of Raw
		return err
	}
	answer, err := result.Raw()
	if err != nil {
		return err
	}
	var stored v1alpha1.NodeTermination
	if err := json.Unmarshal(answer, &stored); err != nil {
		return fmt.Errorf("cannot read NodeTermination %s: %w", s.identity.instanceID, err)
	}
	s.isRead, s.stored = true, &stored
	return nil
}
