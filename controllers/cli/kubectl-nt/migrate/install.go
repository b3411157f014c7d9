// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// change is what NTH's installation has changed about its pods, and ours shall have too.
type change struct {
	key     string // of our chart's values
	value   any
	comment string
}

// text returns the value as text; of a list the first element.
func (c change) text() string {
	if elements, ok := c.value.(list); ok {
		return fmt.Sprint(elements[0])
	}
	return fmt.Sprint(c.value)
}

// changes returns what of NTH's installation is carried over: what it sets other than the chart's default.
func (s *settings) changes() []change {
	var changes []change
	carry := func(ours, nths string) {
		if s.changed(nths) {
			changes = append(changes, change{ours, s.value(nths), s.says(nths)})
		}
	}
	carry("image.pullPolicy", "image.pullPolicy")
	carry("image.pullSecrets", "image.pullSecrets")
	if s.changed("image.pullSecrets") {
		s.notes.add(todo, s.written("image.pullSecrets"), "make the secret in node-termination-system, and for watchers in node-termination-watchers too; there kustomize needs it in imagePullSecrets of the service account imds-watcher")
	}
	s.carryServiceAccount(carry)
	carry("customLabels", "customLabels")
	if s.changed("customLabels") {
		s.notes.add(dropped, s.written("customLabels"), "our chart has no labels for all objects; -o kustomization has them")
	}
	s.checkTexts("customLabels")
	changes = append(changes, s.logging()...)
	if len(s.env) > 0 {
		if env := s.environment(); len(env) > 0 {
			changes = append(changes, change{"extraEnv", env, s.written("extraEnv")})
		}
	}
	changes = append(changes, s.watcherEnvironment()...)
	if s.hasQueue() {
		changes = append(changes, s.managerPods()...)
	}
	return append(changes, s.monitors()...)
}

// carryServiceAccount carries the annotations over, one of which is the role.
func (s *settings) carryServiceAccount(carry func(ours, nths string)) {
	const key = "serviceAccount.annotations"
	carry(key, key)
	s.checkTexts(key)
	if _, found := s.texts(key)["eks.amazonaws.com/role-arn"]; found {
		s.notes.add(todo, s.written(key), "the role's trust policy has to name system:serviceaccount:node-termination-system:node-termination-manager")
	}
}

// checkTexts adds an error if an option that is carried over is no map of texts.
func (s *settings) checkTexts(key string) {
	if s.changed(key) {
		s.checkNames(key, s.texts(key))
	}
}

// logging returns what is changed about the manager's log.
func (s *settings) logging() []change {
	level := strings.ToLower(s.text("logLevel"))
	switch level {
	case "info", "":
		return nil
	case "debug", "error":
		return []change{{"logLevel", level, s.says("logLevel")}}
	}
	s.fail("logLevel", "%s is no level: write info, debug or error", quote(level))
	return nil
}

// keys of AWS that are not to be written into files.
var secretEnv = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}

// environment returns the variables for the manager: those that NTH does not read itself, such as a proxy.
func (s *settings) environment() []corev1.EnvVar {
	var kept []corev1.EnvVar
	for _, variable := range s.env {
		switch {
		case slices.Contains(secretEnv, variable.Name):
			s.notes.add(dropped, variable.Name, "give the manager a role instead of a key: docs/aws.md")
		case !envNames.MatchString(variable.Name):
			s.fail("extraEnv", "%s is no name of a variable: write letters, digits and underscores", quote(variable.Name))
		default:
			kept = append(kept, variable)
		}
	}
	return kept
}

var envNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// watcherEnvironment returns the flag by which watchers have the proxy of the manager.
func (s *settings) watcherEnvironment() []change {
	var names []string
	for _, variable := range s.env {
		if strings.HasSuffix(strings.ToUpper(variable.Name), "_PROXY") && variable.ValueFrom == nil {
			names = append(names, variable.Name)
		}
	}
	if s.hasQueue() || len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []change{{"extraArgs", list{"--watcher-env=" + strings.Join(slices.Compact(names), ",")}, s.written("extraEnv")}}
}

// managerPods returns what is changed about the pods of NTH's Deployment. In IMDS mode those of the DaemonSet
// are changed by the same values, and the policy has them.
func (s *settings) managerPods() []change {
	var changes []change
	carry := func(key string, into any, example string) {
		if s.changed(key) && s.decode(key, into, example) {
			changes = append(changes, change{key, s.value(key), s.says(key)})
		}
	}
	if n := s.number("replicas"); s.changed("replicas") {
		if n < 0 {
			s.fail("replicas", "%d: write 2, so that one is left while the other moves", n)
		}
		changes = append(changes, change{"replicas", n, s.says("replicas")})
	}
	for _, key := range []string{"podLabels", "podAnnotations", "nodeSelector"} {
		s.checkTexts(key)
		if s.changed(key) {
			changes = append(changes, change{key, s.value(key), s.says(key)})
		}
	}
	carry("affinity", &corev1.Affinity{}, exampleAffinity)
	carry("tolerations", &[]corev1.Toleration{}, "[{key: example.com/dedicated, operator: Exists}]")
	if s.changed("priorityClassName") {
		changes = append(changes, change{"priorityClassName", s.text("priorityClassName"), s.says("priorityClassName")})
	}
	return append(changes, s.budget()...)
}

// budget returns the manager's disruption budget. One with minAvailable takes away the maxUnavailable that it has.
func (s *settings) budget() []change {
	const key = "podDisruptionBudget"
	var fields struct {
		MaxUnavailable             any `json:"maxUnavailable"`
		MinAvailable               any `json:"minAvailable"`
		UnhealthyPodEvictionPolicy any `json:"unhealthyPodEvictionPolicy"`
	}
	if !s.changed(key) || !s.decode(key, &fields, "{maxUnavailable: 1}") {
		return nil
	}
	budget := maps.Clone(s.value(key).(tree)) //nolint:forcetypeassert,errcheck // decode has seen that it is a map
	if fields.MinAvailable != nil {
		budget["maxUnavailable"] = nil
	}
	return []change{{key, budget, s.says(key)}}
}

// monitors returns which objects of Prometheus Operator there are.
func (s *settings) monitors() []change {
	name := "podMonitor"
	if s.hasQueue() {
		name = "serviceMonitor"
	}
	if !s.boolean(name + ".create") {
		for _, key := range []string{".labels", ".interval"} {
			s.noteUnused(name+key, name+".create is not set, so there is none")
		}
		return nil
	}
	if !s.boolean("enablePrometheusServer") {
		s.notes.add(differs, s.says(name+".create"), "NTH has it only with enablePrometheusServer; the manager always serves metrics, and watchers where imds.metricsPort is set")
	}
	changes := []change{{name + ".create", true, s.says(name + ".create")}}
	if s.changed(name + ".labels") {
		s.checkTexts(name + ".labels")
		changes = append(changes, change{name + ".labels", s.texts(name + ".labels"), s.says(name + ".labels")})
	}
	if s.changed(name + ".interval") {
		changes = append(changes, change{name + ".interval", s.text(name + ".interval"), s.says(name + ".interval")})
	}
	return changes
}

// combine returns the changes of several installations: of two of one value the first counts.
func combine(all []*settings) []change {
	var combined []change
	for _, s := range all {
		for _, c := range s.changes() {
			if !slices.ContainsFunc(combined, func(known change) bool { return known.key == c.key }) {
				combined = append(combined, c)
			}
		}
	}
	return combined
}

// keysOf returns of which values there are changes.
func keysOf(changes []change) []string {
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.key)
	}
	return keys
}

// find returns the change of one of our values.
func find(changes []change, key string) (change, bool) {
	i := slices.IndexFunc(changes, func(c change) bool { return c.key == key })
	if i < 0 {
		return change{}, false
	}
	return changes[i], true
}

// chartValues returns values of our chart.
func chartValues(policies []policy, changes []change, watchers bool) object {
	values, byName := newObject(), newObject()
	groups := map[string]object{}
	for _, c := range changes {
		group, key, nested := strings.Cut(c.key, ".")
		switch {
		case c.key == "customLabels":
		case !nested:
			values.set(c.key, c.value, c.comment)
		default:
			if _, known := groups[group]; !known {
				groups[group] = newObject()
				values.set(group, groups[group], "")
			}
			groups[group].set(key, c.value, c.comment)
		}
	}
	if !watchers {
		off := newObject()
		off.set("install", false, "only queues are read; leave watchers out for policies with imds sources")
		values.set("watchers", off, "")
	}
	for _, p := range policies {
		policy := newObject()
		policy.set("spec", p.spec, "")
		byName.set(p.name, policy, "")
	}
	values.set("policies", byName, "")
	return values
}
