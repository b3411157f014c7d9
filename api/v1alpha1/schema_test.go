// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestNothingReadsAsABoolean keeps words out of the API that YAML 1.1, which
// kubectl and Helm still read, takes for booleans when they are not quoted.
func TestNothingReadsAsABoolean(t *testing.T) {
	files, err := filepath.Glob(crds + "/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%d CRDs in %s: %v", len(files), crds, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		for _, version := range crd.Spec.Versions {
			if words := booleans(crd.Spec.Names.Kind, version.Schema.OpenAPIV3Schema); len(words) > 0 {
				t.Errorf("booleans in YAML 1.1: %q", words)
			}
		}
	}
}

func TestBooleansAreFound(t *testing.T) {
	schema := &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"on": {},
		"a": {Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
			Enum: []apiextensionsv1.JSON{{Raw: []byte(`"Off"`)}, {Raw: []byte(`"None"`)}},
		}}},
		"b": {AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &apiextensionsv1.JSONSchemaProps{
			Enum: []apiextensionsv1.JSON{{Raw: []byte(`true`)}},
		}}},
	}}
	got := booleans("X", schema)
	slices.Sort(got)
	if diff := cmp.Diff([]string{`X.a = "Off"`, `X.b = true`, `X.on`}, got); diff != "" {
		t.Error(diff)
	}
}

// booleans lists the property names and enum values that read as booleans. The
// status of a condition is Kubernetes' own choice.
func booleans(path string, schema *apiextensionsv1.JSONSchemaProps) []string {
	var found []string
	if strings.HasSuffix(path, ".conditions.status") {
		return nil
	}
	for _, value := range schema.Enum {
		if isBoolean(strings.Trim(string(value.Raw), `"`)) {
			found = append(found, path+" = "+string(value.Raw))
		}
	}
	for name := range schema.Properties {
		if isBoolean(name) {
			found = append(found, path+"."+name)
		}
		found = append(found, booleans(path+"."+name, ptr.To(schema.Properties[name]))...)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		found = append(found, booleans(path, schema.Items.Schema)...)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		found = append(found, booleans(path, schema.AdditionalProperties.Schema)...)
	}
	return found
}

// https://yaml.org/type/bool.html
func isBoolean(word string) bool {
	return slices.Contains([]string{"y", "n", "yes", "no", "on", "off", "true", "false"}, strings.ToLower(word))
}

// TestColumns is about what "kubectl get nt,ntp" prints.
func TestColumns(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 22, 5, 10, 0, 0, time.UTC))
	conditions := []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.StateDraining,
		Message: "14 of 17 pods are gone.", LastTransitionTime: at,
	}}
	nt := &v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: "i-0123456789abcdef0"},
		Spec: v1alpha1.NodeTerminationSpec{
			InstanceID: "i-0123456789abcdef0", NodeName: "ip-10-0-3-7.ec2.internal",
			Events: []v1alpha1.Event{{ID: "a", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: at}},
		},
	}
	create(t, nt)
	defer remove(t, nt)
	nt.Status = v1alpha1.NodeTerminationStatus{
		Conditions: conditions, Cause: v1alpha1.SpotInterruption, Deadline: &at,
		Pods: &v1alpha1.PodCounts{
			Total: ptr.To[int32](17), Evicted: ptr.To[int32](16), Terminating: ptr.To[int32](2),
			Blocked: ptr.To[int32](1), Remaining: ptr.To[int32](3), Summary: "14/17",
		},
	}
	policy := &v1alpha1.NodeTerminationPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "columns"},
		Spec: v1alpha1.NodeTerminationPolicySpec{
			Priority: ptr.To[int32](100), Suspend: ptr.To(true),
			Sources: []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: "https://a/b"}}},
		},
	}
	create(t, policy)
	defer remove(t, policy)
	policy.Status = v1alpha1.NodeTerminationPolicyStatus{
		Conditions: conditions, Nodes: ptr.To[int32](42), ActiveTerminations: ptr.To[int32](3),
	}
	for _, object := range []client.Object{nt, policy} {
		if err := admin(t).Status().Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}

	want := "Name=i-0123456789abcdef0 Node=ip-10-0-3-7.ec2.internal Event=SpotInterruption State=Draining" +
		" Pods=14/17 Blocked=1 Deadline=2026-11-22T05:10:00Z Age Message(wide)=14 of 17 pods are gone."
	if got := row(t, "nodeterminations/"+nt.Name); got != want {
		t.Errorf("kubectl get nt:\n got %s\nwant %s", got, want)
	}
	want = "Name=columns Priority=100 Suspend=true Nodes=42 Active=3 Ready=False Reason=Draining Age Message(wide)=14 of 17 pods are gone."
	if got := row(t, "nodeterminationpolicies/columns"); got != want {
		t.Errorf("kubectl get ntp:\n got %s\nwant %s", got, want)
	}
}

// TestTerminationsOfANode is about the field selector that finds them.
func TestTerminationsOfANode(t *testing.T) {
	one := termination(t, "i-00000001", "instanceID: i-00000001\nnodeName: one\nevents: ["+anEvent+"]")
	two := termination(t, "i-00000002", "instanceID: i-00000002\nnodeName: two\nevents: ["+anEvent+"]")
	create(t, one)
	defer remove(t, one)
	create(t, two)
	defer remove(t, two)
	var found v1alpha1.NodeTerminationList
	if err := admin(t).List(t.Context(), &found, client.MatchingFields{"spec.nodeName": "two"}); err != nil {
		t.Fatal(err)
	}
	if len(found.Items) != 1 || found.Items[0].Name != "i-00000002" {
		t.Errorf("node two has %d terminations: %v", len(found.Items), found.Items)
	}
}

// row is the row that kubectl prints for an object, with the columns' names.
func row(t *testing.T, path string) string {
	t.Helper()
	config := cluster.Get(t).Config()
	connection, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+"/apis/nodetermination.dev/v1alpha1/"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := connection.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(body, &table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("not a table of one row (%v): %s", err, body)
	}
	var cells []string
	for i, column := range table.ColumnDefinitions {
		cell := column.Name
		if column.Priority > 0 {
			cell += "(wide)"
		}
		if column.Name != "Age" {
			value, err := json.Marshal(table.Rows[0].Cells[i])
			if err != nil {
				t.Fatal(err)
			}
			cell += "=" + strings.Trim(string(value), `"`)
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, " ")
}
