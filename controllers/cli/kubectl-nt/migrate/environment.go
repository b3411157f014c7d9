// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// readEnv reads environment variables into the settings, the last of each name, over what is set already. Those
// that NTH does not read are kept.
func (s *settings) readEnv(env []corev1.EnvVar) {
	last := map[string]corev1.EnvVar{}
	for _, variable := range env {
		last[variable.Name] = variable
	}
	for _, variable := range env {
		if variable, found := last[variable.Name]; found {
			delete(last, variable.Name)
			s.readVariable(variable, env)
		}
	}
}

// readVariable reads one variable, as NTH does: an empty one is not set.
func (s *settings) readVariable(variable corev1.EnvVar, env []corev1.EnvVar) {
	name := variable.Name
	if newer, old := renamed[name]; old {
		if hasValue(env, newer) {
			return
		}
		name = newer
	}
	o := optionOf(func(o *option) bool { return o.env == name })
	switch {
	case o == nil:
		s.env = append(s.env, variable)
	case variable.ValueFrom != nil:
		s.readReference(o, variable)
	case variable.Value != "":
		s.set[o.key] = setting{value: variable.Value, from: variable.Name + "="}
	}
}

// hasValue reports whether a variable is set.
func hasValue(env []corev1.EnvVar, name string) bool {
	for _, variable := range env {
		if variable.Name == name && (variable.Value != "" || variable.ValueFrom != nil) {
			return true
		}
	}
	return false
}

// readReference reads a variable whose value is somewhere else.
func (s *settings) readReference(o *option, variable corev1.EnvVar) {
	from := variable.ValueFrom
	switch {
	case from.FieldRef != nil || from.ResourceFieldRef != nil:
		// The pod's own name, node and namespace, which every pod of ours has too.
	case o.key == "webhookURL" && from.SecretKeyRef != nil:
		s.urlKey = from.SecretKeyRef.Key
		s.set["webhookURLSecretName"] = setting{value: from.SecretKeyRef.Name, from: variable.Name + "="}
	default:
		s.set[o.key] = setting{value: o.fallback, from: variable.Name}
		s.fail(o.key, "its value is in a Secret or ConfigMap, which is not read: write it into a file, as %s: …, and give that with -f too", o.key)
	}
}

// readArgs reads the flags of the program, over its environment variables, as Go's package flag does.
func (s *settings) readArgs(args []string, env []corev1.EnvVar) {
	given := map[string]bool{}
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if !strings.HasPrefix(args[i], "-") {
			continue // the program itself, in command
		}
		if newer, old := renamed[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))]; old {
			if newer = strings.ToLower(strings.ReplaceAll(newer, "_", "-")); given[newer] {
				continue
			}
			name = newer
		}
		o := optionOf(func(o *option) bool { return o.flag == name })
		if o == nil {
			s.notes.add(dropped, "--"+name, "NTH has no such flag")
			continue
		}
		if _, isBool := o.fallback.(bool); isBool && !hasValue {
			value = "true"
		} else if !hasValue && i+1 < len(args) {
			i++
			value = args[i]
		}
		given[name] = true
		s.set[o.key] = setting{value: expand(value, env), from: "--" + name + "="}
	}
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)`)

// expand replaces $(NAME) in an argument by the variable, as the kubelet does.
func expand(value string, env []corev1.EnvVar) string {
	return reference.ReplaceAllStringFunc(value, func(text string) string {
		name := text[2 : len(text)-1]
		for _, variable := range env {
			if variable.Name == name && variable.ValueFrom == nil {
				return variable.Value
			}
		}
		return text
	})
}

// readContainer reads the container of NTH: its variables, and over them its flags.
func (s *settings) readContainer(pod *corev1.PodSpec, container *corev1.Container) {
	// What the program does without the variable, where that is not the chart's default.
	s.set["enableASGLifecycleDraining"] = setting{value: false, from: "ENABLE_ASG_LIFECYCLE_DRAINING, not set"}
	s.readEnv(container.Env)
	s.readArgs(append(append([]string{}, container.Command...), container.Args...), container.Env)
	if len(container.EnvFrom) > 0 {
		s.notes.add(dropped, "envFrom", "the ConfigMaps and Secrets that it names are not read: write what they set of NTH's options into a file, and give that with -f too")
	}
	s.readTemplateFile(pod, container)
	if len(container.Resources.Requests)+len(container.Resources.Limits) > 0 {
		s.setObject("resources", container.Resources, "spec.template.spec.containers[].resources")
	}
}

// readTemplateFile finds the ConfigMap that WEBHOOK_TEMPLATE_FILE is mounted from.
func (s *settings) readTemplateFile(pod *corev1.PodSpec, container *corev1.Container) {
	file := s.text("WEBHOOK_TEMPLATE_FILE")
	for _, mount := range container.VolumeMounts {
		if file == "" || path.Clean(mount.MountPath) != path.Dir(path.Clean(file)) {
			continue
		}
		for _, volume := range pod.Volumes {
			if volume.Name == mount.Name && volume.ConfigMap != nil {
				from := s.set["WEBHOOK_TEMPLATE_FILE"].from
				s.set["webhookTemplateConfigMapName"] = setting{value: volume.ConfigMap.Name, from: from}
				s.set["webhookTemplateConfigMapKey"] = setting{value: path.Base(file), from: from}
			}
		}
	}
}
