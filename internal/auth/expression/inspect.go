package expression

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Uses are the members of the request that an expression reads, each name once and sorted.
type Uses struct {
	Headers []string // in lower case
	Params  []string
}

// inspect holds an expression to the rules that types can't say: which members it reads stands in its text, and so does
// everything that would have to be parsed again for each request.
func (p *Program) inspect(checked *cel.Ast) *cel.Issues {
	tree := checked.NativeRep()
	i := &inspector{program: p, issues: cel.NewIssuesWithSourceInfo(common.NewErrors(checked.Source()), tree.SourceInfo())}
	i.walk(ast.NavigateAST(tree))
	slices.Sort(p.Uses.Headers)
	slices.Sort(p.Uses.Params)
	p.Uses.Headers, p.Uses.Params = slices.Compact(p.Uses.Headers), slices.Compact(p.Uses.Params)
	return i.issues
}

type inspector struct {
	program *Program
	issues  *cel.Issues
}

func (i *inspector) refuse(e ast.Expr, format string, args ...any) {
	i.issues.ReportErrorAtID(e.ID(), format, args...)
}

func (i *inspector) walk(e ast.NavigableExpr) {
	switch e.Kind() {
	case ast.ComprehensionKind:
		i.program.loops = true
	case ast.IdentKind:
		switch name := e.AsIdent(); name {
		case claimsTable, headersTable, queryTable, paramsTable:
			i.member(e, name)
		}
	case ast.CallKind:
		i.call(e.AsCall(), e)
	}
	for _, child := range e.Children() {
		i.walk(child)
	}
}

// member judges how a table is read: t.name, t["name"], has(t.name) or "name" in t.
func (i *inspector) member(e ast.NavigableExpr, table string) {
	name, literal, ok := memberOf(e)
	switch {
	case !ok:
		i.refuse(e, "%s can only be read by the name of a member: %s[\"name\"] or \"name\" in %s", table, table, table)
	case table == claimsTable:
	case !literal:
		i.refuse(e, "the name of a member of %s has to be written out", table)
	case table == headersTable:
		i.header(e, name)
	case table == paramsTable:
		i.program.Uses.Params = append(i.program.Uses.Params, name)
	}
}

func memberOf(e ast.NavigableExpr) (name string, literal, ok bool) {
	parent, ok := e.Parent()
	if !ok {
		return "", false, false
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return parent.AsSelect().FieldName(), true, true
	case ast.CallKind:
		args := parent.AsCall().Args()
		switch function := parent.AsCall().FunctionName(); {
		case function == operators.Index && args[0].ID() == e.ID():
			name, literal = textOf(args[1])
			return name, literal, true
		case function == operators.In && args[1].ID() == e.ID():
			name, literal = textOf(args[0])
			return name, literal, true
		}
	}
	return "", false, false
}

func textOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// credentials are fields that no rule may read: what they say is judged elsewhere, and must not leak into an error.
var credentials = []string{"authorization", "proxy-authorization", "cookie", "dpop"}

func (i *inspector) header(e ast.Expr, name string) {
	switch {
	case name != strings.ToLower(name):
		i.refuse(e, "write request.headers[%q]: names of headers are in lower case here", strings.ToLower(name))
	case slices.Contains(credentials, name):
		i.refuse(e, "%s carries credentials and can't be read", name)
	case strings.Contains(name, "_") || name == "":
		i.refuse(e, "no header of the name %q ever arrives", name)
	}
	i.program.Uses.Headers = append(i.program.Uses.Headers, name)
}

// call wants the arguments written out that are expensive or dangerous to parse: networks, patterns, zones.
func (i *inspector) call(c ast.CallExpr, e ast.Expr) {
	args := c.Args()
	switch function := c.FunctionName(); {
	case function == inCIDR && len(args) == 2:
		i.literal(args[1], "the network of inCIDR", func(text string) error { _, err := parseNetwork(text); return err })
	case function == "matches" && len(args) > 0:
		i.literal(args[len(args)-1], "the pattern of matches", nil)
	case strings.HasPrefix(function, "get") && c.IsMemberFunction() && len(args) == 1:
		i.literal(args[0], "the time zone", zone)
	}
}

func (i *inspector) literal(e ast.Expr, what string, judge func(string) error) {
	text, ok := textOf(e)
	if !ok {
		i.refuse(e, "%s has to be written out", what)
		return
	}
	if judge != nil {
		if err := judge(text); err != nil {
			i.refuse(e, "%s", err)
		}
	}
}

// zone takes a name of the time zone database; offsets such as +02:00 are CEL's to judge.
func zone(text string) error {
	if strings.Contains(text, ":") {
		return nil
	}
	_, err := time.LoadLocation(text)
	return err
}

// parseNetwork reads a network whose host bits are zero, or one address.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" && !address.Is4In6() {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() || network.Addr().Is4In6() {
		return network, fmt.Errorf("%q is not a network such as 192.0.2.0/24 or 2001:db8::/32", text)
	}
	return network, nil
}
