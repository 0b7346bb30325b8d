package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/expression"
	"github.com/oncegate/oncegate/internal/units"
)

// expression compiles a rule where it is written. A problem's message begins with the place inside of the expression.
func (c *cross) expression(p units.Problems, who *auth.Config) {
	text := who.Require.Expression
	if text == "" {
		return
	}
	program, err := c.compiler.Compile(text)
	var list *expression.Error
	if errors.As(err, &list) {
		for _, problem := range list.Problems {
			p.Add("%s", problem)
		}
		return
	}
	for _, header := range program.Uses.Headers {
		if slices.Contains(auth.KeyHeaders(c.doc.APIKeys), header) {
			p.Add("header %s carries API keys and can't be read", header)
		}
	}
}

// parameters demands of a route's own expression that the route has the path parameters that it reads.
func (c *cross) parameters(p units.Problems, r *RouteConfig) {
	program, err := c.compiler.Compile(r.Auth.Require.Expression)
	if err != nil {
		return
	}
	names := pathParams(r.Match.Path)
	for _, name := range program.Uses.Params {
		if !slices.Contains(names, name) {
			p.Unknown("path parameter", name, names)
		}
	}
}

// rewritten: what says who asks is decided by forward alone, in every spelling.
func (c *cross) rewritten(p units.Problems, r *RouteConfig) {
	if r.Forward == nil || r.Rewrite == nil {
		return
	}
	own := auth.Guarded(*r.Forward)
	taken := func(name string) bool {
		return slices.Contains(own, strings.ReplaceAll(strings.ToLower(name), "_", "-"))
	}
	for _, name := range sortedNames(r.Rewrite.Request.Set) {
		if taken(name) {
			p.Key("set").Key(name).Add("forward fills %s already", name)
		}
	}
	for i, name := range r.Rewrite.Request.Remove {
		if taken(name) {
			p.Key("remove").Index(i).Add("forward fills %s", name)
		}
	}
}
