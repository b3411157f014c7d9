// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// managerContainer is the container of the manager's pod whose image has the watcher too.
	managerContainer = "manager"
	// managerAccount is the name of the manager's service account in config/rbac.
	managerAccount = "node-termination-manager"
	// nodeNameEnv is what each watcher has of its own.
	nodeNameEnv = "NODE_NAME"
)

// envName is what a variable may be called.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// errConfiguration is wrapped by errors that another configuration of the manager resolves, and trying again does not.
var errConfiguration = errors.New("watchers stay as they are")

var (
	errNoWatchers = fmt.Errorf("%w: this manager runs none: start it with --watcher-namespace or WATCHER_NAMESPACE, "+
		"and install config/watcher and config/admission. After an upgrade: apply all that this version installs, not its image alone", errConfiguration)
	errNoImage = fmt.Errorf("the watchers' image is not known, %w: start the manager with --watcher-image, "+
		"or with POD_NAME and POD_NAMESPACE of its own pod, whose container %q has it", errConfiguration, managerContainer)
	errNoEnv = fmt.Errorf("what --watcher-env names is not known, %w: start the manager with "+
		"POD_NAME and POD_NAMESPACE of its own pod, whose container %q has it", errConfiguration, managerContainer)
)

// WatcherOptions say how the watchers of all policies run.
type WatcherOptions struct {
	// Namespace is where they run, and nothing else. Empty: there are none.
	Namespace string
	// ServiceAccount is that of their pods.
	ServiceAccount string
	// Image is what they run. Empty: the image of the manager's own container.
	Image string
	// Env are the names of variables that they have as the manager's own container has them.
	Env []string
}

// WatcherServiceAccount returns the watchers' service account of an install whose manager has the account of the
// given name: both have the prefix and the suffix that kustomize gives to names. Another name of the manager's account
// says nothing about the watchers'.
func WatcherServiceAccount(manager string) string {
	prefix, suffix, found := strings.Cut(manager, managerAccount)
	if !found {
		return watcher
	}
	return prefix + watcher + suffix
}

// Validate returns what is wrong with the options of a manager that runs in a namespace. The errors name its flags.
func (o WatcherOptions) Validate(managerNamespace string) error {
	switch {
	case o.Namespace == "":
		return nil
	case o.Namespace == managerNamespace:
		return fmt.Errorf("--watcher-namespace is %s, the manager's own: watchers use the network of their node, so their namespace has the "+
			"Pod Security level privileged, which nothing but watchers may use, and the manager reads secrets in its own: write another namespace, "+
			"as config/overlays/names does, or an empty one where no policy has an imds source, as config/overlays/queue-only does", o.Namespace)
	case !strings.Contains(o.ServiceAccount, watcher):
		return fmt.Errorf("--watcher-service-account is %q: write a name with %s in it, by which the admission policies know watchers",
			o.ServiceAccount, watcher)
	}
	for i, name := range o.Env {
		switch {
		case !envName.MatchString(name):
			return fmt.Errorf("--watcher-env has %q: write names of variables, separated by commas, such as HTTPS_PROXY,NO_PROXY", name)
		case name == nodeNameEnv:
			return fmt.Errorf("--watcher-env has %s, of which each watcher has its own: leave it out", name)
		case slices.Contains(o.Env[:i], name):
			return fmt.Errorf("--watcher-env has %s twice: write it once", name)
		}
	}
	return nil
}

// watcherSettings are what the watchers of all policies have in common.
type watcherSettings struct {
	namespace, serviceAccount, image string
	env                              []corev1.EnvVar
}

// watcherSettings returns them. The error wraps errConfiguration if another configuration is needed.
func (r *Reconciler) watcherSettings(ctx context.Context) (watcherSettings, error) {
	if r.Watchers.Namespace == "" {
		return watcherSettings{}, errNoWatchers
	}
	image, err := r.image(ctx)
	if err != nil {
		return watcherSettings{}, err
	}
	env, err := r.env(ctx)
	return watcherSettings{r.Watchers.Namespace, r.Watchers.ServiceAccount, image, env}, err
}

// image returns the image that watchers run: the one given, or else the manager's own.
func (r *Reconciler) image(ctx context.Context) (string, error) {
	if r.Watchers.Image != "" {
		return r.Watchers.Image, nil
	}
	own, err := r.ownContainer(ctx, errNoImage)
	if err != nil {
		return "", err
	}
	return own.Image, nil
}

// env returns the variables that watchers have as the manager's own container has them: not their values in this
// process, but what is written there, to which the admission policy compares them.
func (r *Reconciler) env(ctx context.Context) ([]corev1.EnvVar, error) {
	if len(r.Watchers.Env) == 0 {
		return nil, nil
	}
	own, err := r.ownContainer(ctx, errNoEnv)
	if err != nil {
		return nil, err
	}
	env := make([]corev1.EnvVar, len(r.Watchers.Env))
	for i, name := range r.Watchers.Env {
		found := slices.IndexFunc(own.Env, func(e corev1.EnvVar) bool { return e.Name == name })
		if found < 0 || own.Env[found].ValueFrom != nil {
			return nil, fmt.Errorf("--watcher-env has %s, which the manager's container does not set to a value, %w: "+
				"write it into env of the Deployment with a value, not with valueFrom or envFrom, or leave it out of --watcher-env", name, errConfiguration)
		}
		env[i] = own.Env[found]
	}
	return env, nil
}

// ownContainer returns the manager's own container, which does not change as long as this process runs. If the manager
// does not know it, the error wraps unknown.
func (r *Reconciler) ownContainer(ctx context.Context, unknown error) (*corev1.Container, error) {
	if r.own != nil {
		return r.own, nil
	}
	if r.Pod.Name == "" || r.Pod.Namespace == "" {
		return nil, unknown
	}
	pod := &corev1.Pod{}
	if err := r.Live.Get(ctx, r.Pod, pod); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no pod %s: %w", r.Pod, unknown)
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the manager's own pod: %w", err)
	}
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == managerContainer {
			r.own = c
			return c, nil
		}
	}
	return nil, fmt.Errorf("pod %s has no such container: %w", r.Pod, unknown)
}
