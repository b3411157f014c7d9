// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/nodetermination/operator/controllers/version"
)

// repository is where kustomize finds the bases.
const repository = "https://github.com/nodetermination/operator//config/"

var released = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)

// base returns the address of a kustomization of the version of this program.
func base(path string) string {
	own, _, _ := strings.Cut(version.String(), " ")
	if !released.MatchString(own) {
		own = "main"
	}
	return repository + path + "?ref=" + own
}

// kustomization returns an overlay with the changes. Without watchers it is one that has none.
func kustomization(changes []change, watchers bool) (object, error) {
	o, path := newObject(), "default"
	if !watchers {
		path = "overlays/queue-only"
	}
	o.set("apiVersion", "kustomize.config.k8s.io/v1beta1", "")
	o.set("kind", "Kustomization", "")
	resources := []string{base(path)}
	if slices.ContainsFunc(changes, func(c change) bool { return strings.HasSuffix(c.key, "Monitor.create") }) {
		resources = append(resources, base("prometheus"))
	}
	o.set("resources", resources, "")
	if c, found := find(changes, "customLabels"); found {
		labels := newObject()
		labels.set("pairs", c.value, c.comment)
		o.set("labels", []object{labels}, "")
	}
	patches, err := patchesOf(changes)
	if len(patches) > 0 {
		o.set("patches", patches, "")
	}
	return o, err
}

// patchesOf returns the patches of the objects that are changed.
func patchesOf(changes []change) ([]object, error) {
	var patches []object
	for _, patched := range []object{deploymentPatch(changes), serviceAccountPatch(changes), budgetPatch(changes)} {
		if patched.empty() {
			continue
		}
		text, err := encode(patched)
		if err != nil {
			return nil, err
		}
		patch := newObject()
		patch.set("patch", string(text), "")
		patches = append(patches, patch)
	}
	return append(patches, monitorPatches(changes)...), nil
}

// patchOf returns the beginning of a patch.
func patchOf(apiVersion, kind string) (o, metadata object) {
	o, metadata = newObject(), newObject()
	o.set("apiVersion", apiVersion, "")
	o.set("kind", kind, "")
	metadata.set("name", "node-termination-manager", "")
	metadata.set("namespace", managerNamespace, "")
	o.set("metadata", metadata, "")
	return o, metadata
}

// placement is where a Deployment has what a value of our chart changes.
type placement struct {
	key   string // of our chart's values
	part  string // spec, metadata (of the pods), pod or container
	field string
}

var placements = []placement{
	{"replicas", "spec", "replicas"},
	{"podLabels", "metadata", "labels"},
	{"podAnnotations", "metadata", "annotations"},
	{"image.pullSecrets", "pod", "imagePullSecrets"},
	{"nodeSelector", "pod", "nodeSelector"},
	{"affinity", "pod", "affinity"},
	{"tolerations", "pod", "tolerations"},
	{"priorityClassName", "pod", "priorityClassName"},
	{"image.pullPolicy", "container", "imagePullPolicy"},
	{"extraArgs", "container", "args"},
	{"extraEnv", "container", "env"},
}

// deploymentPatch returns what is changed about the manager's Deployment; nothing if that is nothing.
func deploymentPatch(changes []change) object {
	parts := map[string]object{"spec": newObject(), "metadata": newObject(), "pod": newObject(), "container": newObject()}
	parts["container"].set("name", "manager", "")
	changes, needed := withLogLevel(changes), false
	for _, p := range placements {
		if c, found := find(changes, p.key); found {
			parts[p.part].set(p.field, c.value, c.comment)
			needed = true
		}
	}
	if !needed {
		return newObject()
	}
	parts["pod"].set("containers", []object{parts["container"]}, "")
	template := newObject()
	template.setUnlessEmpty("metadata", parts["metadata"])
	template.set("spec", parts["pod"], "")
	parts["spec"].set("template", template, "")
	o, _ := patchOf("apps/v1", "Deployment")
	o.set("spec", parts["spec"], "")
	return o
}

// withLogLevel returns the changes with the log's level among the args, where a Deployment has it.
func withLogLevel(changes []change) []change {
	level, found := find(changes, "logLevel")
	if !found {
		return changes
	}
	args, comment := list{"--log-level=" + level.text()}, level.comment
	if more, found := find(changes, "extraArgs"); found {
		args, comment = append(args, more.text()), comment+", "+more.comment
	}
	kept := slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return c.key == "extraArgs" })
	return append(kept, change{"extraArgs", args, comment})
}

// serviceAccountPatch returns the annotations of the manager's service account.
func serviceAccountPatch(changes []change) object {
	c, found := find(changes, "serviceAccount.annotations")
	if !found {
		return newObject()
	}
	o, metadata := patchOf("v1", "ServiceAccount")
	metadata.set("annotations", c.value, c.comment)
	return o
}

// budgetPatch returns the manager's disruption budget.
func budgetPatch(changes []change) object {
	c, found := find(changes, "podDisruptionBudget")
	if !found {
		return newObject()
	}
	o, _ := patchOf("policy/v1", "PodDisruptionBudget")
	o.set("spec", c.value, c.comment)
	return o
}

// monitorPatches returns what is changed about the objects of Prometheus Operator, whose lists only a JSON patch
// can change in part.
func monitorPatches(changes []change) []object {
	var patches []object
	for _, m := range []struct{ key, kind, endpoints string }{{"serviceMonitor", "ServiceMonitor", "endpoints"}, {"podMonitor", "PodMonitor", "podMetricsEndpoints"}} {
		var operations []string
		if c, found := find(changes, m.key+".labels"); found {
			labels, _ := c.value.(map[string]string)
			for _, name := range slices.Sorted(maps.Keys(labels)) {
				path := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
				operations = append(operations, "# "+c.comment+"\n- {op: add, path: /metadata/labels/"+path+", value: "+doubleQuoted(labels[name])+"}\n")
			}
		}
		if c, found := find(changes, m.key+".interval"); found {
			operations = append(operations, "# "+c.comment+"\n- {op: replace, path: /spec/"+m.endpoints+"/0/interval, value: "+doubleQuoted(c.text())+"}\n")
		}
		if len(operations) > 0 {
			patch, target := newObject(), newObject()
			target.set("kind", m.kind, "")
			patch.set("target", target, "")
			patch.set("patch", strings.Join(operations, ""), "")
			patches = append(patches, patch)
		}
	}
	return patches
}
