// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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
			"the default, heard from the queue", nthDefault,
			`{"text":"[NTH][Instance Interruption] EventID: a - Kind: SPOT_ITN - Instance: i-0abc1234def567890 - Node: ip-10-0-3-7.ec2.internal` +
				` - Description: Spot Interruption notice for instance i-0abc1234def567890 was sent at 2026-11-22 05:08:00 +0000 UTC - Start Time: 2026-11-22 05:08:00 +0000 UTC"}`,
			spot[1],
		},
		{
			"the default, heard from the metadata", nthDefault,
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
			"sprig and methods", `{{ .EventID | trunc 8 | upper }} {{ .Kind | lower }} {{ .StartTime.Format "15:04" }} {{ join "," .Pods }} {{ index .NodeLabels "kubernetes.io/hostname" }} {{ .NodeLabels.absent }} {{ .IsManaged }} {{ .EndTime }}`,
			`1E5527D7 spot_itn 05:10 web-0,web-1 ip-10-0-3-7.ec2.internal <no value> true 0001-01-01 00:00:00 +0000 UTC`,
			spot[0],
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			contentType := defaultContentType
			if !strings.HasPrefix(test.template, `{"`) {
				contentType = "text/plain"
			}
			got, err := render(test.template, contentType, test.data)
			if err != nil || string(got) != test.want {
				t.Errorf("error %v\n got %s\nwant %s", err, got, test.want)
			}
			if err := Check(test.template, contentType); err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

// TestNTHWithNastyValues is about templates that put values between quotes as they are.
func TestNTHWithNastyValues(t *testing.T) {
	data := nasty()
	got, err := render(fieldTemplate, defaultContentType, data)
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
		{"the clock", `{{ now }}`, `{{ .StartTime.Format "15:04:05" }}`},
		{"the clock by another name", `{{ ago .StartTime }}`, "not defined"},
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

		{"a loop over a number", `{{ range 9000000000000000000 }}{{ end }}`, "does not come to an end"},
		{"loops in loops", `{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}`, "does not come to an end"},
		{"a loop in a branch", `{{ if true }}{{ with . }}{{ if false }}{{ else }}{{ range 9000000000000000000 }}{{ end }}{{ end }}{{ end }}{{ end }}`, "does not come to an end"},
		{"itself", `{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`, "does not come to an end"},
		{"itself twice", `{{ define "a" }}{{ if gt . 0 }}{{ template "a" (sub . 1) }}{{ template "a" (sub . 1) }}{{ end }}{{ end }}{{ template "a" 60 }}`, "does not come to an end"},
		{"much text", `{{ repeat 1000000000 "x" }}`, "larger than 256 KiB"},
		{"many numbers", `{{ until 1000000000 }}`, "larger than 256 KiB"},
		{"many numbers in steps", `{{ untilStep 0 1000000000 1 }}`, "larger than 256 KiB"},
		{"many numbers down", `{{ untilStep 0 -9000000000000000000 -1 }}`, "larger than 256 KiB"},
		{"many numbers as text", `{{ seq 1 1000000000 }}`, "larger than 256 KiB"},
		{"many numbers as text in steps", `{{ seq 1 1 1000000000 }}`, "larger than 256 KiB"},
		{"many numbers as text from one", `{{ seq 1000000000 }}`, "larger than 256 KiB"},
		{"a wide indent", `{{ indent 1000000000 "x" }}`, "larger than 256 KiB"},
		{"a wide indent on a line", `{{ nindent 1000000000 "x" }}`, "larger than 256 KiB"},
		{"a wide number", `{{ range 100 }}{{ printf "%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d" 1 }}{{ end }}`, "larger than 256 KiB"},
		{"a wide number from outside", `{{ printf "%*d" 999999 1 }}`, "larger than 256 KiB"},
		{"doubling", `{{ $x := "x" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}`, "larger than 256 KiB"},
		{"replacing", `{{ $x := repeat 100000 "x" }}{{ replace "x" $x $x }}`, "larger than 256 KiB"},
		{"replacing by a pattern", `{{ $x := repeat 100000 "x" }}{{ regexReplaceAll "x" $x $x }}`, "larger than 256 KiB"},
		{"joining", `{{ join (repeat 100000 "x") (until 10000) }}`, "larger than 256 KiB"},
		{"wrapping", `{{ $x := repeat 100000 "x" }}{{ wrapWith 1 $x $x }}`, "larger than 256 KiB"},
		{"laughs", `{{ $x := list 1 }}{{ range 40 }}{{ $x = list $x $x }}{{ end }}{{ $x }}`, "larger than 256 KiB"},
		{"a nest", `{{ $x := list 1 }}{{ range 1000 }}{{ $x = list $x }}{{ end }}{{ $x | toPrettyJson }}`, "nested too deep"},
		{"a map within itself", `{{ $d := dict }}{{ $_ := set $d "a" $d }}{{ $d }}`, "nested too deep"},
		{"a map within itself by a list", `{{ $d := dict }}{{ $l := list $d }}{{ $_ := set $d "a" $l }}{{ $l }}`, "nested too deep"},
		{"a map that grows later", `{{ $d := dict }}{{ $l := list $d $d $d $d }}{{ $_ := set $d "a" (repeat 100000 "x") }}{{ $l }}`, "larger than 256 KiB"},
		{"much output", `{{ range 10000 }}` + strings.Repeat("x", 100) + `{{ end }}`, "larger than 256 KiB"},
		{"a slow pattern", `{{ $x := repeat 100000 "x" }}{{ range 100 }}{{ regexMatch "(x+x+)+y{50}" $x }}{{ end }}`, "does not come to an end"},
		{"a long pattern", `{{ regexMatch (repeat 2000 "x") "x" }}`, "does not come to an end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			err := Check(test.template, defaultContentType)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestCheckAccepts(t *testing.T) {
	for name, template := range map[string]string{
		"the default": defaultTemplate,
		"loops":       `[{{ range $i, $pod := .Pods }}{{ if $i }},{{ end }}{{ $pod | toJson }}{{ end }}]`,
		"maps":        `{{ $d := dict "a" 1 }}{{ $_ := set $d "b" (list 1 2) }}{{ toJson $d }}`,
		"break":       `[{{ range until 10 }}{{ if gt . 3 }}{{ break }}{{ end }}{{ if . }},{{ end }}{{ . }}{{ end }}]`,
		"define":      `{{ define "a" }}{{ .Kind | quote }}{{ end }}[{{ template "a" . }}, {{ template "a" $ }}]`,
		"block":       `[{{ block "a" .Pods }}{{ len . }}{{ end }}]`,
		"patterns":    `{"a": {{ regexReplaceAll "^ip-([0-9-]+)\\..*$" .NodeName "${1}" | toJson }}, "b": {{ replace "-" "_" .NodeName | quote }}}`,
		"wide":        `{"a": "{{ printf "%-20s|%5d" .Step .Evicted }}", "b": {{ cat .Kind .Step | nospace | quote }}}`,
		"everything":  `{{ . | toPrettyJson }}`,
		"else":        `{{ range .Blocked }}{{ else }}{{ end }}{{ with .Policy }}{{ . | quote }}{{ else }}null{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(template, defaultContentType); err != nil {
				t.Error(err)
			}
		})
	}
	for _, contentType := range []string{"text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"} {
		if err := Check(`node {{ .NodeName }}`, contentType); err != nil {
			t.Errorf("%s: %v", contentType, err)
		}
	}
	if err := Check(`node`, "application/cloudevents+json; charset=utf-8"); err == nil {
		t.Error("what is not JSON is sent as CloudEvents")
	}
}

// TestManyPods renders for a node with as many pods as one can have.
func TestManyPods(t *testing.T) {
	data := samples(v1alpha1.SpotInterruption, v1alpha1.StepReceived)[0]
	for range 737 {
		data.Pods = append(data.Pods, strings.Repeat("a-pod-", 10))
	}
	for _, template := range []string{fieldTemplate, `{"pods": {{ toPrettyJson .Pods }}}`, `[{{ range .Pods }}{{ . | upper | quote }},{{ end }}0]`} {
		if _, err := render(template, defaultContentType, data); err != nil {
			t.Error(err)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, template := range []string{
		nthDefault, fieldTemplate, defaultTemplate, `{{ range until 10 }}{{ . }}{{ end }}`, `{{ $d := dict "a" 1 }}{{ set $d "b" $d }}`,
		`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, `{{ printf "%9999s" .Kind }}`, `{{ chunk 0 .Pods }}`,
		`{{ regexReplaceAll "a{9}" .Kind "b" }}`, `{{ block "a" . }}{{ else }}{{ end }}`, `{{ toDecimal "9" | round 3 }}`,
	} {
		f.Add(template)
	}
	plain, bad := samples(v1alpha1.AutoScalingTermination, v1alpha1.StepCompleted), nasty()
	f.Fuzz(func(t *testing.T, template string) {
		for _, data := range append(plain, bad) {
			out, err := render(template, defaultContentType, data)
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
