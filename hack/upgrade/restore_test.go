// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// timestamp is what a time looks like in objects and in annotations.
var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// load reads a recording and has it end now: every time in its objects is as long ago as it was then. The queue and the
// lifecycle action are those of this cluster.
func (c *cluster) load(dir string) []*unstructured.Unstructured {
	c.t.Helper()
	var record recording
	if err := yaml.Unmarshal(read(c.t, filepath.Join(dir, recordingFile)), &record); err != nil {
		c.t.Fatal(err)
	}
	if err := c.aws.PutLifecycleHook(hook); err != nil {
		c.t.Fatal(err)
	}
	age := time.Since(record.Time).Truncate(time.Second)
	var objects []*unstructured.Unstructured
	for _, document := range strings.Split(string(read(c.t, filepath.Join(dir, objectsFile))), "---\n")[1:] {
		document = timestamp.ReplaceAllStringFunc(document, func(then string) string {
			at, err := time.Parse(time.RFC3339, then)
			if err != nil {
				c.t.Fatal(err)
			}
			return at.Add(age).Format(time.RFC3339)
		})
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			c.t.Fatal(err)
		}
		if strings.Contains(document, record.Token) {
			action, err := c.aws.BeginLifecycleAction(hook.Group, hook.Name, object.GetName())
			if err != nil {
				c.t.Fatal(err)
			}
			object.Object = replaced(object.Object, record.Token, action.Token)
		}
		object.Object = replaced(object.Object, record.Queue, c.queue)
		objects = append(objects, object)
	}
	return objects
}

// restore creates the objects of a recording, with their status and the owners of their fields.
func (c *cluster) restore(dir string) {
	c.t.Helper()
	c.prepare()
	var uids []string // those of the recording, each followed by that of now
	for _, recorded := range c.load(dir) {
		recorded.Object = replaced(recorded.Object, uids...)
		created := recorded.DeepCopy()
		for _, field := range []string{"uid", "generation", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"} {
			unstructured.RemoveNestedField(created.Object, "metadata", field)
		}
		switch recorded.GetKind() {
		case "Node", "Pod":
			prepareForKwok(created)
		}
		c.create(created)
		uids = append(uids, string(recorded.GetUID()), string(created.GetUID()))
		switch recorded.GetKind() {
		case "Node":
			c.untilReady(created)
		case "Pod":
			c.untilReady(created)
			if recorded.GetDeletionTimestamp() != nil {
				if err := c.admin.Delete(c.t.Context(), created); err != nil {
					c.t.Fatal(err)
				}
			}
			continue
		case "NodeTermination", "NodeTerminationPolicy":
			c.restoreStatus(created, recorded)
		}
		c.restoreOwners(created, recorded)
	}
}

// kwokNode is the annotation of nodes whose kubelet kwok plays.
const kwokNode = "kwok.x-k8s.io/node"

// prepareForKwok leaves to the kubelet, and to the controllers of nodes, what they set.
func prepareForKwok(object *unstructured.Unstructured) {
	taints, _, _ := unstructured.NestedSlice(object.Object, "spec", "taints")
	taints = slices.DeleteFunc(taints, func(taint any) bool {
		return strings.HasPrefix(taint.(map[string]any)["key"].(string), "node.kubernetes.io/")
	})
	unstructured.RemoveNestedField(object.Object, "spec", "taints")
	if len(taints) > 0 {
		_ = unstructured.SetNestedSlice(object.Object, taints, "spec", "taints") // it was one
	}
	unstructured.RemoveNestedField(object.Object, "status", "conditions")
	if object.GetKind() == "Pod" {
		unstructured.RemoveNestedField(object.Object, "status")
		return
	}
	// Until f0fbc5a it was deleted, with all other annotations, from the nodes that were restored.
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[kwokNode] = "fake"
	object.SetAnnotations(annotations)
}

// untilReady waits until a node or a pod is ready.
func (c *cluster) untilReady(object *unstructured.Unstructured) {
	c.t.Helper()
	c.eventually(func(ctx context.Context) error {
		if err := c.admin.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		content, err := json.Marshal(object.Object)
		if err != nil {
			return err
		}
		var node corev1.Node // the conditions of a pod look the same
		if err := json.Unmarshal(content, &node); err != nil {
			return err
		}
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady {
				return fmt.Errorf("node %s is not ready", node.Name)
			}
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%s is not ready", object.GetName())
	})
}

// restoreStatus writes the status. The generation of what was created is 1, so that is what was observed of it.
func (c *cluster) restoreStatus(created, recorded *unstructured.Unstructured) {
	c.t.Helper()
	observed := fmt.Sprintf(`"observedGeneration":%d`, recorded.GetGeneration())
	created.Object["status"] = replaced(recorded.Object, observed, `"observedGeneration":1`)["status"]
	if err := c.admin.Status().Update(c.t.Context(), created); err != nil {
		c.t.Fatalf("%s: %v", recorded.GetName(), err)
	}
}

// restoreOwners says who has set which field, which decides whether another may change it.
func (c *cluster) restoreOwners(created, recorded *unstructured.Unstructured) {
	c.t.Helper()
	c.eventually(func(ctx context.Context) error { // others may change the object at the same time
		if err := c.admin.Get(ctx, client.ObjectKeyFromObject(created), created); err != nil {
			return err
		}
		created.SetManagedFields(recorded.GetManagedFields())
		return c.admin.Update(ctx, created)
	})
	if got, want := len(created.GetManagedFields()), len(recorded.GetManagedFields()); got != want {
		c.t.Fatalf("%s has %d owners of fields, want %d as recorded", recorded.GetName(), got, want)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
