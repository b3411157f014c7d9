// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/hack/operator"
)

// right is one thing that a role allows.
type right struct {
	role                      string
	group, resource, verb, of string // of: the name it is limited to
}

func (r right) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s.%s %s", r.role, r.verb, r.resource, r.group, r.of))
}

// checkRights finds requests of the tests' managers that were not allowed and, if every test was
// run, rights that none of them has used.
func checkRights(ctx context.Context, everyTestRan bool) error {
	requests, err := audit.find(func(*request) bool { return true })
	if err != nil {
		return err
	}
	var errs []error
	for i := range requests {
		if r := &requests[i]; r.forbidden() {
			errs = append(errs, fmt.Errorf("missing: %s %s.%s, asked for with %s", r.Verb, r.resource(), r.Object.Group, r.URI))
		}
	}
	if !everyTestRan {
		return errors.Join(errs...)
	}
	rights, err := grantedRights(ctx)
	if err != nil {
		return err
	}
	for _, right := range rights {
		if !slices.ContainsFunc(requests, func(r request) bool { return right.allows(&r) }) {
			errs = append(errs, fmt.Errorf("needless: %s", right))
		}
	}
	return errors.Join(errs...)
}

// allows is whether the right is needed for a request. To apply what is not there yet is to create
// it, and a watch is begun with a list where the API server does not stream one, as that of
// Kubernetes 1.33 by default does not.
func (r right) allows(req *request) bool {
	needed := req.Verb
	if needed == "patch" && req.Response.Code == http.StatusCreated {
		needed = "create"
	}
	return (r.verb == needed || r.verb == "list" && needed == "watch") &&
		r.group == req.Object.Group && r.resource == req.resource() &&
		(r.of == "" || r.of == req.Object.Name)
}

// grantedRights are those of every role that is bound to the managers' service account.
func grantedRights(ctx context.Context) ([]right, error) {
	var (
		clusterBindings rbacv1.ClusterRoleBindingList
		bindings        rbacv1.RoleBindingList
		rights          []right
	)
	if err := adminClient.List(ctx, &clusterBindings); err != nil {
		return nil, err
	}
	if err := adminClient.List(ctx, &bindings); err != nil {
		return nil, err
	}
	for i := range clusterBindings.Items {
		b := &clusterBindings.Items[i]
		if !bindsManager(b.Subjects) {
			continue
		}
		var role rbacv1.ClusterRole
		if err := adminClient.Get(ctx, client.ObjectKey{Name: b.RoleRef.Name}, &role); err != nil {
			return nil, err
		}
		rights = append(rights, rightsOf(role.Name, role.Rules)...)
	}
	for i := range bindings.Items {
		b := &bindings.Items[i]
		if !bindsManager(b.Subjects) {
			continue
		}
		var role rbacv1.Role
		if err := adminClient.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.RoleRef.Name}, &role); err != nil {
			return nil, err
		}
		rights = append(rights, rightsOf(role.Name, role.Rules)...)
	}
	if len(rights) == 0 {
		return nil, fmt.Errorf("no role is bound to %s", serviceAccount)
	}
	return rights, nil
}

func bindsManager(subjects []rbacv1.Subject) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == rbacv1.ServiceAccountKind && s.Name == operator.ServiceAccount && s.Namespace == operator.Namespace
	})
}

// rightsOf takes rules apart.
func rightsOf(role string, rules []rbacv1.PolicyRule) []right {
	var rights []right
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						rights = append(rights, right{role, group, resource, verb, name})
					}
				}
			}
		}
	}
	return rights
}
