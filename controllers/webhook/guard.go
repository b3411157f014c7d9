// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp/syntax"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// A template comes with a policy and runs in the manager, so whatever is written in it has to
// come to an end soon and in little memory. Go's templates can loop over a number, call
// themselves, and let text grow; none of it can be interrupted from outside. So
// everything that takes time or memory spends of one budget: passes of loops and calls of
// templates (by an action that is put at their beginning), calls of functions
// (wrapped), and what is printed (by a function put at the end of its pipeline).
const (
	// maxBody bounds the result, in bytes, and each value on the way to it.
	maxBody = 256 << 10
	// budgetBytes is how many bytes all values that are handed around may have together.
	budgetBytes = 32 << 20
	// maxGrowth bounds what a function may make for a moment, in bytes.
	maxGrowth = 8 << 20
	// callCost is what a call or a pass costs besides, in bytes.
	callCost = 512
	// elementCost is what an element of a list or map costs besides what it holds, in bytes.
	elementCost = 16
	// maxNesting bounds lists in lists; a map that holds itself is deeper than any.
	maxNesting = 64
	// maxPattern bounds a regular expression, in bytes.
	maxPattern = 1 << 10
)

// spendFunc is the function that loops, templates and printed pipelines call.
const spendFunc = "_spend"

var (
	errTooLarge = fmt.Errorf("the result, or a value on the way to it, is larger than %d KiB or nested too deep", maxBody>>10)
	errTooMuch  = errors.New("it does not come to an end: use fewer or smaller loops")
)

// leftOut are functions that sprig calls hermetic although they read the clock or draw
// lots, and those of cryptography that take long. Secrets have no place in a template.
// https://masterminds.github.io/sprig/
var leftOut = []string{
	"ago", "durationRound", "randInt", "shuffle",
	"bcrypt", "htpasswd", "derivePassword", "encryptAES", "decryptAES", "genPrivateKey", "buildCustomCert",
	"genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
}

// functions are sprig's, and those of text/template whose result is text.
var functions = func() template.FuncMap {
	m := sprig.HermeticTxtFuncMap()
	for _, name := range leftOut {
		delete(m, name)
	}
	maps.Copy(m, template.FuncMap{
		"print": fmt.Sprint, "printf": fmt.Sprintf, "println": fmt.Sprintln,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	})
	return m
}()

// budget is what is left for one execution of a template.
type budget struct{ left int }

// functions are all that a template can call.
func (b *budget) functions() template.FuncMap {
	guarded := template.FuncMap{spendFunc: func(value any) (any, error) {
		return value, b.spendValue(reflect.ValueOf(value))
	}}
	for name, f := range functions {
		guarded[name] = b.guard(name, reflect.ValueOf(f))
	}
	return guarded
}

// guard is a function that looks at what goes into f before it is called, and at what
// comes out. text/template makes an error of a panic within a function.
func (b *budget) guard(name string, f reflect.Value) any {
	return reflect.MakeFunc(f.Type(), func(arguments []reflect.Value) []reflect.Value {
		for _, value := range arguments {
			check(b.spendValue(value))
		}
		if strings.HasPrefix(strings.ToLower(strings.TrimPrefix(name, "must")), "regex") && name != "regexQuoteMeta" {
			check(b.spend(matching(arguments[0].String(), arguments[1].String())))
		}
		if grow, ok := growth[name]; ok {
			estimate := grow(arguments)
			if estimate > maxGrowth {
				panic(errTooLarge)
			}
			check(b.spend(max(0, estimate)))
		}
		var results []reflect.Value
		if f.Type().IsVariadic() {
			results = f.CallSlice(arguments)
		} else {
			results = f.Call(arguments)
		}
		check(b.spendValue(results[0]))
		return results
	}).Interface()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func (b *budget) spend(cost float64) error {
	if cost > float64(b.left) {
		return errTooMuch
	}
	b.left -= int(cost)
	return nil
}

func (b *budget) spendValue(value reflect.Value) error {
	n := size(value, maxNesting, maxBody)
	if n > maxBody {
		return errTooLarge
	}
	return b.spend(float64(callCost + n))
}

// size is about how many bytes a value has when it is printed. It does not count much
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

// growth says how large the result can be of the functions that multiply what they are
// given, in bytes. The others add a few bytes for each of theirs.
var growth = map[string]func(arguments []reflect.Value) float64{
	"repeat":    func(a []reflect.Value) float64 { return float64(a[0].Int()) * length(a[1]) },
	"until":     func(a []reflect.Value) float64 { return math.Abs(float64(a[0].Int())) * elementCost },
	"untilStep": func(a []reflect.Value) float64 { return passes(a[0].Int(), a[1].Int(), a[2].Int()) * elementCost },
	"seq":       seqGrowth,
	"indent":    func(a []reflect.Value) float64 { return float64(a[0].Int()) * (1 + length(a[1])) },
	"nindent":   func(a []reflect.Value) float64 { return float64(a[0].Int()) * (1 + length(a[1])) },
	"replace": func(a []reflect.Value) float64 {
		return length(a[1]) * float64(strings.Count(a[2].String(), a[0].String()))
	},
	"wrapWith": func(a []reflect.Value) float64 { return length(a[1]) * (1 + length(a[2])) },
	"join":     func(a []reflect.Value) float64 { return length(a[0]) * elements(a[1]) },
	"printf":   printfGrowth,

	"regexReplaceAll":            replaceGrowth,
	"mustRegexReplaceAll":        replaceGrowth,
	"regexReplaceAllLiteral":     replaceGrowth,
	"mustRegexReplaceAllLiteral": replaceGrowth,
}

func length(text reflect.Value) float64 { return float64(text.Len()) }

// elements is how many a value has that a function takes for a list.
func elements(value reflect.Value) float64 {
	for value.Kind() == reflect.Interface && !value.IsNil() {
		value = value.Elem()
	}
	if value.Kind() == reflect.Slice || value.Kind() == reflect.Array {
		return float64(value.Len())
	}
	return 1
}

func passes(from, to, step int64) float64 {
	if step == 0 {
		return 0
	}
	return math.Abs((float64(to)-float64(from))/float64(step)) + 1
}

// seqGrowth is of the numbers to one, from one to another, or in steps: seq 1 2 9.
func seqGrowth(a []reflect.Value) float64 {
	numbers := a[0]
	switch numbers.Len() {
	case 1:
		return passes(1, numbers.Index(0).Int(), 1) * elementCost
	case 2:
		return passes(numbers.Index(0).Int(), numbers.Index(1).Int(), 1) * elementCost
	case 3:
		return passes(numbers.Index(0).Int(), numbers.Index(2).Int(), numbers.Index(1).Int()) * elementCost
	}
	return 0
}

// replaceGrowth counts that each byte may be replaced, and each of the replacement's stand for all.
func replaceGrowth(a []reflect.Value) float64 {
	return 2 * (1 + length(a[1])) * length(a[2])
}

// printfGrowth counts that each verb may print every argument, as wide as a number in the
// format or, with a star, in the arguments: fmt itself stops at a million.
func printfGrowth(a []reflect.Value) float64 {
	format, width, number := a[0].String(), 0, 0
	for _, r := range format {
		number = number*10 + int(r-'0')
		switch {
		case r == '*':
			return math.Inf(1)
		case r < '0' || r > '9':
			number = 0
		case number > maxBody:
			return math.Inf(1)
		}
		width = max(width, number)
	}
	return float64(strings.Count(format, "%")) * float64(width+size(a[1], maxNesting, maxBody))
}

// matching is what it costs to match a text: a step for each byte and instruction of the pattern.
func matching(pattern, text string) float64 {
	if len(pattern) > maxPattern {
		return math.Inf(1)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0 // the function says what is wrong
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return float64(len(program.Inst)) * float64(callCost/16+len(text))
}

// instrument makes every template of a parsed text spend of the budget.
func instrument(parsed *template.Template) error {
	spend, err := template.New("").Funcs(template.FuncMap{spendFunc: func(any) any { return nil }}).Parse(`{{"" | ` + spendFunc + `}}`)
	if err != nil {
		return err
	}
	tick, ok := spend.Root.Nodes[0].(*parse.ActionNode)
	if !ok {
		return errors.New("text/template does not parse an action as one")
	}
	for _, t := range parsed.Templates() {
		if t.Tree != nil && t.Root != nil {
			spendIn(t.Root, tick)
			spendAtStart(t.Root, tick)
		}
	}
	return nil
}

// spendIn makes the loops below a list spend at each pass, and the pipelines what they print.
func spendIn(list *parse.ListNode, tick *parse.ActionNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, tick.Pipe.Cmds[1])
			}
		case *parse.IfNode:
			spendIn(n.List, tick)
			spendIn(n.ElseList, tick)
		case *parse.WithNode:
			spendIn(n.List, tick)
			spendIn(n.ElseList, tick)
		case *parse.RangeNode:
			spendIn(n.List, tick)
			spendIn(n.ElseList, tick)
			spendAtStart(n.List, tick)
		}
	}
}

func spendAtStart(list *parse.ListNode, tick *parse.ActionNode) {
	list.Nodes = append([]parse.Node{tick}, list.Nodes...)
}

// body is a buffer of bounded size.
type body struct{ bytes.Buffer }

// Write takes the text or errTooLarge.
func (b *body) Write(text []byte) (int, error) {
	if b.Len()+len(text) > maxBody {
		return 0, errTooLarge
	}
	return b.Buffer.Write(text)
}
