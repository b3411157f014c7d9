// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxYAML is how large a document of YAML may be. It is read whole, and takes many times as much memory.
const maxYAML = 64 << 20

// kinds make an object of each kind that counts, by API group and kind. Pods, of which there are most, are not among them.
var kinds = map[string]func() client.Object{
	"Node":                       func() client.Object { return &corev1.Node{} },
	"PersistentVolume":           func() client.Object { return &corev1.PersistentVolume{} },
	"PersistentVolumeClaim":      func() client.Object { return &corev1.PersistentVolumeClaim{} },
	"policy/PodDisruptionBudget": func() client.Object { return &policyv1.PodDisruptionBudget{} },
	v1alpha1.GroupVersion.Group + "/NodeTerminationPolicy": func() client.Object { return &v1alpha1.NodeTerminationPolicy{} },
}

// kindOf returns the key in kinds of what an object says that it is.
func kindOf(meta metav1.TypeMeta) string {
	if group, _, found := strings.Cut(meta.APIVersion, "/"); found {
		return group + "/" + meta.Kind
	}
	return meta.Kind
}

// readJSON adds the objects of a stream of JSON values: objects, lists of them, or arrays.
func (s *snapshot) readJSON(in io.Reader, name string) error {
	reader := listReader{snapshot: s, json: json.NewDecoder(in)}
	for {
		err := reader.value()
		switch {
		case errors.Is(err, io.EOF) && reader.depth == 0:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%s ends in the middle of an object: it was cut off", name)
		case err != nil:
			return fmt.Errorf("%s: at byte %d: %w", name, reader.json.InputOffset(), err)
		}
	}
}

// listReader reads a list item by item, which can be larger than the memory.
type listReader struct {
	*snapshot
	json *json.Decoder
	// depth is 0 between values.
	depth int
}

// value reads one value of the stream.
func (r *listReader) value() error {
	r.depth = 0
	token, err := r.json.Token()
	if err != nil {
		return err
	}
	r.depth = 1
	switch token {
	case json.Delim('['):
		return r.elements("")
	case json.Delim('{'):
		return r.object()
	}
	return fmt.Errorf("%v is no object of Kubernetes", token)
}

// object reads an object of which the brace was read: a list, whose items it adds one by one, or another one.
func (r *listReader) object() error {
	fields := map[string]json.RawMessage{}
	list := false
	for r.json.More() {
		token, err := r.json.Token()
		if err != nil {
			return err
		}
		if token == "items" {
			list = true
			if err := r.list(fields); err != nil {
				return err
			}
			continue
		}
		key, _ := token.(string)
		var value json.RawMessage
		if err := r.json.Decode(&value); err != nil {
			return err
		}
		fields[key] = value
	}
	if _, err := r.json.Token(); err != nil { // the closing brace
		return err
	}
	if list {
		return nil
	}
	whole, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return r.addJSON(whole, "")
}

// list reads the items of a list, of which these fields were before them.
func (r *listReader) list(fields map[string]json.RawMessage) error {
	var meta metav1.TypeMeta
	for key, into := range map[string]*string{"kind": &meta.Kind, "apiVersion": &meta.APIVersion} {
		if value, found := fields[key]; found {
			if err := json.Unmarshal(value, into); err != nil {
				return err
			}
		}
	}
	switch token, err := r.json.Token(); {
	case err != nil:
		return err
	case token == nil:
		return nil
	case token != json.Delim('['):
		return fmt.Errorf("its items are %v, no list", token)
	}
	meta.Kind = strings.TrimSuffix(meta.Kind, "List")
	return r.elements(kindOf(meta))
}

// item is one of a list, as it was read.
type item struct {
	number int
	json   json.RawMessage
}

// elements reads the elements of an array of which the bracket was read: objects of a kind, if they do not say so.
// While one is added the next is read.
func (r *listReader) elements(kind string) error {
	items, ended := make(chan item, 64), make(chan error, 1)
	go func() {
		for item := range items {
			if err := r.addJSON(item.json, kind); err != nil {
				ended <- fmt.Errorf("item %d: %w", item.number, err)
				return
			}
		}
		ended <- nil
	}()
	err := r.send(items, ended)
	close(items)
	if err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	_, err = r.json.Token() // the closing bracket
	return err
}

// send sends the elements of an array to whom adds them, until it fails.
func (r *listReader) send(items chan<- item, ended <-chan error) error {
	for number := 1; r.json.More(); number++ {
		next := item{number: number}
		if err := r.json.Decode(&next.json); err != nil {
			return err
		}
		select {
		case items <- next:
		case err := <-ended:
			return err
		}
	}
	return nil
}

// addJSON adds an object, which is of a kind if it does not say so.
func (s *snapshot) addJSON(object []byte, kind string) error {
	own, err := kindIn(object)
	if err != nil {
		return err
	}
	if own != "" {
		kind = own
	}
	if kind == "" {
		kind = guessKind(object)
	}
	if kind == "" {
		return errors.New("has no kind: write the file with \"kubectl get -o json\" or \"-o yaml\"")
	}
	if kind == "List" || strings.HasSuffix(kind, "List") && bytes.Contains(object, []byte(`"items"`)) {
		return s.readJSON(bytes.NewReader(object), "a list in it")
	}
	return s.addKind(object, kind)
}

// addKind adds an object of a kind.
func (s *snapshot) addKind(object []byte, kind string) error {
	name := kind[strings.LastIndex(kind, "/")+1:]
	if kind == "Pod" {
		var small smallPod
		switch err := json.Unmarshal(object, &small); {
		case err != nil:
			return fmt.Errorf("cannot read this Pod: %w", err)
		case small.Metadata.Name == "":
			return errNoName(name)
		}
		s.addPod(small.pod())
		return nil
	}
	create, counts := kinds[kind]
	if !counts {
		s.seen[kind]++
		return nil
	}
	into := create()
	if err := json.Unmarshal(object, into); err != nil {
		return fmt.Errorf("cannot read this %s: %w", name, err)
	}
	if into.GetName() == "" {
		return errNoName(name)
	}
	s.add(into)
	return nil
}

// errNoName returns the error that an object has no name.
func errNoName(kind string) error {
	return fmt.Errorf("a %s has no name: write its metadata.name", kind)
}

// kindIn returns the kind that an object says it is, as in kinds; empty if it does not. It reads no further than
// it has to: kubectl writes apiVersion and kind first.
func kindIn(object []byte) (string, error) {
	var meta metav1.TypeMeta
	in := json.NewDecoder(bytes.NewReader(object))
	if token, err := in.Token(); err != nil || token != json.Delim('{') {
		return "", fmt.Errorf("%.20s is no object of Kubernetes", object)
	}
	for in.More() && (meta.Kind == "" || meta.APIVersion == "") {
		token, err := in.Token()
		if err != nil {
			return "", err
		}
		var value any = new(json.RawMessage)
		switch token {
		case "kind":
			value = &meta.Kind
		case "apiVersion":
			value = &meta.APIVersion
		}
		if err := in.Decode(value); err != nil {
			return "", err
		}
	}
	return kindOf(meta), nil
}

// guessKind returns the kind of an item of a list that says it only after its items; empty if that is not clear.
func guessKind(object []byte) string {
	var has struct {
		Spec struct {
			Containers                   []struct{} `json:"containers"`
			MinAvailable, MaxUnavailable any
			Sources                      []struct{} `json:"sources"`
		} `json:"spec"`
		Status struct {
			NodeInfo *struct{} `json:"nodeInfo"`
		} `json:"status"`
	}
	_ = json.Unmarshal(object, &has) // what cannot be read is not clear
	switch {
	case has.Spec.Containers != nil:
		return "Pod"
	case has.Status.NodeInfo != nil:
		return "Node"
	case has.Spec.MinAvailable != nil, has.Spec.MaxUnavailable != nil:
		return "policy/PodDisruptionBudget"
	case has.Spec.Sources != nil:
		return v1alpha1.GroupVersion.Group + "/NodeTerminationPolicy"
	}
	return ""
}

// readYAML adds the objects of documents of YAML.
func (s *snapshot) readYAML(in *bufio.Reader, name string) error {
	documents := yamlutil.NewYAMLReader(in)
	for i := 1; ; i++ {
		document, err := documents.Read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: document %d: %w", name, i, err)
		case len(document) > maxYAML:
			return fmt.Errorf("%s: document %d is larger than %d MiB, which is much for YAML: write the file with -o json", name, i, maxYAML>>20)
		}
		object, err := yaml.YAMLToJSON(document)
		if err != nil {
			return fmt.Errorf("%s: document %d: %w", name, i, err)
		}
		if bytes.Equal(object, []byte("null")) {
			continue
		}
		if err := s.readJSON(bytes.NewReader(object), fmt.Sprintf("%s: document %d", name, i)); err != nil {
			return err
		}
	}
}
