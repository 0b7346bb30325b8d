package expression

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Why says in words what the expression gives for a request, and which of the parts that && joins are not true. It may hold
// values of claims: it is for the operator who explains a request, never for a client.
func (p *Program) Why(x *pipeline.Exchange, claims Claims) string {
	allowed, err := p.Allows(x, claims)
	switch {
	case err != nil:
		return fmt.Sprintf("fails: %s", err) + p.culprits(x, claims)
	case allowed:
		return "is true"
	}
	return "is false" + p.culprits(x, claims)
}

// culprits names the parts that are not true, unless the expression is one part.
func (p *Program) culprits(x *pipeline.Exchange, claims Claims) string {
	parsed, issues := p.env.Parse(p.text)
	if issues.Err() != nil {
		return ""
	}
	parts := conjuncts(parsed.NativeRep().Expr(), nil)
	if len(parts) < 2 {
		return ""
	}
	var words []string
	for _, part := range parts {
		text, err := cel.ExprToString(part, parsed.NativeRep().SourceInfo())
		if err != nil {
			continue
		}
		one, err := compile(p.env, text)
		if err != nil { // a bare claim is no rule of its own
			one, err = compile(p.env, text+" == true")
		}
		if err != nil {
			continue
		}
		if allowed, err := one.Allows(x, claims); err != nil {
			words = append(words, fmt.Sprintf("%s fails (%s)", text, err))
		} else if !allowed {
			words = append(words, text+" is false")
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ": " + strings.Join(words, ", ")
}

func conjuncts(e ast.Expr, parts []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		for _, part := range e.AsCall().Args() {
			parts = conjuncts(part, parts)
		}
		return parts
	}
	return append(parts, e)
}
