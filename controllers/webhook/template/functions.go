// SPDX-License-Identifier: Apache-2.0

package template

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

const (
	// maxGrowth bounds what a function may make for a moment, in bytes.
	maxGrowth = 4 << 20
	// maxPattern bounds a regular expression, in bytes.
	maxPattern = 256
	// maxWidth is the largest width or precision that printf takes: three digits.
	maxWidth = 999
)

// allowed are the functions of sprig's that a template can call as they are: what they
// return is a few times as large as their arguments at most, and they take a time in
// proportion to that. Left out are those
//   - that multiply: repeat, until, untilStep, seq, indent, nindent, wrapWith;
//   - that compare each with each: trimAll, uniq, without, and the merges; and those of
//     semantic versions, which match a pattern of their own;
//   - that read the environment or the network, or draw lots;
//   - of cryptography, as they take long. Secrets have no place in a template.
//
// https://masterminds.github.io/sprig/
const allowed = `
	abbrev abbrevboth camelcase cat contains hasPrefix hasSuffix initials kebabcase lower nospace plural quote
	snakecase squote substr swapcase title toString trim trimPrefix trimSuffix trunc untitle upper wrap
	split splitList splitn sortAlpha toStrings
	add add1 add1f addf atoi biggest ceil div divf float64 floor int int64 max maxf min minf mod mul mulf round sub subf toDecimal
	all any coalesce compact default empty fail mustCompact ternary
	deepCopy fromJson mustDeepCopy mustFromJson mustToJson mustToPrettyJson mustToRawJson toJson toPrettyJson toRawJson
	deepEqual kindIs kindOf typeIs typeIsLike typeOf
	append chunk concat first has initial last list prepend push rest reverse slice tuple
	mustAppend mustChunk mustFirst mustHas mustInitial mustLast mustPrepend mustPush mustRest mustReverse mustSlice
	dict dig get hasKey keys omit pick pluck set unset values
	adler32sum b32dec b32enc b64dec b64enc sha1sum sha256sum sha512sum
	ago date dateInZone dateModify date_in_zone date_modify duration durationRound htmlDate htmlDateInZone
	mustDateModify must_date_modify mustToDate now toDate unixEpoch
	base clean dir ext isAbs osBase osClean osDir osExt osIsAbs
	hello urlJoin urlParse regexQuoteMeta`

// patterned are sprig's functions that match a regular expression, which comes first, with
// a text, which comes second.
const patterned = `
	regexFind regexFindAll regexMatch regexReplaceAll regexReplaceAllLiteral regexSplit
	mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit`

var (
	sprigs       = sprig.TxtFuncMap()
	toStrings, _ = sprigs["toStrings"].(func(any) []string)
)

// functions are those that need no budget.
var functions = func() template.FuncMap {
	m := template.FuncMap{"join": join, "printf": printf, "replace": replace}
	for name := range strings.FieldsSeq(allowed) {
		m[name] = sprigs[name]
	}
	return m
}()

// functions returns all that a template can call, besides those of text/template.
func (b *budget) functions() template.FuncMap {
	m := maps.Clone(functions)
	m[stepFunc], m[useFunc] = b.step, b.use
	for name := range strings.FieldsSeq(patterned) {
		m[name] = b.matching(reflect.ValueOf(sprigs[name]))
	}
	return m
}

// multiplies returns an error if so many bytes, each so many times, are more than a
// function may make.
func multiplies(bytes, times int) error {
	if bytes*times > maxGrowth {
		return errTooLarge
	}
	return nil
}

// join joins as sprig's does, with a bound.
func join(separator string, list any) (string, error) {
	texts := toStrings(list)
	if err := multiplies(1+len(separator), len(texts)); err != nil {
		return "", err
	}
	return strings.Join(texts, separator), nil
}

// replace replaces as sprig's does, with a bound.
func replace(old, replacement, text string) (string, error) {
	if err := multiplies(1+len(replacement), 1+strings.Count(text, old)); err != nil {
		return "", err
	}
	return strings.ReplaceAll(text, old, replacement), nil
}

// verbs finds percent signs, and the beginnings of verbs whose width or precision is
// larger than maxWidth or not written in the format: %9999d and %*d, but not the text 9999 or *.
var verbs = regexp.MustCompile(`%[-+# 0-9.\[\]]*(%|\*|[0-9]{4})`)

// printf formats as that of text/template does, with a bound: each verb may write every argument, or
// as much as it is wide.
func printf(format string, arguments ...any) (string, error) {
	for _, verb := range verbs.FindAllString(format, -1) {
		if !strings.HasSuffix(verb, "%") {
			return "", fmt.Errorf("printf takes a width of at most %d: write it in the format, as in %%20s", maxWidth)
		}
	}
	if err := multiplies(maxWidth+size(reflect.ValueOf(arguments), maxNesting, maxBody), strings.Count(format, "%")); err != nil {
		return "", err
	}
	return fmt.Sprintf(format, arguments...), nil
}

// matching returns one of the functions in patterned, with a bound on what it may make and on
// the time that it may take: for each instruction of the pattern, to compile it and to go over the text.
func (b *budget) matching(f reflect.Value) any {
	return reflect.MakeFunc(f.Type(), func(arguments []reflect.Value) []reflect.Value {
		pattern, text := arguments[0].String(), arguments[1].Len()
		if len(pattern) > maxPattern {
			panic(fmt.Errorf("a regular expression is longer than %d bytes: write a shorter one", maxPattern))
		}
		err := b.spend(instructions(pattern) * (stepCost/4 + text))
		if last := arguments[len(arguments)-1]; err == nil && len(arguments) == 3 && last.Kind() == reflect.String {
			err = multiplies(1+last.Len(), 1+text)
		}
		if err != nil {
			panic(err) // of which text/template makes an error
		}
		return f.Call(arguments)
	}).Interface()
}

// instructions returns how many a regular expression is compiled to: x{1000} is a thousand.
// Zero: it is none, and the function that is called with it says what is wrong.
func instructions(pattern string) int {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}
