// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"

	"github.com/golangci/plugin-module-register/register"
	"golang.org/x/tools/go/analysis"
)

func init() {
	register.Plugin("doccomment", func(any) (register.LinterPlugin, error) { return docComments{}, nil })
}

// docComments is the module plugin that holds comments of functions to the form that this
// project wants: the name, and what the function does.
type docComments struct{}

// BuildAnalyzers implements register.LinterPlugin.
func (docComments) BuildAnalyzers() ([]*analysis.Analyzer, error) {
	return []*analysis.Analyzer{docCommentAnalyzer}, nil
}

// GetLoadMode implements register.LinterPlugin.
func (docComments) GetLoadMode() string { return register.LoadModeSyntax }

var docCommentAnalyzer = &analysis.Analyzer{
	Name: "doccomment",
	Doc:  "doccomment checks that the comment of a function begins with its name and a verb: returns, reports whether.",
	Run:  checkDocComments,
}

// verb matches a verb in the third person. Not every such word is one, but what people
// write instead ("is", "are", "was") does not match.
var verb = regexp.MustCompile(`^[a-z]+(s|s,)$`)

// notVerbs match verb and say what a function is, not what it does.
var notVerbs = map[string]bool{"is": true, "was": true, "as": true}

func checkDocComments(pass *analysis.Pass) (any, error) {
	for _, file := range pass.Files {
		if strings.HasSuffix(pass.Fset.Position(file.Package).Filename, "_test.go") {
			continue
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Doc == nil {
				continue
			}
			if wrong := problemOf(function.Name.Name, function.Doc.Text()); wrong != "" {
				pass.Reportf(function.Doc.Pos(), "%s", wrong)
			}
		}
	}
	return nil, nil
}

// problemOf returns what is wrong with the comment of a function, empty for nothing.
func problemOf(name, comment string) string {
	words := strings.Fields(comment)
	if len(words) < 2 || words[0] != name {
		return "" // revive's rule exported asks for the name
	}
	if verb.MatchString(words[1]) && !notVerbs[words[1]] {
		return ""
	}
	return fmt.Sprintf("comment of %s: write what it does, %q or the like, instead of %q",
		name, name+" returns …", name+" "+words[1]+" …")
}
