// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// nthDefault is the template that NTH has built in.
// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/config/config.go
const nthDefault = `{"text":"[NTH][Instance Interruption] EventID: {{ .EventID }} - Kind: {{ .Kind }} - Instance: {{ .InstanceID }} - Node: {{ .NodeName }} - Description: {{ .Description }} - Start Time: {{ .StartTime }}"}`

// fieldTemplate is one that people use with NTH.
const fieldTemplate = `{"text": ":rotating_light: *EC2 Spot instance is about to be interrupted.*\n *_Account:_* ` + "`{{ .AccountId }}`" +
	`\n *_Instance ID:_* ` + "`{{ .InstanceID }}`" + `\n *_Node Name:_* ` + "`{{ .NodeName }}`" + `\n *_Instance Type:_* ` + "`{{ .InstanceType }}`" +
	`\n *_Start Time:_* ` + "`{{ .StartTime }}`" + `\n *_Description:_* {{ .Description }}\n *_Affected Pod(s):_* ` + "`{{ .Pods }}`" + `"}`

func TestTemplatesOfNTH(t *testing.T) {
	spot := samples(v1alpha1.SpotInterruption, v1alpha1.StepReceived)
	for _, test := range []struct {
		name, template, want string
		data                 Data
	}{
		{
			"the default, received from the queue", nthDefault,
			`{"text":"[NTH][Instance Interruption] EventID: a - Kind: SPOT_ITN - Instance: i-0abc1234def567890 - Node: ip-10-0-3-7.ec2.internal` +
				` - Description: Spot Interruption notice for instance i-0abc1234def567890 was sent at 2026-11-22 05:08:00 +0000 UTC - Start Time: 2026-11-22 05:08:00 +0000 UTC"}`,
			spot[1],
		},
		{
			"the default, received from the metadata", nthDefault,
			`{"text":"[NTH][Instance Interruption] EventID: 1e5527d7-bb36-4607-3370-4164db56a40e - Kind: SPOT_ITN - Instance: i-0abc1234def567890 - Node: ip-10-0-3-7.ec2.internal` +
				` - Description: Spot ITN received. Instance will be interrupted at 2026-11-22T05:10:00Z - Start Time: 2026-11-22 05:10:00 +0000 UTC"}`,
			spot[0],
		},
		{
			"one from the field", fieldTemplate,
			`{"text": ":rotating_light: *EC2 Spot instance is about to be interrupted.*\n *_Account:_* ` + "`123456789012`" +
				`\n *_Instance ID:_* ` + "`i-0abc1234def567890`" + `\n *_Node Name:_* ` + "`ip-10-0-3-7.ec2.internal`" + `\n *_Instance Type:_* ` + "`m6i.large`" +
				`\n *_Start Time:_* ` + "`2026-11-22 05:10:00 +0000 UTC`" + `\n *_Description:_* Spot ITN received. Instance will be interrupted at 2026-11-22T05:10:00Z` +
				`\n *_Affected Pod(s):_* ` + "`[web-0 web-1]`" + `"}`,
			spot[0],
		},
		{
			"sprig and methods", `{{ .EventID | trunc 8 | upper }} {{ .Kind | lower }} {{ .StartTime.Format "15:04" }} {{ join "," .Pods }} {{ index .NodeLabels "kubernetes.io/hostname" }} {{ .NodeLabels.absent }} {{ .IsManaged }} {{ .NodeProcessed }} {{ .InProgress }} {{ .EndTime }}`,
			`1E5527D7 spot_itn 05:10 web-0,web-1 ip-10-0-3-7.ec2.internal <no value> true false true 2026-11-22 05:10:00 +0000 UTC`,
			spot[0],
		},
		{
			"times of sprig", `{{ dateInZone "2006-01-02 15:04 MST" .StartTime "Europe/Berlin" }} {{ .StartTime | date_modify "-2m" | unixEpoch }} {{ if now.After .StartTime }}{{ end }}{{ now | date "2006" | len }} {{ ago now }}`,
			`2026-11-22 06:10 CET 1795324080 4 0s`,
			spot[0],
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			contentType := DefaultContentType
			if !strings.HasPrefix(test.template, `{"`) {
				contentType = "text/plain"
			}
			got, err := Render(t.Context(), test.template, contentType, test.data)
			if err != nil || string(got) != test.want {
				t.Errorf("error %v\n got %s\nwant %s", err, got, test.want)
			}
			if err := Check(t.Context(), test.template, contentType); err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

// TestNTHWithNastyValues is about templates that put values between quotes as they are.
func TestNTHWithNastyValues(t *testing.T) {
	data := nasty()
	got, err := Render(t.Context(), fieldTemplate, DefaultContentType, data)
	if err != nil {
		t.Fatal(err)
	}
	var message struct{ Text string }
	if err := json.Unmarshal(got, &message); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	for _, text := range []string{data.Description, data.Pods[0], data.AccountId} {
		if !strings.Contains(message.Text, text) {
			t.Errorf("%q lacks %q", message.Text, text)
		}
	}
}

// nasty has everything in it that breaks JSON.
func nasty() Data {
	data := samples(v1alpha1.ScheduledMaintenance, v1alpha1.StepFailed)[0]
	const text = "a \"quote\", a \\ and a\nline \t\x01 </script> \u2028 é"
	data.Description, data.AccountId, data.NodeName, data.Policy, data.EventID = text, text, text, text, text
	data.Pods, data.Blocked, data.NodeLabels = []string{text, ""}, []string{text}, map[string]string{"a": text}
	return data
}

func TestCheckRefuses(t *testing.T) {
	for _, test := range []struct{ name, template, want string }{
		{"not closed", `{"a": {{ .Kind }`, "unexpected"},
		{"an unknown name", `{"a": "{{ .Kin }}"}`, "docs/webhooks.md has the names"},
		{"an unknown name in a branch", `{{ if eq .Step "Cancelled" }}{{ .Foo }}{{ end }}{}`, "at step Cancelled"},
		{"an unknown function", `{{ foo }}`, `function "foo" not defined`},
		{"the environment", `{{ env "HOME" }}`, "the environment or the network"},
		{"a time zone that is none", `{{ fail (dateInZone "Z" now "Mars/Olympus") }}`, "Z"},
		{"the network", `{{ getHostByName "a" }}`, "not defined"},
		{"a key", `{{ genPrivateKey "rsa" }}`, "not defined"},
		{"not JSON", `node {{ .NodeName }}`, "{{ .Description | toJson }}, without quotes"},
		{"half of JSON", `{"a": "{{ .NodeName }}"`, "the result is not JSON"},
		{"not JSON for one kind", `{"a": 1 {{ if eq .Kind "MANUAL" }},{{ end }}}`, "tried with a Manual at step Received"},
		{"nothing", `{{ "" }}`, "the result is not JSON"},
		{"fail", `{{ fail "no" }}`, "no"},
		{"too long", strings.Repeat("x", maxTemplate+1), "write at most 65536"},
		{"wrong arguments", `{{ trunc "a" "b" }}`, "expected integer"},
		{"an index that is not there", `{{ index .Pods 7 }}`, "out of range"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Check(t.Context(), test.template, DefaultContentType)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	for name, template := range map[string]string{
		"the default": Default,
		"loops":       `[{{ range $i, $pod := .Pods }}{{ if $i }},{{ end }}{{ $pod | toJson }}{{ end }}]`,
		"maps":        `{{ $d := dict "a" 1 }}{{ $_ := set $d "b" (list 1 2) }}{{ toJson $d }}`,
		"break":       `[{{ range 10 }}{{ if gt . 3 }}{{ break }}{{ end }}{{ if . }},{{ end }}{{ . }}{{ end }}]`,
		"define":      `{{ define "a" }}{{ .Kind | quote }}{{ end }}[{{ template "a" . }}, {{ template "a" $ }}]`,
		"block":       `[{{ block "a" .Pods }}{{ len . }}{{ end }}]`,
		"patterns":    `{"a": {{ regexReplaceAll "^ip-([0-9-]+)\\..*$" .NodeName "${1}" | toJson }}, "b": {{ replace "-" "_" .NodeName | quote }}}`,
		"wide":        `{"a": "{{ printf "%-20s|%5d" .Step .Evicted }}", "b": {{ cat .Kind .Step | nospace | quote }}}`,
		"everything":  `{{ . | toPrettyJson }}`,
		"stars":       `{"text": {{ printf "*%s* since 2026, 100%%: *%d*" .Step .Evicted | toJson }}}`,
		"often":       `[{{ range $i, $_ := .Pods }}{{ template "a" $ }},{{ end }}0]{{ define "a" }}{{ if .Blocked }}{{ len .Pods }}{{ else }}0{{ end }}{{ end }}`,
		"else":        `{{ range .Blocked }}{{ else }}{{ end }}{{ with .Policy }}{{ . | quote }}{{ else }}null{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(t.Context(), template, DefaultContentType); err != nil {
				t.Error(err)
			}
		})
	}
	for _, contentType := range []string{"text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"} {
		if err := Check(t.Context(), `node {{ .NodeName }}`, contentType); err != nil {
			t.Errorf("%s: %v", contentType, err)
		}
	}
	if err := Check(t.Context(), `node`, "application/cloudevents+json; charset=utf-8"); err == nil {
		t.Error("what is not JSON is sent as CloudEvents")
	}
}

// TestManyPods renders for a node with as many pods as one can have.
func TestManyPods(t *testing.T) {
	data := samples(v1alpha1.SpotInterruption, v1alpha1.StepReceived)[0]
	for range 737 {
		data.Pods = append(data.Pods, strings.Repeat("a-pod-", 10))
	}
	for _, template := range []string{
		fieldTemplate, `[{{ range .Pods }}{{ template "a" $ }},{{ end }}0]{{ define "a" }}{{ with .Kind }}{{ quote . }}{{ end }}{{ end }}`, `{"pods": {{ toPrettyJson .Pods }}}`, `[{{ range .Pods }}{{ . | upper | quote }},{{ end }}0]`,
	} {
		if _, err := Render(t.Context(), template, DefaultContentType, data); err != nil {
			t.Error(err)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, template := range []string{
		nthDefault, fieldTemplate, Default, `{{ range 10 }}{{ . }}{{ end }}`, `{{ $d := dict "a" 1 }}{{ set $d "b" $d }}`,
		`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, `{{ printf "%9999s" .Kind }}`, `{{ chunk 0 .Pods }}`,
		`{{ regexReplaceAll "a{9}" .Kind "b" }}`, `{{ block "a" . }}{{ else }}{{ end }}`, `{{ toDecimal "9" | round 3 }}`,
	} {
		f.Add(template)
	}
	plain, bad := samples(v1alpha1.AutoScalingTermination, v1alpha1.StepCompleted), nasty()
	f.Fuzz(func(t *testing.T, template string) {
		for _, data := range append(plain, bad) {
			out, err := Render(t.Context(), template, DefaultContentType, data)
			switch {
			case err != nil && out != nil:
				t.Errorf("%q with error %v", out, err)
			case err == nil && !json.Valid(out):
				t.Errorf("not JSON: %q", out)
			case len(out) > maxBody:
				t.Errorf("%d bytes", len(out))
			}
		}
	})
}
