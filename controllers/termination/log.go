// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"strings"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// controllerLog returns the log of the controller around Reconcile. It says nothing about
// single terminations: it would say an error anew at each attempt, and knows no more
// of a termination than its name.
func (r *Reconciler) controllerLog(request *reconcile.Request) logr.Logger {
	if request != nil {
		return logr.Discard()
	}
	return r.Log.WithValues("controller", "termination")
}

// updateLocal notes what lines of the log and Kubernetes events are
// about that are written without a scope.
func (r *Reconciler) updateLocal(_ context.Context, s *scope) {
	r.Local.update(s.nt.Name, func(known *localRecord) {
		known.logValues = s.logValues()
		if s.policy != nil {
			known.events = s.eventPolicy()
		}
	})
}

// logValues returns what a line about a termination is about, under the same keys in
// every line.
func (s *scope) logValues() []any {
	values := []any{"instance", s.nt.Name, "node", s.nt.Spec.NodeName}
	if s.policy != nil {
		values = append(values, "policy", s.policy.Name)
	}
	ids := make([]string, len(s.nt.Spec.Events))
	for i := range s.nt.Spec.Events {
		ids[i] = s.nt.Spec.Events[i].ID
	}
	return append(values, "event", strings.Join(ids, ","))
}

// logAbout returns a log in which all lines say which termination they are about. Of one
// that was deleted before this process started no more is known than the node.
func (r *Reconciler) logAbout(name, node string) logr.Logger {
	values := r.Local.get(name).logValues
	if values == nil {
		values = []any{"instance", name, "node", node}
	}
	return r.Log.WithValues(append([]any{"controller", "termination"}, values...)...)
}

// logOnce says what keeps a termination from getting on, once as long as that is the
// same, and when it is over.
func (r *Reconciler) logOnce(name string, err error) {
	var text string
	if err != nil {
		text = err.Error()
	}
	switch news := r.Local.changed(name, text); {
	case !news:
	case err != nil:
		r.logAbout(name, "").Error(err, "Cannot get on with the NodeTermination and tries again")
	default:
		r.logAbout(name, "").Info("Gets on with the NodeTermination again")
	}
}
