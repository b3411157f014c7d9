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
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// userAgent is in the API server's audit log.
	userAgent = "node-termination-imds-watcher"
	// apiTimeout bounds one call to the API server.
	apiTimeout = 5 * time.Second
)

// store writes events into the NodeTermination of one instance.
type store struct {
	client   rest.Interface
	clock    clock.PassiveClock
	identity identity
	nodeName string
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

// store stores an event, or cancels the one that it cancels.
func (s *store) store(ctx context.Context, e v1alpha1.Event) error {
	e.Source = v1alpha1.SourceIMDS
	cancelled := ptr.Deref(e.Cancelled, false)
	var existing *v1alpha1.NodeTermination
	if cancelled || e.Time.IsZero() {
		var err error
		if existing, err = s.get(ctx); err != nil {
			return err
		}
	}
	known := find(existing, func(other v1alpha1.Event) bool { return other.ID == e.ID })
	if e.Time.IsZero() { // the first attempt to store it is when it was received
		e.Time = metav1.NewTime(s.clock.Now().UTC().Truncate(time.Second))
		if known != nil {
			e.Time = known.Time
		}
	}
	if !cancelled {
		return s.apply(ctx, e, v1alpha1.EventFieldManager(e.ID), "")
	}
	return s.cancel(ctx, e, existing, known)
}

// cancel cancels what is planned for the same time. If nothing is, there is nothing to do:
// the metadata's history goes far back.
func (s *store) cancel(ctx context.Context, e v1alpha1.Event, existing *v1alpha1.NodeTermination, known *v1alpha1.Event) error {
	if known != nil && ptr.Deref(known.Cancelled, false) {
		return nil
	}
	planned := find(existing, func(other v1alpha1.Event) bool {
		return !ptr.Deref(other.Cancelled, false) && (other.ID == e.ID ||
			other.Kind == e.Kind && other.NotBefore != nil && other.NotBefore.Equal(e.NotBefore))
	})
	if planned == nil {
		return nil
	}
	if known != nil { // own no more of the event than is needed
		e = v1alpha1.Event{ID: known.ID, Kind: known.Kind, Source: known.Source, Time: known.Time, Cancelled: e.Cancelled}
	}
	// The UID keeps it from being created anew if it was deleted meanwhile.
	return s.apply(ctx, e, v1alpha1.CancellerFieldManager(e.ID), existing.UID)
}

func find(termination *v1alpha1.NodeTermination, match func(v1alpha1.Event) bool) *v1alpha1.Event {
	if termination == nil {
		return nil
	}
	for i := range termination.Spec.Events {
		if e := &termination.Spec.Events[i]; match(*e) {
			return e
		}
	}
	return nil
}

// apply makes the event one of the NodeTermination's, which is created if need be.
func (s *store) apply(ctx context.Context, e v1alpha1.Event, owner string, uid types.UID) error {
	body, err := json.Marshal(v1alpha1.NodeTermination{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeTermination"},
		ObjectMeta: metav1.ObjectMeta{Name: s.identity.instanceID, UID: uid},
		Spec: v1alpha1.NodeTerminationSpec{
			InstanceID: s.identity.instanceID,
			NodeName:   s.nodeName,
			Instance:   s.identity.instance,
			Events:     []v1alpha1.Event{e},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot write event %s as JSON: %w", e.ID, err)
	}
	_, err = s.patch(ctx, types.ApplyYAMLPatchType, body, owner)
	return err
}

// get returns the instance's NodeTermination, nil if there is none. The watcher may not
// read, but the answer to a patch that changes nothing is the object.
func (s *store) get(ctx context.Context) (*v1alpha1.NodeTermination, error) {
	answer, err := s.patch(ctx, types.MergePatchType, []byte("{}"), v1alpha1.FieldManager)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var termination v1alpha1.NodeTermination
	if err := json.Unmarshal(answer, &termination); err != nil {
		return nil, fmt.Errorf("cannot read NodeTermination %s: %w", s.identity.instanceID, err)
	}
	return &termination, nil
}

func (s *store) patch(ctx context.Context, kind types.PatchType, body []byte, owner string) ([]byte, error) {
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
		return nil, err
	}
	return result.Raw()
}
