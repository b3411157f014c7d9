// SPDX-License-Identifier: Apache-2.0

package template

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"text/template"
	"text/template/parse"
	"time"
)

// Why there is a guard: who writes a policy may evict every pod anyway, so this is not
// about malice. But a template runs in the one process that drains all nodes, and a
// loop too many in it would take that process's memory and with it every drain that has
// a deadline. text/template cannot be interrupted from outside.
//
// A list of functions that cannot multiply (functions.go) is most of it, and spares a
// formula for each of the others. It is not enough: {{ $x = print $x $x }} doubles, and so
// does {{ $x = $.StartTime.Format $x }}, loops multiply in loops, and templates in templates.
// So, besides:
//
//   - No template calls itself, whether directly or through others. Then the stack is no
//     deeper than the text is long.
//   - Each value that a call takes or returns, and each that is printed, has a bounded size.
//   - All of these, passes of loops and calls of templates spend of one budget, which
//     bounds time and memory. It is counted and not measured by a clock, so that the same
//     template with the same data is always refused or always rendered.
//   - One template is rendered at a time (render.go).
const (
	// maxBody bounds the result, in bytes, and each value on the way to it.
	maxBody = 256 << 10
	// budgetBytes is how many bytes all values that are handed around may have together.
	budgetBytes = 8 << 20
	// stepCost is what a call or a pass costs besides, in bytes.
	stepCost = 128
	// elementCost is what an element of a list or map costs besides what it holds, in bytes.
	elementCost = 16
	// maxNesting bounds lists in lists; a map that holds itself is deeper than any.
	maxNesting = 64
)

var (
	errTooLarge = fmt.Errorf("the result, or a value on the way to it, is larger than %d KiB or nested too deep: shorten texts with trunc, or leave some out", maxBody>>10)
	errTooMuch  = errors.New("it does not come to an end: use fewer or smaller loops")
)

// budget is what is left for one execution of a template, in bytes.
type budget struct{ left int }

func (b *budget) spend(cost int) error {
	if cost > b.left {
		return errTooMuch
	}
	b.left -= cost
	return nil
}

// step spends of the budget for something done with a value, whatever the value's size.
func (b *budget) step(value any) (any, error) {
	return value, b.spend(stepCost)
}

// use spends what a value costs that is printed, or that a call takes or returns.
func (b *budget) use(value any) (any, error) {
	n := size(reflect.ValueOf(value), maxNesting, maxBody)
	if n > maxBody {
		return nil, errTooLarge
	}
	return value, b.spend(stepCost + n)
}

// size returns about how many bytes a value has when it is printed. It does not count much
// further than the limit.
func size(value reflect.Value, depth, limit int) int {
	if depth == 0 {
		return limit + 1
	}
	n := 0
	switch value.Kind() {
	case reflect.String:
		n = value.Len()
	case reflect.Interface, reflect.Pointer:
		if !value.IsNil() {
			n = size(value.Elem(), depth-1, limit)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < value.Len() && n <= limit; i++ {
			n += elementCost + size(value.Index(i), depth-1, limit-n)
		}
	case reflect.Map:
		for entries := value.MapRange(); n <= limit && entries.Next(); {
			n += elementCost + size(entries.Key(), depth-1, limit-n) + size(entries.Value(), depth-1, limit-n)
		}
	case reflect.Struct:
		if value.Type() == reflect.TypeFor[time.Time]() {
			return 4 * elementCost
		}
		for _, field := range value.Fields() {
			n += elementCost + size(field, depth-1, limit-n)
		}
	default:
		n = elementCost
	}
	return n
}

// The functions that the guard puts into a template, as {{ .Pods | _use }}, and what it
// puts at the beginning of each loop's and template's body.
const stepFunc, useFunc = "_step", "_use"

var (
	step = &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier(stepFunc)}}
	use  = &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier(useFunc)}}
	tick = &parse.ActionNode{NodeType: parse.NodeAction, Pipe: pipeline(&parse.StringNode{NodeType: parse.NodeString, Quoted: `""`}, step)}
)

// pipeline returns {{ first | then }}.
func pipeline(first parse.Node, then *parse.CommandNode) *parse.PipeNode {
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: first.Position(), Args: []parse.Node{first}}
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: first.Position(), Cmds: []*parse.CommandNode{command, then}}
}

// guard rewrites a template so that it spends of a budget.
type guard struct {
	// calls are the names of the templates that each template calls.
	calls map[string][]string
	name  string // of the template that is being rewritten
}

// apply rewrites a parsed template and those that are defined in it. The error says
// which of them calls itself.
func (g *guard) apply(parsed *template.Template) error {
	g.calls = map[string][]string{}
	for _, t := range parsed.Templates() {
		if t.Tree == nil || t.Root == nil {
			continue
		}
		g.name = t.Name()
		g.list(t.Root)
		spendAtStart(t.Root)
	}
	for _, name := range slices.Sorted(maps.Keys(g.calls)) {
		if err := g.refuseRecursion(name, map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}

// refuseRecursion returns an error if a template calls itself, or calls one that does.
// above are those that it is being called from.
func (g *guard) refuseRecursion(name string, above map[string]bool) error {
	if above[name] {
		return fmt.Errorf("template %q calls itself: use range instead", name)
	}
	above[name] = true
	for _, called := range g.calls[name] {
		if err := g.refuseRecursion(called, above); err != nil {
			return err
		}
	}
	delete(above, name)
	delete(g.calls, name) // it need not be looked at again
	return nil
}

func (g *guard) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			g.pipe(n.Pipe, len(n.Pipe.Decl) == 0)
		case *parse.IfNode:
			g.branch(&n.BranchNode)
		case *parse.WithNode:
			g.branch(&n.BranchNode)
		case *parse.RangeNode:
			g.branch(&n.BranchNode)
			spendAtStart(n.List)
		case *parse.TemplateNode:
			g.pipe(n.Pipe, false)
			g.calls[g.name] = append(g.calls[g.name], n.Name)
		}
	}
}

func (g *guard) branch(b *parse.BranchNode) {
	g.pipe(b.Pipe, false)
	g.list(b.List)
	g.list(b.ElseList)
}

func spendAtStart(list *parse.ListNode) {
	list.Nodes = append([]parse.Node{tick}, list.Nodes...)
}

// pipe puts use behind each command of a pipeline. One that only refers to a value is a
// step, unless the value is used: printed, or given to a call.
func (g *guard) pipe(p *parse.PipeNode, used bool) {
	if p == nil {
		return // {{ template "a" }}
	}
	spend := use
	if len(p.Cmds) == 1 && len(p.Cmds[0].Args) == 1 && !used {
		spend = step
	}
	var commands []*parse.CommandNode
	for _, command := range p.Cmds {
		for i, operand := range command.Args {
			command.Args[i] = g.operand(operand, i > 0)
		}
		commands = append(commands, command, spend)
	}
	p.Cmds = commands
}

// operand returns the operand of a command; one that is an argument is used.
func (g *guard) operand(node parse.Node, argument bool) parse.Node {
	switch n := node.(type) {
	case *parse.PipeNode:
		g.pipe(n, argument)
		return n
	case *parse.ChainNode: // (…).Field
		n.Node = g.operand(n.Node, false)
	case *parse.DotNode, *parse.FieldNode, *parse.VariableNode:
	default:
		return n // a literal, or a function
	}
	if argument {
		return pipeline(node, use)
	}
	return node
}

// body is a buffer of bounded size.
type body struct{ bytes.Buffer }

// Write takes the text, or returns errTooLarge.
func (b *body) Write(text []byte) (int, error) {
	if b.Len()+len(text) > maxBody {
		return 0, errTooLarge
	}
	return b.Buffer.Write(text)
}
