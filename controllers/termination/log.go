// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"strings"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// controllerLog is the log of the controller around Reconcile. It says nothing about
// single terminations: it would say an error anew at each attempt, and knows no more
// of a termination than its name.
func (r *Reconciler) controllerLog(request *reconcile.Request) logr.Logger {
	if request != nil {
		return logr.Discard()
	}
	return r.log
}

// subject is what a line about a termination is about, as keys and values of a log.
type subject []any

// subject is under the same keys in every line.
func (s *scope) subject() subject {
	about := subject{"instance", s.nt.Name, "node", s.nt.Spec.NodeName}
	if s.policy != nil {
		about = append(about, "policy", s.policy.Name)
	}
	ids := make([]string, len(s.nt.Spec.Events))
	for i := range s.nt.Spec.Events {
		ids[i] = s.nt.Spec.Events[i].ID
	}
	return append(about, "event", strings.Join(ids, ","))
}

// logAbout is a log in which all lines say which termination they are about. Of one
// that was deleted before this process started no more is known than the node.
func (r *Reconciler) logAbout(name, node string) logr.Logger {
	about := r.memory.recall(name).subject
	if about == nil {
		about = subject{"instance", name, "node", node}
	}
	return r.log.WithValues(about...)
}

// complain says what keeps a termination from getting on, once as long as that is the
// same, and when it is over.
func (r *Reconciler) complain(name string, err error) {
	var text string
	if err != nil {
		text = err.Error()
	}
	switch news := r.memory.complains(name, text); {
	case !news:
	case err != nil:
		r.logAbout(name, "").Error(err, "Cannot get on with the NodeTermination and tries again")
	default:
		r.logAbout(name, "").Info("Gets on with the NodeTermination again")
	}
}
