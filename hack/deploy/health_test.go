// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// health is what a health check of Argo CD says of an object.
type health struct{ Status, Message string }

// The states of health in Argo CD that the checks use.
const (
	healthy     = "Healthy"
	progressing = "Progressing"
	degraded    = "Degraded"
	suspended   = "Suspended"
)

// healthOf runs the check of config/argocd/argocd-cm.yaml for the object's kind, as Argo CD does.
func healthOf(t *testing.T, object any) health {
	t.Helper()
	content, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(content, &fields); err != nil {
		t.Fatal(err)
	}
	kind, _ := fields["kind"].(string)
	const key = "resource.customizations.health.nodetermination.dev_"
	script := configMap(t)[key+kind]
	if script == "" {
		t.Fatalf("config/argocd/argocd-cm.yaml has no %s%s", key, kind)
	}
	result, err := run(script, fields)
	if err != nil {
		t.Fatalf("the health check of %s: %v", kind, err)
	}
	return result
}

// configMap returns the data of the patch for Argo CD's ConfigMap.
func configMap(t *testing.T) map[string]string {
	t.Helper()
	var patch struct{ Data map[string]string }
	readYAML(t, "config/argocd/argocd-cm.yaml", &patch)
	return patch.Data
}

// run runs a script with the libraries that Argo CD opens, but for its safe part of os, which no check needs.
// https://github.com/argoproj/argo-cd/blob/master/util/lua/lua.go
func run(script string, object map[string]any) (health, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return health{}, err
		}
	}
	l.SetGlobal("obj", luaValue(l, object))
	if err := l.DoString(script); err != nil {
		return health{}, err
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("it returned %s, want a table", l.Get(-1).Type())
	}
	return health{lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message"))}, nil
}

// luaValue returns a value of JSON as one of Lua.
func luaValue(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := l.CreateTable(len(value), 0)
		for _, element := range value {
			table.Append(luaValue(l, element))
		}
		return table
	case map[string]any:
		table := l.CreateTable(0, len(value))
		for key, element := range value {
			table.RawSetString(key, luaValue(l, element))
		}
		return table
	}
	return lua.LNil
}

// TestTerminationHealth: the health of each state that the controller knows, with the conditions that it writes.
func TestTerminationHealth(t *testing.T) {
	want := map[string]string{
		"StateReceived": progressing, "StateScheduled": progressing, "StateWaiting": progressing, "StateHeld": progressing,
		"StateDraining": progressing, "StateCompleting": progressing,
		"StateCordoned": healthy, "StateIgnored": healthy, "StateDryRun": healthy,
		"StateCompleted": healthy, "StateCancelled": healthy,
		"StateFailed": degraded, "StateNoPolicy": degraded, "StatePolicyGone": degraded, "StateRefused": degraded,
		"StateSuspended": suspended,
	}
	states := statesOfController(t)
	if len(states) != len(want) {
		t.Errorf("the controller has %d states, this test %d", len(states), len(want))
	}
	for state, is := range states {
		t.Run(state, func(t *testing.T) {
			nt := termination(strings.TrimPrefix(state, "State"), is)
			if got := healthOf(t, nt); got != (health{want[state], "a sentence"}) {
				t.Errorf("%+v, want %s with the status's message", got, want[state])
			}
			nt.Generation++
			if got := healthOf(t, nt); got.Status != progressing {
				t.Errorf("%+v while the manager has not seen the last change, want %s", got, progressing)
			}
		})
	}
	t.Run("new", func(t *testing.T) {
		nt := termination("", nil)
		nt.Status = v1alpha1.NodeTerminationStatus{}
		if got := healthOf(t, nt); got.Status != progressing || got.Message == "" {
			t.Errorf("%+v, want %s", got, progressing)
		}
	})
	t.Run("ended, and an error is in the way", func(t *testing.T) {
		nt := termination("Completed", map[string]bool{"reconciling": true})
		nt.Status.Conditions[1].Message = "the API server is away"
		if got := healthOf(t, nt); got != (health{progressing, "the API server is away"}) {
			t.Errorf("%+v, want %s with the error", got, progressing)
		}
	})
}

// termination returns a NodeTermination in a state, with the conditions of which is says that they are True.
func termination(state string, is map[string]bool) *v1alpha1.NodeTermination {
	nt := &v1alpha1.NodeTermination{TypeMeta: metav1.TypeMeta{Kind: "NodeTermination"}}
	nt.Generation, nt.Status.ObservedGeneration = 3, 3
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		condition := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: state}
		if is[strings.ToLower(kind)] {
			condition.Status = metav1.ConditionTrue
		}
		if kind == v1alpha1.ConditionReady {
			condition.Message = "a sentence"
		}
		nt.Status.Conditions = append(nt.Status.Conditions, condition)
	}
	return nt
}

// statesOfController reads from the code which of the conditions ready, reconciling and stalled each state has.
func statesOfController(t *testing.T) map[string]map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path("controllers/termination/status.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "readinessOf" {
			return true
		}
		for _, entry := range spec.Values[0].(*ast.CompositeLit).Elts {
			pair := entry.(*ast.KeyValueExpr)
			is := map[string]bool{}
			for _, field := range pair.Value.(*ast.CompositeLit).Elts {
				is[field.(*ast.KeyValueExpr).Key.(*ast.Ident).Name] = true
			}
			states[pair.Key.(*ast.SelectorExpr).Sel.Name] = is
		}
		return false
	})
	if len(states) == 0 {
		t.Fatal("controllers/termination/status.go has no readinessOf any more")
	}
	return states
}

func TestPolicyHealth(t *testing.T) {
	notReady := func(reason string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: "why"}
	}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "every source is up"}
	short := ready
	short.Reason, short.Message = v1alpha1.ReasonShortRetention, "source queue: retains messages for a minute"
	starting := v1alpha1.SourceStatus{Name: "metadata", Ready: new(false), Reason: v1alpha1.ReasonStarting}
	dead := v1alpha1.SourceStatus{Name: "queue", Ready: new(false), Reason: v1alpha1.ReasonQueueNotFound, Message: "the queue does not exist"}
	for name, tt := range map[string]struct {
		ready   metav1.Condition
		sources []v1alpha1.SourceStatus
		suspend bool
		want    health
	}{
		"ready":                       {ready: ready, want: health{healthy, "every source is up"}},
		"short retention":             {ready: short, want: health{healthy, short.Message}},
		"starting":                    {ready: notReady(v1alpha1.ReasonStarting), sources: []v1alpha1.SourceStatus{starting}, want: health{progressing, "why"}},
		"a dead queue":                {ready: notReady(v1alpha1.ReasonQueueNotFound), sources: []v1alpha1.SourceStatus{dead}, want: health{degraded, "why"}},
		"a dead queue after another":  {ready: notReady(v1alpha1.ReasonStarting), sources: []v1alpha1.SourceStatus{starting, dead}, want: health{degraded, "source queue: the queue does not exist"}},
		"access denied":               {ready: notReady(v1alpha1.ReasonAccessDenied), want: health{degraded, "why"}},
		"no metadata":                 {ready: notReady(v1alpha1.ReasonMetadataUnavailable), want: health{degraded, "why"}},
		"invalid selector":            {ready: notReady(v1alpha1.ReasonInvalidSelector), want: health{degraded, "why"}},
		"invalid webhook":             {ready: notReady(v1alpha1.ReasonInvalidWebhook), want: health{degraded, "why"}},
		"suspended":                   {ready: ready, suspend: true, want: health{suspended, "spec.suspend is true; every source is up"}},
		"suspended with a dead queue": {ready: notReady(v1alpha1.ReasonUnreachable), suspend: true, want: health{degraded, "why"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &v1alpha1.NodeTerminationPolicy{TypeMeta: metav1.TypeMeta{Kind: "NodeTerminationPolicy"}}
			policy.Generation, policy.Status.ObservedGeneration = 2, 2
			policy.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSourcesReady, Status: metav1.ConditionTrue}, tt.ready}
			policy.Status.Sources = tt.sources
			if tt.suspend {
				policy.Spec.Suspend = new(true)
			}
			if got := healthOf(t, policy); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			policy.Generation++
			if got := healthOf(t, policy); got.Status != progressing {
				t.Errorf("%+v while the manager has not seen the last change, want %s", got, progressing)
			}
		})
	}
	policy := &v1alpha1.NodeTerminationPolicy{TypeMeta: metav1.TypeMeta{Kind: "NodeTerminationPolicy"}}
	if got := healthOf(t, policy); got.Status != progressing || got.Message == "" {
		t.Errorf("a new policy: %+v, want %s", got, progressing)
	}
}

// path returns where a file of the repository is.
func path(name string) string { return filepath.Join("..", "..", filepath.FromSlash(name)) }

// readYAML reads a file of the repository.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(path(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
