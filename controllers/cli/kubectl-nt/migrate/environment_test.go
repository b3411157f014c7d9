// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// daemonSet returns the pods of a DaemonSet of NTH.
func daemonSet(env []corev1.EnvVar, args ...string) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"k8s-app": chartName, "app.kubernetes.io/name": chartName, "example.com/team": "a"}},
		Spec: corev1.PodSpec{
			HostNetwork:  true,
			NodeSelector: map[string]string{corev1.LabelOSStable: "linux"},
			Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:   []corev1.Container{{Name: "sidecar"}, {Name: chartName, Image: "public.ecr.aws/aws-ec2/" + chartName + ":v1.25.6", Env: env, Args: args}},
		},
	}
}

// variables returns pairs of names and values as variables.
func variables(pairs ...string) []corev1.EnvVar {
	var env []corev1.EnvVar
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		env = append(env, corev1.EnvVar{Name: name, Value: value})
	}
	return env
}

// TestEnvironment reads variables and flags as NTH does.
func TestEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		env  []corev1.EnvVar
		args []string
		want []string // in the policies
		not  []string
	}{
		"the program's defaults": {want: []string{"action: Ignore # ENABLE_ASG_LIFECYCLE_DRAINING, not set: false", "example.com/team: a"}, not: []string{"tolerations", "k8s-app", "mode: DryRun"}},
		"a variable":             {env: variables("DRY_RUN=true"), want: []string{"mode: DryRun # DRY_RUN=true"}},
		"the last counts":        {env: variables("DRY_RUN=true", "DRY_RUN=false"), not: []string{"DryRun"}},
		"an empty one does not":  {env: variables("NODE_TERMINATION_GRACE_PERIOD="), not: []string{"timeoutSeconds"}},
		"a flag goes before":     {env: variables("NODE_TERMINATION_GRACE_PERIOD=60"), args: []string{"--node-termination-grace-period=90"}, want: []string{"timeoutSeconds: 90 # --node-termination-grace-period=90"}},
		"a flag in two words":    {args: []string{"-pod-termination-grace-period", "45", "--cordon-only"}, want: []string{"podGracePeriodSeconds: 45", "action: Cordon # --cordon-only=true"}},
		"a reference":            {env: variables("GRACE=30"), args: []string{"--pod-termination-grace-period=$(GRACE)"}, want: []string{"podGracePeriodSeconds: 30"}},
		"an old name":            {env: variables("GRACE_PERIOD=15"), want: []string{"podGracePeriodSeconds: 15 # GRACE_PERIOD=15"}},
		"an old and a new name":  {env: variables("GRACE_PERIOD=15", "POD_TERMINATION_GRACE_PERIOD=20"), want: []string{"podGracePeriodSeconds: 20"}},
		"old flags": {
			env:  variables("ENABLE_SQS_TERMINATION_DRAINING=true", "QUEUE_URL="+exampleQueue),
			args: []string{"--managed-asg-tag=mine"}, want: []string{"instanceTag: mine"},
		},
		"old tag check": {env: variables("ENABLE_SQS_TERMINATION_DRAINING=true", "QUEUE_URL="+exampleQueue, "CHECK_ASG_TAG_BEFORE_DRAINING=false"), not: []string{"instanceTag"}},
		"a secret": {
			env:  []corev1.EnvVar{{Name: "WEBHOOK_URL", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "slack"}, Key: "url"}}}},
			want: []string{"name: slack # WEBHOOK_URL", "key: url"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := readWorkload("DaemonSet", &metav1.ObjectMeta{Namespace: "kube-system", Name: "nth"}, daemonSet(test.env, test.args...))
			out, _, err := convert([]*settings{s}, outputPolicies, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is missing:\n%s", want, out)
				}
			}
			for _, not := range test.not {
				if strings.Contains(string(out), not) {
					t.Errorf("%q is there:\n%s", not, out)
				}
			}
		})
	}
}

// TestTemplateFile finds the ConfigMap behind WEBHOOK_TEMPLATE_FILE.
func TestTemplateFile(t *testing.T) {
	pod := daemonSet(variables("WEBHOOK_URL=https://example.com/", "WEBHOOK_TEMPLATE_FILE=/config/nth.tmpl"))
	pod.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "uptime", MountPath: "/proc/uptime"}, {Name: "template", MountPath: "/config/"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "template", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "templates"}}}}}
	s := readWorkload("DaemonSet", &metav1.ObjectMeta{Namespace: "nth", Name: "nth"}, pod)
	out, all, err := convert([]*settings{s}, outputPolicies, "")
	if err != nil {
		t.Fatal(err)
	}
	var notes strings.Builder
	if err := all.print(&notes); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "name: templates # WEBHOOK_TEMPLATE_FILE") || !strings.Contains(notes.String(), `kubectl -n nth get configmap templates -o jsonpath='{.data.nth\.tmpl}'`) {
		t.Errorf("%s\n%s", out, &notes)
	}
}
