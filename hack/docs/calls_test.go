// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/controllers/source/event"
)

// known are the commands that the pages use of programs that are not run here, with those of their flags that may be
// used: true if the command needs the flag.
//
//   - aws: https://docs.aws.amazon.com/cli/latest/reference/
//   - cosign: https://docs.sigstore.dev/cosign/verifying/verify/
//   - gh: https://cli.github.com/manual/gh_attestation_verify
var known = map[string]map[string]bool{
	"aws cloudformation deploy": {
		"--stack-name": true, "--template-file": true, "--capabilities": false, "--parameter-overrides": false, "--region": false,
		"--no-fail-on-empty-changeset": false, "--tags": false,
	},
	"aws cloudformation describe-stacks": {"--stack-name": false, "--query": false, "--output": false, "--region": false},
	"aws cloudformation delete-stack":    {"--stack-name": true, "--region": false},
	"aws sqs send-message":               {"--queue-url": true, "--message-body": true, "--region": false},
	"aws autoscaling put-lifecycle-hook": {
		"--auto-scaling-group-name": true, "--lifecycle-hook-name": true, "--lifecycle-transition": false, "--heartbeat-timeout": false,
		"--default-result": false, "--region": false,
	},
	"cosign verify-blob": {
		"--bundle": true, "--certificate-oidc-issuer": true, "--certificate-identity": true,
	},
	"gh attestation verify": {"--repo": true},
}

// checkCalls checks how the programs were called that are not run here.
func checkCalls(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "calls", "*"))
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
		name, err := checkCall(args)
		called[name] = true
		if err != nil {
			t.Errorf("%s: %v", strings.Join(args, " "), err)
		}
	}
	if len(called) < 5 {
		t.Errorf("only %v were called", called)
	}
}

// checkCall returns the command that was called, and what is wrong with its flags.
func checkCall(args []string) (command string, err error) {
	for name := range known {
		if words := strings.Fields(name); len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			command, args = name, args[len(words):]
			break
		}
	}
	if command == "" {
		return "", fmt.Errorf("no command that is known here: look it up, and add it to the table with its flags")
	}
	values := map[string][]string{}
	flag := ""
	for _, arg := range args {
		if strings.HasPrefix(arg, "--") {
			flag = arg
			if _, ok := known[command][flag]; !ok {
				return command, fmt.Errorf("%s has no flag %s", command, flag)
			}
		}
		values[flag] = append(values[flag], arg)
	}
	for flag, needed := range known[command] {
		if needed && len(values[flag]) < 2 {
			return command, fmt.Errorf("%s needs %s with a value", command, flag)
		}
	}
	return command, checkValues(command, values)
}

// checkValues returns what is wrong with the values of flags. The first value of each is the flag itself.
func checkValues(command string, values map[string][]string) error {
	switch command {
	case "aws cloudformation deploy":
		return checkTemplate(values["--template-file"][1], values["--parameter-overrides"])
	case "aws autoscaling put-lifecycle-hook":
		for flag, allowed := range map[string][]string{
			"--lifecycle-transition": {"autoscaling:EC2_INSTANCE_TERMINATING", "autoscaling:EC2_INSTANCE_LAUNCHING"},
			"--default-result":       {"CONTINUE", "ABANDON"},
		} {
			if got := values[flag]; len(got) > 0 && (len(got) != 2 || !slices.Contains(allowed, got[1])) {
				return fmt.Errorf("%s is one of %q", flag, allowed)
			}
		}
	case "aws sqs send-message":
		body := values["--message-body"][1]
		if !json.Valid([]byte(body)) {
			return fmt.Errorf("the message is no JSON: %s", body)
		}
		if _, err := event.Parse([]byte(body), time.Now()); err != nil {
			return fmt.Errorf("the message is not understood: %w", err)
		}
	}
	return nil
}

// parameters are the parameters of a CloudFormation template, of which the first group has the names.
var parameters = regexp.MustCompile(`(?m)^  ([A-Za-z0-9]+):$`)

// checkTemplate returns an error if a template is not there or has not all of the parameters that are set.
func checkTemplate(file string, overrides []string) error {
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err
	}
	_, section, _ := strings.Cut(string(content), "\nParameters:\n")
	section, _, _ = strings.Cut(section, "\nResources:\n")
	var names []string
	for _, match := range parameters.FindAllStringSubmatch(section, -1) {
		names = append(names, match[1])
	}
	for _, override := range overrides[min(1, len(overrides)):] {
		if name, _, ok := strings.Cut(override, "="); !ok || !slices.Contains(names, name) {
			return fmt.Errorf("%s has no parameter %s: it has %q", file, override, names)
		}
	}
	return nil
}

// TestCheckCall: what is wrong is noticed.
func TestCheckCall(t *testing.T) {
	for call, want := range map[string]string{
		"aws cloudformation deploy --stack-name a --template-file config/aws/queue.yaml --parameter-overrides Group1=workers": "",
		"aws cloudformation deploy --stack-name a --template-file config/aws/queue.yaml --parameter-overrides Groups=workers": "no parameter Groups=workers",
		"aws cloudformation deploy --stack-name a --template-file config/aws/missing.yaml":                                    "no such file",
		"aws cloudformation deploy --stack-name a --template config/aws/queue.yaml":                                           "no flag --template",
		"aws cloudformation deploy --template-file config/aws/queue.yaml":                                                     "needs --stack-name",
		"aws cloudformation describe-stack --stack-name a":                                                                    "no command that is known",
		"aws sqs send-message --queue-url a --message-body {":                                                                 "no JSON",
		"aws sqs send-message --queue-url a --message-body {}":                                                                "not understood",
		"aws autoscaling put-lifecycle-hook --auto-scaling-group-name a --lifecycle-hook-name b --default-result continue":    "--default-result is one of",
		"gh attestation verify install.yaml":                                                                                  "needs --repo",
	} {
		_, err := checkCall(strings.Fields(call))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got error %v, want %q", call, err, want)
		}
	}
}
