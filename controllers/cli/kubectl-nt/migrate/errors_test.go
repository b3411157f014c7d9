// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRefused: what is wrong is said in one line, with what to write instead.
func TestRefused(t *testing.T) {
	const inQueue = "enableSqsTerminationDraining: true\nqueueURL: " + exampleQueue + "\n"
	for values, want := range map[string]string{
		"dryRun: maybe":                                                  `dryRun: "maybe" is neither true nor false`,
		"dryRun: [true]":                                                 "dryRun:",
		"nodeTerminationGracePeriod: 2m":                                 `nodeTerminationGracePeriod: "2m" is no whole number: write one, such as 120`,
		"nodeTerminationGracePeriod: 1.5":                                "no whole number",
		"nodeTerminationGracePeriod: -5":                                 "write seconds, such as 120",
		"podTerminationGracePeriod: {a: b}":                              "no whole number",
		"enableSqsTerminationDraining: true":                             "queueURL: enableSqsTerminationDraining: true, and there is no queue",
		"enableSqsTerminationDraining: true\nqueueURL: node-termination": "no URL of a queue",
		"enableSqsTerminationDraining: true\nqueueURL: https://sqs.us-east-1.amazonaws.com/123/q":               "no URL of a queue",
		"enableSqsTerminationDraining: true\nqueueURL: https://sqs.us-east-1.amazonaws.com/123456789012/q.fifo": "standard queue",
		"enableSqsTerminationDraining: true\nqueueURL: http://sqs.us-east-1.amazonaws.com/123456789012/q":       "write https",
		inQueue + "awsRegion: Frankfurt":                                              "such as us-east-1",
		inQueue + "managedTag: a=b":                                                   "managedTag:",
		inQueue + "managedTag: ' a'":                                                  "managedTag:",
		inQueue + "heartbeatInterval: 10":                                             "from 30 to 3600",
		inQueue + "heartbeatUntil: 600":                                               "write both, or neither",
		inQueue + "heartbeatInterval: 600\nheartbeatUntil: 300":                       "not less than heartbeatInterval",
		inQueue + "replicas: -1":                                                      "write 2",
		inQueue + "podDisruptionBudget: {maxUnavailble: 1}":                           "podDisruptionBudget:",
		inQueue + "tolerations: [{keys: a}]":                                          "tolerations:",
		inQueue + "nodeSelector: {a: 1}":                                              `write it in quotes, such as "1"`,
		"nodeSelector: {a: true}":                                                     `write it in quotes, such as "true"`,
		"nodeSelector: {'a b': x}":                                                    "no name of a label",
		"nodeSelector: {a: '*'}":                                                      "no value of a label",
		"nodeSelector: [a]":                                                           "nodeSelector:",
		"affinity: {nodeAffinities: {}}":                                              "affinity:",
		"tolerations: [{operator: Exists, value: a}]":                                 "takes no value",
		"tolerations: [{key: a, operator: Gt}]":                                       "write Exists or Equal",
		"tolerations: [{key: a, effect: Never}]":                                      "write NoSchedule",
		"tolerations: [{key: a, tolerationSeconds: 5}]":                               "NoExecute",
		"tolerations: [{key: 'a b', operator: Exists}]":                               "not of a taint",
		"resources: {limits: {memory: lots}}":                                         "resources:",
		"daemonsetPriorityClassName: High Priority":                                   "PriorityClass",
		"targetNodeOs: darwin":                                                        "write linux",
		"targetNodeOs: windows":                                                       "use a queue for them",
		"logLevel: trace":                                                             "write info, debug or error",
		"enablePrometheusServer: true\nprometheusServerPort: 80":                      "from 1024 to 65535",
		"taintNode: true\nextraEnv: [{name: TAINT_EFFECT, value: Never}]":             "TAINT_EFFECT:",
		"extraEnv: [{name: QUEUE_URL, valueFrom: {secretKeyRef: {name: a, key: b}}}]": "is not read: write it into a file, as queueURL",
		"extraEnv: {name: A}":                                                         "extraEnv:",
		"extraEnv: [{name: 'A B', value: x}]":                                         "no name of a variable",
		"emitKubernetesEvents: true\nkubernetesEventsExtraAnnotations: team":          "write example.com/team=platform",
		"webhookURL: slack":                                                           "write the whole address",
		"webhookURL: https://a.b/\nwebhookHeaders: 'Authorization: x'":                "it is no JSON",
		"webhookURL: https://a.b/\nwebhookHeaders: '{\"a b\":\"x\"}'":                 "no name of a header",
		"webhookURL: https://a.b/\nwebhookProxy: user:pass@proxy":                     "no address of a proxy",
		"webhookURLSecretName: 'A; rm -rf /'":                                         "no name of a Secret",
		"image: latest":                                                               "is no map",
		"a: b\n---\nc: d":                                                             "several documents",
		"- a":                                                                         "no map of values",
		"dryRun: true\ndryRun: false":                                                 "already set",
		"apiVersion: v1\nkind: ConfigMap":                                             "it is a manifest",
		"a: &a [*a]":                                                                  "standard input:",
	} {
		stdout, _, err := migrate(t, values, "-f", "-")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || stdout != "" {
			t.Errorf("%s: %v, and %q; want one line with %q", values, err, stdout, want)
		}
	}
}

// TestUnknownValue: an unknown value is an error that names the nearest one, and the others are converted.
func TestUnknownValue(t *testing.T) {
	for values, want := range map[string]string{
		"dryrun: true":                       "write dryRun",
		"enableSQSTerminationDraining: true": "write enableSqsTerminationDraining",
		"nodeTerminationGracePeriods: 1":     "write nodeTerminationGracePeriod",
		"image: {repo: a}":                   "image.repo: ",
		"annotations: {}":                    "write serviceAccount.annotations",
		"somethingElseAltogether: 1":         "leave it out",
		"TAINT_EFFECT: NoExecute":            "TAINT_EFFECT: ",
		"\"\\e[31mred\": 1":                  `"\x1b[31mred": `,
		"taintNode: true\nx: 1\nz: 2":        "\nz: ",
		strings.Repeat("a", 1_000) + ": 1":   "…",
	} {
		stdout, _, err := migrate(t, "excludeFromLoadBalancers: true\n"+values, "-f", "-")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", values, err, want)
		}
		if !strings.Contains(stdout, "loadBalancers: Exclude") {
			t.Errorf("%.80s: what is known is lost:\n%s", values, stdout)
		}
	}
}

func TestFlagsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "write -f values.yaml, --release NAME or --from-cluster",
		"--release a --from-cluster":        "write one of them",
		"-f - -o json":                      "write policies, kustomization, values",
		"-f - --mode dryrun":                "write DryRun or Enforce",
		"-f does/not/exist":                 "no such file",
		"--release ../x --kubeconfig /none": "",
	} {
		if _, _, err := migrate(t, "{}", strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// TestFilesAreMerged: of several files the last goes before the others, as with Helm.
func TestFilesAreMerged(t *testing.T) {
	dir := t.TempDir()
	base, over := filepath.Join(dir, "base.yaml"), filepath.Join(dir, "over.yaml")
	for file, text := range map[string]string{
		base: "# the base\n---\naws-node-termination-handler:\n  nodeSelector: {a: x, b: y}\n  taintNode: true\n  nodeTerminationGracePeriod: 300\nother: 1\n",
		over: "nodeSelector: {b: z}\ntaintNode: null\nglobal: {a: b}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stdout, _, err := migrate(t, "USER-SUPPLIED VALUES:\npodTerminationGracePeriod: '20'\n", "-f", base, "-f", over, "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"a: x": true, "b: z": true, "taint:": false, "timeoutSeconds: 300": true, "podGracePeriodSeconds: 20": true} {
		if strings.Contains(stdout, text) != want {
			t.Errorf("%q is there: %t, want %t:\n%s", text, !want, want, stdout)
		}
	}
}

// TestSecretsAreNotWritten: what can be a secret is neither in the output nor in a note.
func TestSecretsAreNotWritten(t *testing.T) {
	stdout, stderr := everyOutput(t, `
enableSqsTerminationDraining: true
queueURL: `+exampleQueue+`
webhookURL: https://hooks.example.com/hush
webhookHeaders: '{"Authorization": "hush"}'
awsAccessKeyID: hush
awsSecretAccessKey: hush
extraEnv:
- {name: AWS_SECRET_ACCESS_KEY, value: hush}
`)
	if strings.Contains(stdout+stderr, "hush") {
		t.Errorf("a secret is written:\n%s\n%s", stdout, stderr)
	}
}

func FuzzValues(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		stdout, _, err := migrate(t, string(content), "-f", "-", "-o", outputValues)
		if err != nil && stdout == "" {
			return
		}
		for line := range strings.Lines(stdout) {
			if strings.ContainsAny(line, "\x1b\x00") {
				t.Errorf("%q", line)
			}
		}
		if _, err := parseValues("output", strings.NewReader(stdout)); err != nil {
			t.Errorf("%v in:\n%s", err, stdout)
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("H4sIAAAAAAAA/6quBQQAAP//Q7+mowIAAAA="))
	f.Add([]byte("e30="))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = decodeRelease(data) // that it returns is all
	})
}
